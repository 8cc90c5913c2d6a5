import type { Clock } from '../platform/clock.ts'
import {
  encodeRecords,
  storedCompressionType,
  type AppendRecord,
  type AppendResult,
} from '../storage/append-record.ts'
import { AppendChain, type AppendChainOwner } from './append-chain.ts'
import type { Acks } from './pending-append.ts'

/** How records are taken. */
export interface PartitionAppend {
  readonly acks: Acks
  readonly expectedOffset: number | undefined
}

/**
 * The side of a partition that takes records: encodes them, hands them to the one way into the log,
 * and makes of each append what its caller waits for. Calls may overlap.
 */
export class PartitionWriter {
  readonly #clock: Pick<Clock, 'now'>
  readonly #owner: AppendChainOwner
  readonly #chain: AppendChain

  constructor(clock: Pick<Clock, 'now'>, owner: AppendChainOwner) {
    this.#clock = clock
    this.#owner = owner
    this.#chain = new AppendChain(owner)
  }

  /** Takes one record or several, all or none of them. @throws what says that one is not taken */
  async append(
    records: AppendRecord | readonly AppendRecord[],
    { acks, expectedOffset }: PartitionAppend,
  ): Promise<AppendResult> {
    const list = (Array.isArray(records) ? records : [records]) as readonly AppendRecord[]
    const { config } = this.#owner.log
    const now = this.#clock.now()
    const [first] = list
    const isAlone = list.length === 1 && expectedOffset === undefined
    if (first !== undefined && isAlone && storedCompressionType(config, 'none') === 'none') {
      return this.#acknowledge(this.#chain.appendRecord(first, now, acks), acks)
    }
    const batches = encodeRecords(list, config, now)
    const appended = this.#chain.append(batches, { acks, expectedOffset, isInLine: true })
    return this.#acknowledge(appended, acks, batches)
  }

  /** Takes encoded batches, in one step. They are stamped in place. */
  appendBatches(batches: readonly Buffer[], acks: Acks): Promise<AppendResult> {
    return this.#acknowledge(this.#chain.append(batches, { acks, isInLine: false }), acks)
  }

  /** Takes no more, and resolves when what was taken has settled. */
  close(reason: Error): Promise<void> {
    return this.#chain.close(reason)
  }

  /**
   * Makes of an append what its caller waits for.
   *
   * @param batches when they are being encoded.
   */
  #acknowledge(
    appended: Promise<AppendResult>,
    acks: Acks,
    batches?: unknown,
  ): Promise<AppendResult> {
    return acks === 0 ? this.#inMemory(appended, batches) : appended
  }

  async #inMemory(appended: Promise<AppendResult>, batches: unknown): Promise<AppendResult> {
    // Nobody waits for the outcome, and so nobody would handle a rejection.
    appended.catch(() => undefined)
    // What is not encoded yet takes room that is not known.
    await Promise.resolve(batches).catch(() => undefined)
    await this.#chain.whenRoom()
    return { baseOffset: -1, lastOffset: -1, timestamp: -1 }
  }
}
