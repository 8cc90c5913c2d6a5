import { crc32 } from 'node:zlib'

/** The one topic of every case; it has one partition. */
export const TOPIC = 'bench'

/** Bytes of every key. */
export const KEY_BYTES = 16

/** So many different records there are; then they come again. */
const CYCLE = 4096

/** A record of the workload, as partitions take it. */
export interface WorkloadRecord {
  readonly key: Buffer
  readonly value: Buffer
}

/** The same record, as producers take it. */
export interface SentRecord extends WorkloadRecord {
  readonly topic: string
}

/**
 * The records that every case writes and reads: the same ones in every run, made before anything
 * is measured. Record `i` of a log is record `i` of the workload.
 */
export class Workload {
  readonly valueBytes: number
  /** Bytes of one key and value. */
  readonly recordBytes: number
  /** Keys and values of one cycle, one behind the other. */
  readonly #bytes: Buffer
  /** Two cycles, so that a slice may begin anywhere in the first. */
  readonly #records: readonly WorkloadRecord[]
  readonly #sent: readonly SentRecord[]

  constructor(valueBytes: number) {
    this.valueBytes = valueBytes
    this.recordBytes = KEY_BYTES + valueBytes
    this.#bytes = pseudoRandomText(CYCLE * this.recordBytes)
    const cycle = Array.from({ length: CYCLE }, (_, index) => {
      const start = index * this.recordBytes
      const valueStart = start + KEY_BYTES
      return {
        key: this.#bytes.subarray(start, valueStart),
        value: this.#bytes.subarray(valueStart, start + this.recordBytes),
      }
    })
    this.#records = [...cycle, ...cycle]
    const sent = cycle.map(({ key, value }) => ({ topic: TOPIC, key, value }))
    this.#sent = [...sent, ...sent]
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

  /** Like {@link Workload.record}, for a producer. */
  sent(index: number): SentRecord {
    const record = this.#sent[index % CYCLE]
    if (record === undefined) throw new RangeError(`no record ${index}`)
    return record
  }

  /** Like {@link Workload.slice}, for a producer. */
  sentSlice(from: number, count: number): readonly SentRecord[] {
    const start = from % CYCLE
    return this.#sent.slice(start, start + count)
  }

  /** The bytes of `count` records in buffers of at most `sizeBytes`, made at once. */
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

  /** The checksum of `count` records in their order. */
  checksum(count: number): number {
    return this.chunks(count, 1024 * 1024).reduce((crc, chunk) => crc32(chunk, crc), 0)
  }

  /** The checksum of `count` records in any order. */
  unorderedChecksum(count: number): number {
    let sum = 0
    for (let index = 0; index < count; index++) {
      const { key, value } = this.record(index)
      sum = (sum + crc32(value, crc32(key))) >>> 0
    }
    return sum
  }
}

/** Checksums of records as they come back. */
export class Checksum {
  count = 0
  readonly #pending = Buffer.alloc(256 * 1024)
  #pendingBytes = 0
  #ordered = 0

  /** The next record, of less than 256 KiB. */
  add(key: Buffer, value: Buffer): void {
    if (this.#pendingBytes + key.length + value.length > this.#pending.length) this.#take()
    this.#pending.set(key, this.#pendingBytes)
    this.#pending.set(value, this.#pendingBytes + key.length)
    this.#pendingBytes += key.length + value.length
    this.count += 1
  }

  /** Comparable with {@link Workload.checksum}. */
  get ordered(): number {
    this.#take()
    return this.#ordered
  }

  #take(): void {
    this.#ordered = crc32(this.#pending.subarray(0, this.#pendingBytes), this.#ordered)
    this.#pendingBytes = 0
  }
}

/** Letters and digits that do not repeat within a cycle, so that no file system can save them twice. */
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
