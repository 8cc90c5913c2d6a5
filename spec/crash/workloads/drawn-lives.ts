import type { TopicConfig } from '../../../lib/config.ts'
import { SeededRandom } from '../../../lib/testing/seeded-random.ts'
import type { BrokerSession } from '../broker-session.ts'
import { DELETE_RETENTION_MS, KeyedSession } from '../keyed-session.ts'
import { whileStartMoves } from '../moving-start.ts'
import { brokerWorkload, type Workload } from '../workload.ts'

/** How many calls one life makes. */
const CALLS = 14
const CODECS = ['producer', 'uncompressed', 'gzip', 'snappy', 'lz4', 'zstd'] as const

/** The limits of retention; each life uses one of them. */
const LIMITS: readonly TopicConfig[] = [
  { retentionBytes: 400 },
  { retentionMs: 150 },
  { retention: 'consumed' },
  { maxBytes: 900, whenFull: 'dropOldest', segmentBytes: 250 },
]

/**
 * Random writes to, reads of and deletions from two topics: `queue`, in changing codecs, whose
 * records are deleted by one of the limits, and `table`, which is compacted.
 */
class Life {
  readonly #session: BrokerSession
  readonly #random: SeededRandom
  readonly #table: KeyedSession
  /** Whether an append to `queue` may move its start. */
  #dropsOldest = false

  constructor(session: BrokerSession, seed: number) {
    this.#session = session
    this.#random = new SeededRandom(seed)
    this.#table = new KeyedSession(session)
  }

  async run(): Promise<void> {
    const limit = this.#random.pick(LIMITS)
    this.#dropsOldest = limit.whenFull === 'dropOldest'
    await this.#session.open()
    await this.#session.createTopic('queue', { segmentBytes: 200, ...limit })
    const policy = this.#random.pick(['compact', 'compact,delete'] as const)
    await this.#table.create({ cleanupPolicy: policy, segmentBytes: 200, retentionBytes: 500 })
    for (let call = 0; call < CALLS; call += 1) await this.#call()
  }

  async #call(): Promise<void> {
    const { broker, clock } = this.#session
    const queue = broker.topic('queue')
    const { logEndOffset } = queue.partition(0)
    switch (this.#random.integer(10)) {
      case 0:
        return queue.alter({ compressionType: this.#random.pick(CODECS) })
      case 1:
        return broker.topic('table').alter({ compressionType: this.#random.pick(CODECS) })
      case 2:
        return clock.advance(DELETE_RETENTION_MS)
      case 3:
        return this.#table.compact()
      case 4:
        return this.#table.enforceRetention()
      case 5:
        if (logEndOffset > 0) await this.#session.commit(logEndOffset, 'billing', 'queue')
        return whileStartMoves(this.#session, 'queue', logEndOffset, () => queue.enforceRetention())
      case 6: {
        const offset = this.#random.integer(logEndOffset + 1)
        const deletion = (): Promise<unknown> => queue.partition(0).deleteRecords(offset)
        return whileStartMoves(this.#session, 'queue', offset, deletion)
      }
      case 7:
      case 8:
        return this.#table.put(
          ...Array.from({ length: 1 + this.#random.integer(3) }, () => this.#key()),
        )
      default:
        return this.#append()
    }
  }

  async #append(): Promise<void> {
    const count = 1 + this.#random.integer(3)
    const { history } = this.#session.partition('queue', 0)
    const append = (): Promise<void> =>
      this.#session.append(count, { topic: 'queue', sizeBytes: 1 + this.#random.integer(30) })
    if (!this.#dropsOldest) return append()
    // The append may delete older records to make room.
    await whileStartMoves(this.#session, 'queue', history.length, append)
  }

  #key(): string {
    return `${this.#random.integer(4) === 0 ? '-' : ''}k${this.#random.integer(4)}`
  }
}

/** Lives of two topics, each with a different random order of calls. */
export function drawnLives(count: number): Workload[] {
  return Array.from({ length: count }, (_, seed) =>
    brokerWorkload({
      name: `a life drawn by ${seed}`,
      run: (session) => new Life(session, seed).run(),
    }),
  )
}
