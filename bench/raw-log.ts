import type { FileHandle } from 'node:fs/promises'
import type { Flush } from './peers/peer.ts'
import type { WorkloadRecord } from './workload.ts'

/** Bytes per write or read. */
export const CHUNK_BYTES: number = 1024 * 1024

/**
 * The simplest log with a promise per record: a file of concatenated records, without a format, an
 * index or checksums. Records that are appended while a write is in flight are written together by
 * the next write. Calls of `append` may overlap.
 */
export class RawLog {
  readonly #file: FileHandle
  readonly #flush: Flush
  #chunk: Chunk = newChunk()
  #full: Chunk[] = []
  #spare: Buffer | null = null
  #isRunning = false
  #position = 0

  /** @param file opened for appending. */
  constructor(file: FileHandle, flush: Flush) {
    this.#file = file
    this.#flush = flush
  }

  /**
   * Resolves with the position after the record once the record is written and, with flush `1`,
   * synced. A disk error ends the process.
   */
  append({ payload }: WorkloadRecord): Promise<number> {
    return new Promise((resolve) => {
      if (this.#chunk.sizeBytes + payload.length > CHUNK_BYTES) this.#startChunk()
      const chunk = this.#chunk
      chunk.bytes.set(payload, chunk.sizeBytes)
      chunk.sizeBytes += payload.length
      chunk.resolves.push(resolve)
      chunk.ends.push(chunk.sizeBytes)
      if (this.#isRunning) return
      this.#isRunning = true
      queueMicrotask(() => {
        void this.#run()
      })
    })
  }

  #startChunk(): void {
    this.#full.push(this.#chunk)
    // Allocating memory for every small write would cost more than the write.
    this.#chunk = newChunk(this.#spare)
    this.#spare = null
  }

  async #run(): Promise<void> {
    for (;;) {
      if (this.#chunk.sizeBytes > 0) this.#startChunk()
      const group = this.#full
      this.#full = []
      if (group.length === 0) break
      let position = this.#position
      for (const { bytes, sizeBytes } of group) {
        await this.#file.write(bytes, 0, sizeBytes, position)
        position += sizeBytes
      }
      if (this.#flush === '1') await this.#file.datasync()
      for (const chunk of group) {
        for (const [index, resolve] of chunk.resolves.entries()) {
          resolve(this.#position + (chunk.ends[index] ?? NaN))
        }
        this.#position += chunk.sizeBytes
        this.#spare = chunk.bytes
      }
    }
    this.#isRunning = false
  }
}

interface Chunk {
  readonly bytes: Buffer
  readonly resolves: ((position: number) => void)[]
  /** Where each record ends in the chunk. */
  readonly ends: number[]
  sizeBytes: number
}

function newChunk(spare: Buffer | null = null): Chunk {
  return {
    bytes: spare ?? Buffer.allocUnsafeSlow(CHUNK_BYTES),
    resolves: [],
    ends: [],
    sizeBytes: 0,
  }
}
