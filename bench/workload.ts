import { crc32 } from 'node:zlib'

/** The topic of every case. */
export const TOPIC = 'bench'

/** Bytes of every key. */
export const KEY_BYTES = 16

/** Records of one call, where a call takes many. */
export const BATCH_RECORDS = 1000

/** Number of distinct records; after these, the records repeat. */
const CYCLE = 4096

/** A record of the workload, in every form in which a log may take it. */
export interface WorkloadRecord {
  readonly value: Buffer
  /** The key followed by the value. */
  readonly payload: Buffer
  readonly keyText: string
  /** In the form that partitions take. */
  readonly appended: AppendedRecord
  /** In the form that producers take. */
  readonly sent: SentRecord
}

interface AppendedRecord {
  readonly key: Buffer
  readonly value: Buffer
}

interface SentRecord extends AppendedRecord {
  readonly topic: string
}

/**
 * The records that every case writes and reads: the same in every run, created before anything is
 * measured. Record `i` of a log is record `i` of the workload.
 */
export class Workload {
  readonly valueBytes: number
  /** Bytes of one key and value. */
  readonly recordBytes: number
  /** Keys and values of one cycle, concatenated. */
  readonly #bytes: Buffer
  /** Two cycles, so that a slice may begin anywhere in the first. */
  readonly #records: readonly WorkloadRecord[]
  readonly #appended: readonly AppendedRecord[]
  readonly #sent: readonly SentRecord[]

  constructor(valueBytes: number) {
    this.valueBytes = valueBytes
    this.recordBytes = KEY_BYTES + valueBytes
    this.#bytes = pseudoRandomText(CYCLE * this.recordBytes)
    const cycle = Array.from({ length: CYCLE }, (_, index) => {
      const start = index * this.recordBytes
      const payload = this.#bytes.subarray(start, start + this.recordBytes)
      const key = payload.subarray(0, KEY_BYTES)
      const value = payload.subarray(KEY_BYTES)
      const keyText = key.toString('latin1')
      const appended = { key, value }
      return { value, payload, keyText, appended, sent: { topic: TOPIC, key, value } }
    })
    this.#records = [...cycle, ...cycle]
    this.#appended = this.#records.map(({ appended }) => appended)
    this.#sent = this.#records.map(({ sent }) => sent)
  }

  record(index: number): WorkloadRecord {
    const record = this.#records[index % CYCLE]
    if (record === undefined) throw new RangeError(`no record ${index}`)
    return record
  }

  /** Records [`from`, `from + count`). @param count at most 4096. */
  slice(from: number, count: number): readonly WorkloadRecord[] {
    const start = from % CYCLE
    return this.#records.slice(start, start + count)
  }

  /** Like {@link Workload.slice}, in the form that partitions take. */
  appendedSlice(from: number, count: number): readonly AppendedRecord[] {
    const start = from % CYCLE
    return this.#appended.slice(start, start + count)
  }

  /** Like {@link Workload.slice}, in the form that producers take. */
  sentSlice(from: number, count: number): readonly SentRecord[] {
    const start = from % CYCLE
    return this.#sent.slice(start, start + count)
  }

  /** The bytes of `count` records, in buffers of at most `sizeBytes`, all created by the call. */
  chunks(count: number, sizeBytes: number): Buffer[] {
    const repeated = Buffer.concat(
      Array<Buffer>(Math.ceil(sizeBytes / this.#bytes.length) + 1).fill(this.#bytes),
    )
    const chunks: Buffer[] = []
    const total = count * this.recordBytes
    for (let position = 0; position < total; position += sizeBytes) {
      const start = position % this.#bytes.length
      const length = Math.min(sizeBytes, total - position)
      chunks.push(repeated.subarray(start, start + length))
    }
    return chunks
  }

  /** The checksum of the first `count` records, in order. */
  checksum(count: number): number {
    return this.chunks(count, 1024 * 1024).reduce((crc, chunk) => crc32(chunk, crc), 0)
  }

  /** The checksum of the first `count` records, in any order. */
  unorderedChecksum(count: number): number {
    let sum = 0
    for (let index = 0; index < count; index++) {
      sum = (sum + crc32(this.record(index).payload)) >>> 0
    }
    return sum
  }
}

/** Writes `count` records in calls of {@link BATCH_RECORDS}, with at most `window` in flight. */
export async function inWindow(
  count: number,
  window: number,
  write: (from: number, size: number) => Promise<unknown>,
): Promise<void> {
  const inFlight: Promise<unknown>[] = []
  for (let from = 0; from < count; from += BATCH_RECORDS) {
    if (inFlight.length === window) await inFlight.shift()
    inFlight.push(write(from, Math.min(BATCH_RECORDS, count - from)))
  }
  await Promise.all(inFlight)
}

/** A checksum of the records that are read back. */
export class Checksum {
  count = 0
  readonly #order: 'ordered' | 'unordered'
  readonly #pending = Buffer.alloc(256 * 1024)
  #pendingBytes = 0
  #value = 0

  constructor(order: 'ordered' | 'unordered') {
    this.#order = order
  }

  /** Adds the next record, which must be smaller than 256 KiB. */
  add(key: Buffer | string | null, value: Buffer): void {
    const keyBytes = bytesOf(key)
    this.count += 1
    if (this.#order === 'unordered') {
      this.#value = (this.#value + crc32(value, crc32(keyBytes))) >>> 0
      return
    }
    const length = keyBytes.length + value.length
    if (this.#pendingBytes + length > this.#pending.length) this.#take()
    this.#pending.set(keyBytes, this.#pendingBytes)
    this.#pending.set(value, this.#pendingBytes + keyBytes.length)
    this.#pendingBytes += length
  }

  /** Comparable with {@link Workload.checksum}, or with {@link Workload.unorderedChecksum}. */
  get value(): number {
    this.#take()
    return this.#value
  }

  #take(): void {
    if (this.#pendingBytes === 0) return
    this.#value = crc32(this.#pending.subarray(0, this.#pendingBytes), this.#value)
    this.#pendingBytes = 0
  }
}

/** The bytes of a key; empty if it is `null`, because the value contains the key. */
export function bytesOf(key: Buffer | string | null): Buffer {
  if (key === null) return NO_BYTES
  return typeof key === 'string' ? Buffer.from(key, 'latin1') : key
}

const NO_BYTES = Buffer.alloc(0)

/** Letters and digits that do not repeat within a cycle, so no file system can deduplicate them. */
function pseudoRandomText(sizeBytes: number): Buffer {
  const alphabet = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_')
  const text = Buffer.alloc(sizeBytes)
  let state = 0x9e3779b9
  for (let position = 0; position < sizeBytes; position++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    text[position] = alphabet[(state >>> 8) & 63] ?? 0
  }
  return text
}
