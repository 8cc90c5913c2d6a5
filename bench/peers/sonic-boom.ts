import type { EventEmitter } from 'node:events'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import type { Workload, WorkloadRecord } from '../workload.ts'
import { GroupCommit } from './group-commit.ts'
import { lineOf, NdjsonLines, ndjsonPath } from './ndjson.ts'
import type { Peer, PeerLog, PeerSettings, Visit } from './peer.ts'
import { loadPeerModule } from './peer-module.ts'

interface Sonic extends EventEmitter {
  write(line: string): boolean
  flush(callback: (error?: Error | null) => void): void
  end(): void
}

interface SonicBoom {
  readonly default: new (options: object) => Sonic
}

const ROUND_RECORDS = 1000
const ONLY_WRITES = 'it only writes: its lines are read as those of ndjson are'

/** The stream used by the logger pino. */
export const sonicBoom: Peer = {
  name: 'sonic-boom',
  usage:
    'the lines of ndjson, asynchronous writes of up to 16 KiB, as larger ones are slower; bulk: ' +
    `\`drain\` awaited every ${ROUND_RECORDS} lines; a promise each: settled by \`drain\`; durable: by \`flush\`, which syncs`,
  cannot: { W4: ONLY_WRITES, W5: ONLY_WRITES, W6: ONLY_WRITES, W7: ONLY_WRITES },
  load: async () => {
    const { default: SonicBoomClass } = (await loadPeerModule('sonic-boom')) as SonicBoom
    return async (dir, settings) => {
      const path = ndjsonPath(dir)
      const sonic = new SonicBoomClass({ dest: path, sync: false })
      await once(sonic, 'ready')
      return new SonicLog(sonic, openSync(path, 'r'), settings)
    }
  },
}

class SonicLog implements PeerLog {
  readonly nextOffset: number
  readonly #sonic: Sonic
  readonly #fd: number
  readonly #lines: NdjsonLines
  readonly #group: GroupCommit

  constructor(sonic: Sonic, fd: number, { flush }: PeerSettings) {
    this.#sonic = sonic
    this.#fd = fd
    this.#lines = new NdjsonLines(fd)
    this.nextOffset = this.#lines.count
    this.#group = new GroupCommit((records) => {
      const drained = this.#writeAll(records)
      return flush === '1' ? this.#flush() : drained
    })
  }

  async #writeAll(records: readonly WorkloadRecord[]): Promise<void> {
    for (const record of records) this.#sonic.write(lineOf(record))
    await once(this.#sonic, 'drain')
  }

  #flush(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#sonic.flush((error) => {
        if (error == null) resolve()
        else reject(error)
      })
    })
  }

  bulk(workload: Workload, count: number): () => Promise<void> {
    return async () => {
      for (let from = 0; from < count; from += ROUND_RECORDS) {
        await this.#writeAll(workload.slice(from, Math.min(ROUND_RECORDS, count - from)))
      }
    }
  }

  append(record: WorkloadRecord): Promise<unknown> {
    return this.#group.append(record)
  }

  replay(visit: Visit): Promise<void> {
    this.#lines.replay(this.#fd, visit)
    return Promise.resolve()
  }

  readFrom(offset: number, limit: number, visit: Visit): number {
    return this.#lines.read(this.#fd, offset, limit, visit)
  }

  async close(): Promise<void> {
    this.#sonic.end()
    await once(this.#sonic, 'close')
    closeSync(this.#fd)
  }
}
