import { isUtf8 } from 'node:buffer'
import type { StoredRecord } from '../index.ts'
import type { OffsetRange } from './load-task.ts'
import type { OutputFile } from './output-file.ts'
import type { RangeDirectory } from './range-directory.ts'

const FLUSH_CHARACTERS = 256 * 1024

/**
 * The rejected records of a task, one line of JSON each: offset, timestamp, reason, key and value,
 * as text or, under `keyBase64` and `valueBase64`, as bytes. Without rejected records there is no
 * file.
 */
export class RejectsFile {
  readonly #directory: RangeDirectory
  readonly #range: OffsetRange
  readonly #extension: string
  #output: OutputFile | null = null
  #pending = ''
  #count = 0

  constructor(directory: RangeDirectory, range: OffsetRange, extension: string) {
    this.#directory = directory
    this.#range = range
    this.#extension = extension
  }

  get count(): number {
    return this.#count
  }

  get sizeBytes(): number {
    return this.#output?.sizeBytes ?? 0
  }

  /** @returns whether {@link RejectsFile.flush} must be called. */
  add({ offset, timestamp, key, value }: StoredRecord, reason: string): boolean {
    this.#count += 1
    const line = { offset, timestamp, reason, ...encoded('key', key), ...encoded('value', value) }
    this.#pending += `${JSON.stringify(line)}\n`
    return this.#pending.length >= FLUSH_CHARACTERS
  }

  async flush(): Promise<void> {
    if (this.#pending === '') return
    this.#output ??= await this.#directory.create(this.#range, this.#extension)
    const bytes = Buffer.from(this.#pending, 'utf8')
    this.#pending = ''
    await this.#output.append(bytes)
  }

  /** Makes everything durable. */
  async finish(): Promise<void> {
    await this.flush()
    await this.#output?.finish()
  }

  async publish(): Promise<void> {
    if (this.#output === null) return
    await this.#directory.publish(this.#output, this.#range, this.#extension)
  }

  async discard(): Promise<void> {
    await this.#output?.discard()
  }
}

function encoded(name: string, bytes: Buffer | null): Record<string, string | null> {
  if (bytes === null) return { [name]: null }
  return isUtf8(bytes)
    ? { [name]: bytes.toString('utf8') }
    : { [`${name}Base64`]: bytes.toString('base64') }
}
