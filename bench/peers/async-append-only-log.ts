import { join } from 'node:path'
import type { Workload, WorkloadRecord } from '../workload.ts'
import { GroupCommit } from './group-commit.ts'
import type { Peer, PeerLog, Visit } from './peer.ts'
import { loadPeerModule } from './peer-module.ts'

type Callback<T> = (error: Error | null, result: T) => void

interface Sink {
  readonly paused: boolean
  write(value: Buffer): void
  end(error?: Error | null): void
}

interface Log {
  append(data: Buffer | readonly Buffer[], callback: Callback<number>): void
  onDrain(callback: () => void): void
  since(listener: (offset: number) => boolean | undefined): unknown
  stream(options: object): { pipe(sink: Sink): void }
  close(callback: (error?: Error | null) => void): void
}

interface AsyncAppendOnlyLog {
  readonly default: (path: string, options: object) => Log
}

const BLOCK_BYTES = 65_536
/** Overhead of a record, and the space that a block leaves free at its end. */
const HEADER_BYTES = 2
const ROUND_RECORDS = 1000
/** Records that may wait in memory for the background writes between two calls of onDrain. */
const DRAIN_RECORDS = 50_000

/** The log of Secure Scuttlebutt. */
export const asyncAppendOnlyLog: Peer = {
  name: 'async-append-only-log',
  usage:
    'writeTimeout 1 ms in place of 250, blocks of 64 KiB, each of which is synced, asked for or ' +
    `not; bulk: append of ${ROUND_RECORDS}, onDrain every ${DRAIN_RECORDS}; a promise each, and ` +
    'durable: append of what has gathered, then onDrain; reads: streams; a live one to follow. It ' +
    'finds records by position: the position of a record is computed, as all have one size',
  cannot: {},
  share: { W3a: 0.25 },
  load: async () => {
    const { default: openLog } = (await loadPeerModule(
      'async-append-only-log',
    )) as AsyncAppendOnlyLog
    return async (dir, { valueBytes }) => {
      const log = openLog(join(dir, 'log'), { blockSize: BLOCK_BYTES, writeTimeout: 1 })
      const since = await new Promise<number>((resolve) => {
        log.since((offset) => {
          resolve(offset)
          return false
        })
      })
      return new AsyncLog(log, since, valueBytes + 16)
    }
  },
}

class AsyncLog implements PeerLog {
  nextOffset: number
  readonly #log: Log
  readonly #recordBytes: number
  readonly #perBlock: number
  readonly #group: GroupCommit

  /** @param since position of the last record, -1 for none. */
  constructor(log: Log, since: number, payloadBytes: number) {
    this.#log = log
    this.#recordBytes = payloadBytes + HEADER_BYTES
    this.#perBlock = Math.floor((BLOCK_BYTES - HEADER_BYTES) / this.#recordBytes)
    const block = Math.floor(since / BLOCK_BYTES)
    this.nextOffset =
      since < 0 ? 0 : block * this.#perBlock + (since % BLOCK_BYTES) / this.#recordBytes + 1
    this.#group = new GroupCommit(async (records) => {
      this.#append(records)
      await this.#drained()
    })
  }

  #append(records: readonly WorkloadRecord[]): void {
    this.#log.append(
      records.map(({ payload }) => payload),
      (error) => {
        if (error !== null) throw error
      },
    )
    this.nextOffset += records.length
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => {
      this.#log.onDrain(resolve)
    })
  }

  bulk(workload: Workload, count: number): () => Promise<void> {
    return async () => {
      for (let from = 0; from < count; from += ROUND_RECORDS) {
        this.#append(workload.slice(from, Math.min(ROUND_RECORDS, count - from)))
        if ((from + ROUND_RECORDS) % DRAIN_RECORDS === 0) await this.#drained()
      }
      await this.#drained()
    }
  }

  append(record: WorkloadRecord): Promise<unknown> {
    return this.#group.append(record)
  }

  async replay(visit: Visit): Promise<void> {
    await this.#stream({}, visit)
  }

  readFrom(offset: number, limit: number, visit: Visit): Promise<number> {
    const block = Math.floor(offset / this.#perBlock)
    const position = block * BLOCK_BYTES + (offset % this.#perBlock) * this.#recordBytes
    return this.#stream({ gte: position, limit }, visit, limit)
  }

  #stream(options: object, visit: Visit, limit = Infinity): Promise<number> {
    return new Promise((resolve, reject) => {
      let count = 0
      this.#log.stream({ ...options, offsets: false }).pipe({
        paused: false,
        write: (value) => {
          // If the last record ends a block, the stream returns one more than its limit.
          if (count === limit) return
          visit(null, value)
          count += 1
        },
        end: (error) => {
          if (error == null) resolve(count)
          else reject(error)
        },
      })
    })
  }

  follow(count: number, visit: Visit): Promise<void> {
    return new Promise((resolve) => {
      let seen = 0
      this.#log.stream({ live: true, offsets: false }).pipe({
        paused: false,
        write: (value) => {
          visit(null, value)
          seen += 1
          if (seen === count) resolve()
        },
        end: () => undefined,
      })
    })
  }

  close(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#log.close((error) => {
        if (error == null) resolve()
        else reject(error)
      })
    })
  }
}
