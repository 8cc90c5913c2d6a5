import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import type { TreeFile } from './file-tree.ts'
import type { Input } from './quickstart-inputs.ts'
import { reasonOf } from './quickstart-source.ts'

/** Result of one record. */
export interface JobResult {
  /** The file's path, or the line's number. */
  readonly name: string
  /** SHA-256 in hexadecimal, or the reason why there is none. */
  readonly hash: string
  /** Bytes that were hashed. */
  readonly sizeBytes: number
}

/** What the group does with the records of an input. */
export interface Job extends Input {
  /** What a record represents, in the singular. */
  readonly noun: string
  work(record: {
    value: Buffer | null
    headers: readonly { key: string; value: Buffer | null }[]
  }): Promise<JobResult>
}

/** Prefix of the hash of a file that could not be read. */
export const UNREADABLE = 'unreadable: '

/** The job for an input. */
export function jobOf(input: Input): Job {
  return input.kind === 'files'
    ? { ...input, noun: 'file', work: hashFile }
    : { ...input, noun: 'line', work: hashLine }
}

const hashFile: Job['work'] = async (record) => {
  const file = JSON.parse(record.value?.toString('utf8') ?? '') as TreeFile
  const hash = createHash('sha256')
  try {
    await pipeline(createReadStream(file.path), hash)
    return { name: file.path, hash: hash.digest('hex'), sizeBytes: file.sizeBytes }
  } catch (error) {
    return { name: file.path, hash: `${UNREADABLE}${reasonOf(error)}`, sizeBytes: 0 }
  }
}

const hashLine: Job['work'] = (record) => {
  const bytes = record.value ?? Buffer.alloc(0)
  const name = `line ${record.headers[0]?.value?.toString('utf8') ?? '?'}`
  const hash = createHash('sha256').update(bytes).digest('hex')
  return Promise.resolve({ name, hash, sizeBytes: bytes.length })
}
