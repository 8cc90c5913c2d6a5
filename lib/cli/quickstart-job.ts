import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { dirname, relative } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Broker } from '../broker.ts'
import { filesBelow, type TreeFile } from './file-tree.ts'
import { readNdjson } from './ndjson.ts'
import { InputError, type QuickstartOptions } from './quickstart-options.ts'

/** A record to be sent. */
export interface JobRecord {
  readonly key: string | null
  readonly value: string | Buffer
  readonly headers?: Record<string, string>
}

/** What came of one record. */
export interface JobResult {
  /** The file's path, or the line's number. */
  readonly name: string
  /** SHA-256 in hexadecimal, or why there is none. */
  readonly hash: string
  /** Bytes that were hashed. */
  readonly sizeBytes: number
}

/** What the quickstart sends, and what its group does with it. */
export interface Job {
  readonly topic: string
  readonly resultTopic: string
  /** What a record stands for, in the plural. */
  readonly noun: string
  readonly title: string
  /** What has not been sent by an earlier run. */
  records(broker: Broker, onProblem: (problem: string) => void): AsyncIterable<JobRecord>
  work(record: {
    value: Buffer | null
    headers: readonly { key: string; value: Buffer | null }[]
  }): Promise<JobResult>
}

/**
 * The job that the options ask for.
 *
 * @throws InputError when its input cannot be read.
 */
export async function jobOf(options: QuickstartOptions, stdin: Readable): Promise<Job> {
  if (options.tree !== null) {
    await ensureReadable(options.tree, () => readdir(options.tree ?? ''))
    return filesJob(options.tree)
  }
  const path = options.ndjson ?? '-'
  if (path !== '-') {
    await ensureReadable(path, async () => {
      if (!(await lstat(path)).isDirectory()) return
      throw new Error('it is a directory')
    })
  }
  return linesJob(path, options.keyField, stdin)
}

/** One record per file, keyed by its folder; a file that is in the log is not sent again. */
function filesJob(root: string): Job {
  return {
    topic: 'files',
    resultTopic: 'file-hashes',
    noun: 'files',
    title: `one record per file of ${root}`,
    async *records(broker, onProblem) {
      const sent = new Set<string>()
      for (const value of valuesOf(broker, 'files')) {
        for await (const text of value) sent.add((JSON.parse(text) as TreeFile).path)
      }
      const onSkipped = (path: string, error: unknown): void => {
        onProblem(`${path} is left out: ${messageOf(error)}`)
      }
      for await (const file of filesBelow(root, onSkipped)) {
        if (sent.has(file.path)) continue
        yield { key: relative(root, dirname(file.path)), value: JSON.stringify(file) }
      }
    },
    async work(record) {
      const file = JSON.parse(record.value?.toString('utf8') ?? '') as TreeFile
      const hash = createHash('sha256')
      try {
        await pipeline(createReadStream(file.path), hash)
        return { name: file.path, hash: hash.digest('hex'), sizeBytes: file.sizeBytes }
      } catch (error) {
        return { name: file.path, hash: `unreadable: ${messageOf(error)}`, sizeBytes: 0 }
      }
    },
  }
}

/** One record per line; lines of a file that are in the log are not sent again. */
function linesJob(path: string, keyField: string | null, stdin: Readable): Job {
  const isInput = path === '-'
  return {
    topic: 'lines',
    resultTopic: 'line-hashes',
    noun: 'lines',
    title: `one record per line of ${isInput ? 'standard input (from its start: it cannot be resumed)' : path}`,
    async *records(broker, onProblem) {
      // Partitions are written on their own: a crash may leave a later line in one and not an earlier
      // one in another.
      const sent = isInput ? new Set<number>() : await linesIn(broker)
      const input = isInput ? stdin : createReadStream(path)
      const onMalformed = (line: { lineNumber: number; reason: string }): void => {
        onProblem(`line ${line.lineNumber} is no JSON: ${line.reason}`)
      }
      for await (const line of readNdjson(input as AsyncIterable<Buffer>, onMalformed)) {
        if (sent.has(line.lineNumber)) continue
        const key = keyField === null ? null : fieldOf(line.value, keyField)
        yield { key, value: line.bytes, headers: { line: String(line.lineNumber) } }
      }
    },
    work(record) {
      const bytes = record.value ?? Buffer.alloc(0)
      const name = `line ${record.headers[0]?.value?.toString('utf8') ?? '?'}`
      const hash = createHash('sha256').update(bytes).digest('hex')
      return Promise.resolve({ name, hash, sizeBytes: bytes.length })
    },
  }
}

/** The values in each partition of a topic, as text. */
function valuesOf(broker: Broker, topic: string): AsyncIterable<string>[] {
  return broker.topic(topic).partitions.map(async function* (partition) {
    for await (const record of partition.records({ until: 'end' })) {
      yield record.value?.toString('utf8') ?? ''
    }
  })
}

async function linesIn(broker: Broker): Promise<Set<number>> {
  const lines = new Set<number>()
  for (const partition of broker.topic('lines').partitions) {
    for await (const { headers } of partition.records({ until: 'end' })) {
      lines.add(Number(headers[0]?.value?.toString('utf8') ?? 0))
    }
  }
  return lines
}

function fieldOf(value: unknown, field: string): string | null {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, field)) return null
  const found = (value as Record<string, unknown>)[field]
  return typeof found === 'string' ? found : JSON.stringify(found)
}

async function ensureReadable(path: string, look: () => Promise<unknown>): Promise<void> {
  try {
    await look()
  } catch (error) {
    throw new InputError(`${path} cannot be read: ${messageOf(error)}`)
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
