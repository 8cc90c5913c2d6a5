import type { CreateTopicOptions } from '../../lib/broker.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import type { BrokerSession } from './broker-session.ts'
import type { PartitionLedger } from './ledger.ts'
import { whileStartMoves } from './moving-start.ts'

/** How long tombstones of a {@link KeyedSession} are kept after their first pass. */
export const DELETE_RETENTION_MS = 100

/** Drives `table`, a compacted topic of one partition: writes, deletes and compacts its keys. */
export class KeyedSession {
  readonly #session: BrokerSession
  /** The passes so far: each has cleaned everything below an offset, at a certain time. */
  readonly #passes: { readonly below: number; readonly atMs: number }[] = []

  constructor(session: BrokerSession) {
    this.#session = session
  }

  async create(options: CreateTopicOptions = {}): Promise<void> {
    await this.#session.createTopic('table', {
      cleanupPolicy: 'compact',
      deleteRetentionMs: DELETE_RETENTION_MS,
      ...options,
    })
    this.#noted.compaction = { keys: [], below: 0, tombstonesBelow: 0 }
  }

  /** Appends one batch with a new value for each key, or a tombstone if `-` precedes the key. */
  async put(...keys: readonly string[]): Promise<void> {
    const { history, compaction } = this.#noted
    const records = keys.map((key) => {
      const isTombstone = key.startsWith('-')
      return { key: key.replace('-', ''), value: isTombstone ? null : this.#session.value() }
    })
    history.push(...records.map(({ value }) => String(value)))
    compaction?.keys.push(...records.map(({ key }) => key))
    const { lastOffset } = await this.#partition.append(records)
    this.#noted.written = lastOffset + 1
    this.#noted.durable = lastOffset + 1
  }

  /** Rolls, and compacts everything in one pass. */
  async compact(): Promise<void> {
    const { compaction, history } = this.#noted
    if (compaction === undefined) throw new Error('the topic is not compacted')
    const pass = { below: history.length, atMs: this.#session.clock.now() }
    const due = this.#passes.filter(({ atMs }) => pass.atMs >= atMs + DELETE_RETENTION_MS)
    compaction.below = pass.below
    compaction.tombstonesBelow = Math.max(0, ...due.map(({ below }) => below))
    await this.#partition.compact()
    this.#passes.push(pass)
  }

  /** Enforces the limits, whatever they delete. */
  enforceRetention(): Promise<void> {
    const { broker } = this.#session
    return whileStartMoves(this.#session, 'table', this.#noted.history.length, () =>
      broker.topic('table').enforceRetention(),
    )
  }

  get #partition(): Partition {
    return this.#session.broker.topic('table').partition(0)
  }

  get #noted(): PartitionLedger {
    return this.#session.partition('table', 0)
  }
}
