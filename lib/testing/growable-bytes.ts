import { hash } from 'node:crypto'

const SMALLEST_CAPACITY_BYTES = 256
const EMPTY = Buffer.alloc(0)

/**
 * The bytes of a simulated file. They grow by doubling. Clones share a buffer until one of them is
 * changed.
 *
 * Ranges are `[start, end)`. A gap that a write or a resize leaves after the old end reads as
 * zeros.
 */
export class GrowableBytes {
  #bytes: Buffer = EMPTY
  #sizeBytes = 0
  /** Whether another object uses the same buffer, which must then not be changed in place. */
  #shared = true
  /** Shared with copies until they are changed, so that their content is digested only once. */
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

  /** Fills `target` from `position`. Returns the number of bytes read, 0 at the end. */
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

  /** Overwrites the existing part of the range with zeros. */
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

  /** The content itself, valid until the next change. */
  view(): Buffer {
    return this.#bytes.subarray(0, this.#sizeBytes)
  }

  /** The content as a separate buffer. */
  toBuffer(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#sizeBytes))
  }

  /** Digest of the content: equal for equal bytes, and different for others. */
  digest(): string {
    this.#version.digest ??= hash('sha1', this.view(), 'base64')
    return this.#version.digest
  }

  /** Must be called before each change in place. */
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
