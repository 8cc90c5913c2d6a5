import { join } from 'node:path'
import type { Workload, WorkloadRecord } from '../workload.ts'
import { GroupCommit } from './group-commit.ts'
import type { Peer, PeerLog, PeerSettings, Visit } from './peer.ts'
import { loadPeerModule } from './peer-module.ts'

interface Put {
  readonly type: 'put'
  readonly key: Buffer
  readonly value: Buffer
}

interface Values {
  nextv(size: number): Promise<Buffer[]>
  close(): Promise<void>
}

interface Level {
  open(): Promise<void>
  batch(operations: readonly Put[], options: object): Promise<void>
  keys(options: object): { all(): Promise<Buffer[]> }
  values(options: object): Values
  close(): Promise<void>
}

interface ClassicLevel {
  readonly ClassicLevel: new (path: string, options: object) => Level
}

const BATCH_RECORDS = 1000
const KEY_BYTES = 6
const PAGE_RECORDS = 1000
const PAGE_BYTES = 4 * 1024 * 1024

/** A LevelDB whose keys sort by the number of the record. */
export const classicLevel: Peer = {
  name: 'classic-level',
  usage:
    `buffers, no compression; bulk: batches of ${BATCH_RECORDS}; a promise each, and durable: one ` +
    'batch for what has gathered, with sync where durable, since single puts are slower and finish ' +
    `out of order; reads: an iterator over the values, ${PAGE_RECORDS} at a time for replay`,
  cannot: {},
  load: async () => {
    const { ClassicLevel } = (await loadPeerModule('classic-level')) as ClassicLevel
    return async (dir, settings) => {
      const level = new ClassicLevel(join(dir, 'level'), {
        keyEncoding: 'buffer',
        valueEncoding: 'buffer',
        compression: false,
      })
      await level.open()
      const [last] = await level.keys({ reverse: true, limit: 1 }).all()
      const nextOffset = last === undefined ? 0 : last.readUIntBE(0, KEY_BYTES) + 1
      return new LevelLog(level, nextOffset, settings)
    }
  },
}

class LevelLog implements PeerLog {
  nextOffset: number
  readonly #level: Level
  readonly #group: GroupCommit

  constructor(level: Level, nextOffset: number, { flush }: PeerSettings) {
    this.nextOffset = nextOffset
    this.#level = level
    const options = { sync: flush === '1' }
    this.#group = new GroupCommit((records) => this.#write(records, options))
  }

  #write(records: readonly WorkloadRecord[], options: object): Promise<void> {
    const puts = records.map(({ payload }): Put => {
      const key = keyOf(this.nextOffset)
      this.nextOffset += 1
      return { type: 'put', key, value: payload }
    })
    return this.#level.batch(puts, options)
  }

  bulk(workload: Workload, count: number): () => Promise<void> {
    return async () => {
      // The next batch is built while the previous one is written.
      let written: Promise<void> | null = null
      for (let from = 0; from < count; from += BATCH_RECORDS) {
        const writing = this.#write(workload.slice(from, Math.min(BATCH_RECORDS, count - from)), {})
        await written
        written = writing
      }
      await written
    }
  }

  append(record: WorkloadRecord): Promise<unknown> {
    return this.#group.append(record)
  }

  async replay(visit: Visit): Promise<void> {
    await this.#iterate({ highWaterMarkBytes: PAGE_BYTES }, Infinity, visit)
  }

  readFrom(offset: number, limit: number, visit: Visit): Promise<number> {
    return this.#iterate({ gte: keyOf(offset), limit }, limit, visit)
  }

  async #iterate(options: object, limit: number, visit: Visit): Promise<number> {
    const values = this.#level.values(options)
    let count = 0
    while (count < limit) {
      const page = await values.nextv(Math.min(PAGE_RECORDS, limit - count))
      if (page.length === 0) break
      for (const value of page) visit(null, value)
      count += page.length
    }
    await values.close()
    return count
  }

  async close(): Promise<void> {
    await this.#level.close()
  }
}

function keyOf(offset: number): Buffer {
  const key = Buffer.allocUnsafe(KEY_BYTES)
  key.writeUIntBE(offset, 0, KEY_BYTES)
  return key
}
