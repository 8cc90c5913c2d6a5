import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { dirname, relative } from 'node:path'
import { addAbortSignal, type Readable } from 'node:stream'
import type { Broker } from '../broker.ts'
import { filesBelow, type TreeFile } from './file-tree.ts'
import { MAX_LINE_BYTES, readNdjson } from './ndjson.ts'
import { InputError } from './command-arguments.ts'
import type { Problems } from './quickstart-problems.ts'
import { reasonOf, STANDARD_INPUT, unreadable, type Source } from './quickstart-source.ts'
import { printable, thousands } from './report.ts'

/** A record to send. */
export interface SourceRecord {
  readonly key: string | null
  readonly value: string | Buffer
  readonly headers?: Record<string, string>
}

/** How a source is read. */
export interface Reading {
  readonly broker: Broker
  /** Topic with the records that earlier runs have sent. */
  readonly topic: string
  readonly keyField: string | null
  readonly stdin: Readable
  /** Ends the reading of lines, even if none arrive. */
  readonly signal: AbortSignal
  readonly problems: Problems
  /** Called for each usable file or line, even if it is already in the log. */
  readonly onFound: () => void
}

/**
 * The records of the source that are not in the topic.
 *
 * @throws InputError if the source cannot be read to its end, or is not the one that was sent.
 */
export function recordsOf(source: Source, reading: Reading): AsyncIterable<SourceRecord> {
  return source.kind === 'files' ? fileRecords(source.name, reading) : lineRecords(source, reading)
}

/** One record per file, with the file's folder as its key. */
async function* fileRecords(root: string, reading: Reading): AsyncGenerator<SourceRecord> {
  const { broker, topic, problems } = reading
  const sent = new Set<string>()
  for (const partition of broker.topic(topic).partitions) {
    for await (const { value } of partition.records({ until: 'end' })) {
      sent.add((JSON.parse(value?.toString('utf8') ?? '') as TreeFile).path)
    }
  }
  const onSkipped = (path: string, error: unknown): void => {
    problems.add(`${printable(path)} is left out: ${reasonOf(error)}`)
  }
  // The log may be in the tree, and changes during the walk.
  for await (const file of filesBelow(root, onSkipped, await realpath(broker.dir))) {
    reading.onFound()
    if (sent.has(file.path)) continue
    yield { key: relative(root, dirname(file.path)), value: JSON.stringify(file) }
  }
}

/** One record per line, with its number in a header. */
async function* lineRecords(source: Source, reading: Reading): AsyncGenerator<SourceRecord> {
  const { keyField, problems, signal } = reading
  const sent = source.isStream ? new Map<number, number>() : await linesIn(reading)
  const onBad = (lineNumber: number, reason: string): void => {
    // An abort ends the text anywhere, so this may be the beginning of a line.
    if (signal.aborted) return
    if (sent.has(lineNumber)) throw changed(source, reading, lineNumber)
    problems.add(`line ${lineNumber} is left out: it ${reason}`, lineNumber)
  }
  const lines = readNdjson(bytesOf(source, reading), ({ lineNumber, reason }) => {
    onBad(lineNumber, reason)
  })
  for await (const { lineNumber, bytes, value } of lines) {
    if (signal.aborted) return
    const key = keyField === null ? null : fieldOf(value, keyField)
    if (key === undefined) {
      onBad(lineNumber, 'has a key that is nested too deeply')
      continue
    }
    if (Buffer.byteLength(key ?? '') + bytes.length > MAX_LINE_BYTES) {
      onBad(lineNumber, `is, with its key, longer than ${thousands(MAX_LINE_BYTES)} bytes`)
      continue
    }
    reading.onFound()
    const fingerprint = sent.get(lineNumber)
    if (fingerprint === undefined) {
      yield { key, value: bytes, headers: { line: String(lineNumber) } }
    } else if (fingerprint !== fingerprintOf(bytes)) {
      throw changed(source, reading, lineNumber)
    }
    sent.delete(lineNumber)
  }
  const [missing] = sent.keys()
  if (missing !== undefined && !signal.aborted) throw changed(source, reading, missing)
}

async function* bytesOf(source: Source, { stdin, signal }: Reading): AsyncGenerator<Buffer> {
  const input = source === STANDARD_INPUT ? stdin : createReadStream(source.name)
  addAbortSignal(signal, input)
  try {
    for await (const chunk of input) yield chunk as Buffer
  } catch (error) {
    if (!signal.aborted) throw unreadable(source.name, error)
  }
}

/**
 * Fingerprints of the lines in the log, by line number. Partitions are written independently: after
 * a crash, one may have a later line while another lacks an earlier one.
 */
async function linesIn({ broker, topic }: Reading): Promise<Map<number, number>> {
  const lines = new Map<number, number>()
  for (const partition of broker.topic(topic).partitions) {
    for await (const { headers, value } of partition.records({ until: 'end' })) {
      const lineNumber = Number(headers[0]?.value?.toString('utf8') ?? 0)
      lines.set(lineNumber, fingerprintOf(value ?? Buffer.alloc(0)))
    }
  }
  return lines
}

/** 48 bits, which fit in a number and need no string for each line. */
function fingerprintOf(bytes: Buffer): number {
  return createHash('sha256').update(bytes).digest().readUIntBE(0, 6)
}

function changed(source: Source, { broker, topic }: Reading, lineNumber: number): InputError {
  return new InputError(
    `${source.name} is not the file that topic '${topic}' was loaded from: its line ${lineNumber} was different then. ` +
      `A file may grow between two runs, but must not change otherwise.\n` +
      `Load the new one under another name or into another log (--data DIR), or remove ${broker.dir} and start over.`,
  )
}

/** @returns `undefined` if it cannot be stringified: JSON.parse accepts deeper nesting */
function fieldOf(value: unknown, field: string): string | null | undefined {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, field)) return null
  const found = (value as Record<string, unknown>)[field]
  if (typeof found === 'string') return found
  try {
    return JSON.stringify(found)
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}
