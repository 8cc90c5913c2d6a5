import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { CHUNK_BYTES, RawLog } from '../raw-log.ts'
import { KEY_BYTES, type Workload, type WorkloadRecord } from '../workload.ts'
import {
  allBut,
  type Flush,
  type Peer,
  type PeerLog,
  type PeerSettings,
  type Visit,
} from './peer.ts'

/** Bytes written ahead of the records in a preallocated file. */
const PREALLOCATED_BYTES = 16 * 1024 * 1024

/**
 * The cost of the same bytes with only the file system, without a format, an index or checksums:
 * the floor for every log.
 */
export const rawPeers: readonly Peer[] = [
  {
    name: 'raw',
    usage:
      'a file, synchronous calls; bulk: writes of 1 MiB that are ready before the clock starts; ' +
      'replay: reads of 1 MiB, and a view for each key and value',
    cannot: {
      W2: 'synchronous calls have no promise: see raw-async',
      W3b: 'writers that wait for one another are not concurrent: see raw-async',
    },
    load: () =>
      Promise.resolve((dir, settings) => {
        const fd = openSync(rawPath(dir), 'a+')
        return Promise.resolve(new RawSync(fd, settings))
      }),
  },
  {
    name: 'raw-async',
    usage:
      'a file, asynchronous calls; a promise each, and durable: what has gathered is one write',
    cannot: {},
    storeOf: 'raw',
    load: () =>
      Promise.resolve(async (dir, settings) => {
        const file = await open(rawPath(dir), 'a+')
        return new RawAsync(file, settings)
      }),
  },
  {
    name: 'raw-preallocated',
    usage: `as raw, over ${PREALLOCATED_BYTES / 1024 / 1024} MiB of zeros that are on the disk already`,
    cannot: allBut(['W3a'], 'it is about the cost of a sync'),
    load: () =>
      Promise.resolve((dir, settings) => {
        const fd = openSync(rawPath(dir), existsSync(rawPath(dir)) ? 'r+' : 'w+')
        return Promise.resolve(new RawPreallocated(fd, settings))
      }),
  },
]

function rawPath(dir: string): string {
  return join(dir, 'raw.bin')
}

class RawSync implements PeerLog {
  nextOffset: number
  readonly fd: number
  protected readonly recordBytes: number
  readonly #flush: Flush

  constructor(fd: number, { flush, valueBytes }: PeerSettings) {
    this.fd = fd
    this.#flush = flush
    this.recordBytes = KEY_BYTES + valueBytes
    this.nextOffset = fstatSync(fd).size / this.recordBytes
  }

  bulk(workload: Workload, count: number): () => Promise<void> {
    const chunks = workload.chunks(count, CHUNK_BYTES)
    return () => {
      for (const chunk of chunks) writeSync(this.fd, chunk)
      return Promise.resolve()
    }
  }

  append({ payload }: WorkloadRecord): Promise<unknown> {
    this.write(payload)
    if (this.#flush === '1') fdatasyncSync(this.fd)
    this.nextOffset += 1
    return Promise.resolve()
  }

  protected write(payload: Buffer): void {
    writeSync(this.fd, payload)
  }

  replay(visit: Visit): Promise<void> {
    const chunkBytes = Math.floor(CHUNK_BYTES / this.recordBytes) * this.recordBytes
    for (let position = 0; ;) {
      // A reader may keep the views that it receives.
      const chunk = Buffer.allocUnsafeSlow(chunkBytes)
      const length = readSync(this.fd, chunk, 0, chunkBytes, position)
      if (length === 0) break
      visitViews(chunk, length, this.recordBytes, visit)
      position += length
    }
    return Promise.resolve()
  }

  readFrom(offset: number, limit: number, visit: Visit): number {
    const size = Math.min(limit, this.nextOffset - offset) * this.recordBytes
    const bytes = Buffer.allocUnsafe(size)
    const length = readSync(this.fd, bytes, 0, size, offset * this.recordBytes)
    visitViews(bytes, length, this.recordBytes, visit)
    return length / this.recordBytes
  }

  close(): Promise<void> {
    closeSync(this.fd)
    return Promise.resolve()
  }
}

/** Overwrites bytes that are already on disk, so that a sync need not persist a new file size. */
class RawPreallocated extends RawSync {
  constructor(fd: number, settings: PeerSettings) {
    super(fd, settings)
    if (this.nextOffset > 0) return
    writeSync(fd, Buffer.alloc(PREALLOCATED_BYTES), 0, PREALLOCATED_BYTES, 0)
    fdatasyncSync(fd)
  }

  protected override write(payload: Buffer): void {
    writeSync(this.fd, payload, 0, payload.length, this.nextOffset * this.recordBytes)
  }

  override close(): Promise<void> {
    ftruncateSync(this.fd, this.nextOffset * this.recordBytes)
    return super.close()
  }
}

class RawAsync implements PeerLog {
  readonly #file: FileHandle
  readonly #log: RawLog
  readonly #recordBytes: number
  readonly #countAtOpen: number
  #appended = 0

  constructor(file: FileHandle, { flush, valueBytes }: PeerSettings) {
    this.#file = file
    this.#recordBytes = KEY_BYTES + valueBytes
    this.#log = new RawLog(file, flush)
    this.#countAtOpen = fstatSync(file.fd).size / this.#recordBytes
  }

  get nextOffset(): number {
    return this.#countAtOpen + this.#appended
  }

  bulk(workload: Workload, count: number): () => Promise<void> {
    const chunks = workload.chunks(count, CHUNK_BYTES)
    return async () => {
      for (const chunk of chunks) await this.#file.write(chunk)
    }
  }

  append(record: WorkloadRecord): Promise<unknown> {
    this.#appended += 1
    return this.#log.append(record)
  }

  async replay(visit: Visit): Promise<void> {
    const chunkBytes = Math.floor(CHUNK_BYTES / this.#recordBytes) * this.#recordBytes
    for (let position = 0; ;) {
      const chunk = Buffer.allocUnsafeSlow(chunkBytes)
      const { bytesRead } = await this.#file.read(chunk, 0, chunkBytes, position)
      if (bytesRead === 0) break
      visitViews(chunk, bytesRead, this.#recordBytes, visit)
      position += bytesRead
    }
  }

  async readFrom(offset: number, limit: number, visit: Visit): Promise<number> {
    const size = Math.min(limit, this.nextOffset - offset) * this.#recordBytes
    const bytes = Buffer.allocUnsafe(size)
    const { bytesRead } = await this.#file.read(bytes, 0, size, offset * this.#recordBytes)
    // A record that is being written may be incomplete.
    const count = Math.floor(bytesRead / this.#recordBytes)
    visitViews(bytes, count * this.#recordBytes, this.#recordBytes, visit)
    return count
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

function visitViews(bytes: Buffer, length: number, recordBytes: number, visit: Visit): void {
  for (let start = 0; start < length; start += recordBytes) {
    const key = bytes.subarray(start, start + KEY_BYTES)
    visit(key, bytes.subarray(start + KEY_BYTES, start + recordBytes))
  }
}
