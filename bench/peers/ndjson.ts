import { fstatSync, readSync, writeSync } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import type { Workload, WorkloadRecord } from '../workload.ts'
import { GroupCommit } from './group-commit.ts'
import type { Peer, PeerLog, PeerSettings, Visit } from './peer.ts'

const CHUNK_RECORDS = 1000
const READ_BYTES = 1024 * 1024
const NEWLINE = 10

/** A file with a line of JSON for each record. */
export const ndjson: Peer = {
  name: 'ndjson',
  usage:
    'a line of JSON for each record, the value in base64 because values are bytes; bulk: ' +
    `writeSync of ${CHUNK_RECORDS} lines; a promise each, and durable: one write, and one ` +
    'fdatasync where durable, for what has gathered; the positions of the lines are found when ' +
    'the file is opened, and kept in memory',
  cannot: {},
  load: () =>
    Promise.resolve(async (dir, settings) => {
      const path = ndjsonPath(dir)
      return new NdjsonLog(await open(path, 'a+'), settings)
    }),
}

/** The file of a log of lines in `dir`. */
export function ndjsonPath(dir: string): string {
  return join(dir, 'log.ndjson')
}

/** The line of a record. */
export function lineOf({ keyText, value }: WorkloadRecord): string {
  return `${JSON.stringify({ key: keyText, value: value.toString('base64') })}\n`
}

/** The lines of a file, and their positions. */
export class NdjsonLines {
  /** Where each line begins, and where the last one ends. */
  readonly #positions: number[] = [0]

  /** Finds the existing lines. */
  constructor(fd: number) {
    const chunk = Buffer.allocUnsafeSlow(READ_BYTES)
    const { size } = fstatSync(fd)
    for (let position = 0; position < size;) {
      const length = readSync(fd, chunk, 0, READ_BYTES, position)
      for (let at = chunk.indexOf(NEWLINE); at !== -1 && at < length;) {
        this.#positions.push(position + at + 1)
        at = chunk.indexOf(NEWLINE, at + 1)
      }
      position += length
    }
  }

  get count(): number {
    return this.#positions.length - 1
  }

  /** Notes a line that was written at the end. */
  add(lengthBytes: number): void {
    this.#positions.push((this.#positions.at(-1) ?? 0) + lengthBytes)
  }

  read(fd: number, offset: number, limit: number, visit: Visit): number {
    const end = Math.min(offset + limit, this.count)
    const start = this.#positions[offset] ?? 0
    const bytes = Buffer.allocUnsafe((this.#positions[end] ?? start) - start)
    readSync(fd, bytes, 0, bytes.length, start)
    for (let index = offset; index < end; index++) {
      const from = (this.#positions[index] ?? NaN) - start
      const to = (this.#positions[index + 1] ?? NaN) - start - 1
      visitLine(bytes.toString('latin1', from, to), visit)
    }
    return end - offset
  }

  /** Visits all lines, without their recorded positions. */
  replay(fd: number, visit: Visit): void {
    let rest = ''
    const { size } = fstatSync(fd)
    const chunk = Buffer.allocUnsafeSlow(READ_BYTES)
    for (let position = 0; position < size;) {
      const length = readSync(fd, chunk, 0, READ_BYTES, position)
      const lines = (rest + chunk.toString('latin1', 0, length)).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) visitLine(line, visit)
      position += length
    }
  }
}

function visitLine(line: string, visit: Visit): void {
  const { key, value } = JSON.parse(line) as { key: string; value: string }
  visit(key, Buffer.from(value, 'base64'))
}

class NdjsonLog implements PeerLog {
  readonly #file: FileHandle
  readonly #lines: NdjsonLines
  readonly #group: GroupCommit

  constructor(file: FileHandle, { flush }: PeerSettings) {
    this.#file = file
    this.#lines = new NdjsonLines(file.fd)
    this.#group = new GroupCommit(async (records) => {
      const lines = records.map(lineOf)
      await this.#file.write(lines.join(''), null, 'latin1')
      if (flush === '1') await this.#file.datasync()
      this.#note(lines)
    })
  }

  get nextOffset(): number {
    return this.#lines.count
  }

  /** Notes lines once they are in the file, where readers look for them. */
  #note(lines: readonly string[]): void {
    for (const line of lines) this.#lines.add(line.length)
  }

  bulk(workload: Workload, count: number): () => Promise<void> {
    return () => {
      for (let from = 0; from < count; from += CHUNK_RECORDS) {
        const lines = workload.slice(from, Math.min(CHUNK_RECORDS, count - from)).map(lineOf)
        writeSync(this.#file.fd, lines.join(''), null, 'latin1')
        this.#note(lines)
      }
      return Promise.resolve()
    }
  }

  append(record: WorkloadRecord): Promise<unknown> {
    return this.#group.append(record)
  }

  replay(visit: Visit): Promise<void> {
    this.#lines.replay(this.#file.fd, visit)
    return Promise.resolve()
  }

  readFrom(offset: number, limit: number, visit: Visit): number {
    return this.#lines.read(this.#file.fd, offset, limit, visit)
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}
