import { hash } from 'node:crypto'

const SMALLEST_CAPACITY_BYTES = 256
const EMPTY = Buffer.alloc(0)

/**
 * The bytes of a simulated file: they grow by doubling and are copied only when a copy is changed.
 *
 * Ranges are `[start, end)`. A gap that a write or a resize leaves behind the old end reads as
 * zeros.
 */
export class GrowableBytes {
  #bytes: Buffer = EMPTY
  #sizeBytes = 0
  /** Whether another object reads the same buffer, so that it must not be changed in place. */
  #shared = true
  /** Copies have the same one until they are changed, so that content is digested once for all. */
  #version: { digest: string | null } = { digest: null }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** A copy that costs nothing until one of the two is changed. */
  clone(): GrowableBytes {
    const copy = new GrowableBytes()
    copy.#bytes = this.#bytes
    copy.#sizeBytes = this.#sizeBytes
    copy.#version = this.#version
    this.#shared = true
    return copy
  }

  /** Fills `target` from `position`. Returns the number of bytes there were, 0 at the end. */
  read(target: Uint8Array, position: number): number {
    const count = Math.max(0, Math.min(target.length, this.#sizeBytes - position))
    if (count > 0) {
      target.set(this.#bytes.subarray(position, position + count))
    }
    return count
  }

  write(source: Uint8Array, position: number): void {
    if (source.length === 0) {
      return
    }
    const end = position + source.length
    this.#own(end)
    if (position > this.#sizeBytes) {
      this.#bytes.fill(0, this.#sizeBytes, position)
    }
    this.#bytes.set(source, position)
    this.#sizeBytes = Math.max(this.#sizeBytes, end)
  }

  /** Overwrites what exists of the range with zeros. */
  zero(start: number, end: number): void {
    if (start < Math.min(end, this.#sizeBytes)) {
      this.#own(this.#sizeBytes)
      this.#bytes.fill(0, start, Math.min(end, this.#sizeBytes))
    }
  }

  resize(sizeBytes: number): void {
    if (sizeBytes > this.#sizeBytes) {
      this.#own(sizeBytes)
      this.#bytes.fill(0, this.#sizeBytes, sizeBytes)
    }
    this.#version = { digest: null }
    this.#sizeBytes = sizeBytes
  }

  /** Inverts bit `bit` (0 is the lowest) of an existing byte. */
  flipBit(position: number, bit: number): void {
    this.#own(this.#sizeBytes)
    this.#bytes[position] = (this.#bytes[position] ?? 0) ^ (1 << bit)
  }

  /** The content itself, to be looked at before anything changes it. */
  view(): Buffer {
    return this.#bytes.subarray(0, this.#sizeBytes)
  }

  /** The content as a buffer of its own. */
  toBuffer(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#sizeBytes))
  }

  /** Stands for the content: equal for equal bytes, and different for others. */
  digest(): string {
    this.#version.digest ??= hash('sha1', this.view(), 'base64')
    return this.#version.digest
  }

  /** Before each change in place. */
  #own(neededBytes: number): void {
    this.#version = { digest: null }
    if (!this.#shared && neededBytes <= this.#bytes.length) {
      return
    }
    let capacity = Math.max(SMALLEST_CAPACITY_BYTES, this.#bytes.length)
    while (capacity < neededBytes) {
      capacity *= 2
    }
    const grown = Buffer.allocUnsafe(capacity)
    this.#bytes.copy(grown, 0, 0, this.#sizeBytes)
    this.#bytes = grown
    this.#shared = false
  }
}
