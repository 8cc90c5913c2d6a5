import { join } from 'node:path'
import type { Workload, WorkloadRecord } from '../workload.ts'
import type { Peer, PeerLog, Visit } from './peer.ts'
import { loadPeerModule } from './peer-module.ts'

interface Core {
  readonly length: number
  ready(): Promise<void>
  append(blocks: Buffer | readonly Buffer[]): Promise<unknown>
  get(index: number): Promise<Buffer | null>
  close(): Promise<void>
}

interface Hypercore {
  readonly default: new (path: string) => Core
}

const BATCH_RECORDS = 1000
const NO_SYNC = 'its storage has no call that makes appended blocks durable'

/** A core with a signed block for each record. */
export const hypercore: Peer = {
  name: 'hypercore',
  usage:
    `bulk: append of ${BATCH_RECORDS} blocks; a promise each: that of append; reads: get, with ` +
    `as many in flight as are asked for and ${BATCH_RECORDS} for replay`,
  cannot: { W3a: NO_SYNC, W3b: NO_SYNC },
  share: { W1: 0.2, W2: 0.02 },
  load: async () => {
    const { default: HypercoreClass } = (await loadPeerModule('hypercore')) as Hypercore
    return async (dir) => {
      const core = new HypercoreClass(join(dir, 'core'))
      await core.ready()
      return new HypercoreLog(core)
    }
  },
}

class HypercoreLog implements PeerLog {
  readonly #core: Core

  constructor(core: Core) {
    this.#core = core
  }

  get nextOffset(): number {
    return this.#core.length
  }

  bulk(workload: Workload, count: number): () => Promise<void> {
    return async () => {
      for (let from = 0; from < count; from += BATCH_RECORDS) {
        const records = workload.slice(from, Math.min(BATCH_RECORDS, count - from))
        await this.#core.append(records.map(({ payload }) => payload))
      }
    }
  }

  append({ payload }: WorkloadRecord): Promise<unknown> {
    return this.#core.append(payload)
  }

  async replay(visit: Visit): Promise<void> {
    let offset = 0
    while (offset < this.nextOffset) offset += await this.readFrom(offset, BATCH_RECORDS, visit)
  }

  async readFrom(offset: number, limit: number, visit: Visit): Promise<number> {
    const count = Math.min(limit, this.#core.length - offset)
    const blocks = await Promise.all(
      Array.from({ length: count }, (_, index) => this.#core.get(offset + index)),
    )
    for (const block of blocks) {
      if (block === null) throw new Error('a block is missing')
      visit(null, block)
    }
    return count
  }

  close(): Promise<void> {
    return this.#core.close()
  }
}
