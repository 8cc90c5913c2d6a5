import { join } from 'node:path'
import type { Workload, WorkloadRecord } from '../workload.ts'
import type { Peer, PeerLog, PeerSettings, Visit } from './peer.ts'
import { loadPeerModule } from './peer-module.ts'

interface Database {
  put(key: number, value: Buffer): Promise<boolean>
  getKeys(options: object): Iterable<number>
  getRange(options: object): Iterable<{ key: number; value: Buffer }>
  readonly committed: Promise<boolean>
  readonly flushed: Promise<boolean>
  close(): Promise<void>
}

interface Lmdb {
  readonly open: (options: object) => Database
}

const ROUND_RECORDS = 5000

/** lmdb with its default sync, and with transactions that are synced before they become visible. */
export const lmdbPeers: readonly Peer[] = [
  lmdb('lmdb', true),
  lmdb('lmdb-sync', false, 'the same as lmdb: the option is about writing'),
]

function lmdb(name: string, overlappingSync: boolean, readReason?: string): Peer {
  const cannot = readReason === undefined ? {} : { W4: readReason, W5: readReason, W7: readReason }
  return {
    name,
    usage:
      `overlappingSync ${overlappingSync ? 'on, which is the default' : 'off'}; binary values, ` +
      `uint32 keys, noMemInit; bulk: put, with one await for ${ROUND_RECORDS}; a promise each: ` +
      'that of put; durable: `flushed`; reads: getRange, which is faster here than get',
    cannot,
    load: async () => {
      const { open } = (await loadPeerModule('lmdb')) as Lmdb
      return (dir, settings) => {
        const database = open({
          path: join(dir, 'lmdb'),
          encoding: 'binary',
          keyEncoding: 'uint32',
          noMemInit: true,
          overlappingSync,
        })
        return Promise.resolve(new LmdbLog(database, settings))
      }
    },
  }
}

class LmdbLog implements PeerLog {
  nextOffset: number
  readonly #database: Database
  readonly #isDurable: boolean

  constructor(database: Database, { flush }: PeerSettings) {
    this.#database = database
    this.#isDurable = flush === '1'
    const [last = -1] = database.getKeys({ reverse: true, limit: 1 })
    this.nextOffset = last + 1
  }

  bulk(workload: Workload, count: number): () => Promise<void> {
    return async () => {
      for (let from = 0; from < count; from += ROUND_RECORDS) {
        const end = Math.min(from + ROUND_RECORDS, count)
        let last: Promise<unknown> | null = null
        for (let index = from; index < end; index++) {
          last = this.#database.put(this.nextOffset, workload.record(index).payload)
          this.nextOffset += 1
        }
        await last
      }
    }
  }

  append({ payload }: WorkloadRecord): Promise<unknown> {
    const committed = this.#database.put(this.nextOffset, payload)
    this.nextOffset += 1
    return this.#isDurable ? this.#flushed(committed) : committed
  }

  async #flushed(committed: Promise<unknown>): Promise<void> {
    await committed
    await this.#database.flushed
  }

  replay(visit: Visit): Promise<void> {
    for (const { value } of this.#database.getRange({ start: 0 })) visit(null, value)
    return Promise.resolve()
  }

  readFrom(offset: number, limit: number, visit: Visit): number {
    let count = 0
    for (const { value } of this.#database.getRange({ start: offset, limit })) {
      visit(null, value)
      count += 1
    }
    return count
  }

  async close(): Promise<void> {
    await this.#database.committed
    await this.#database.close()
  }
}
