import { onAbort } from '../platform/abort-listeners.ts'
import type { Clock } from '../platform/clock.ts'
import { promptIo } from '../platform/prompt-io.ts'
import {
  storedCompressionType,
  type AppendRecord,
  type AppendResult,
} from '../storage/append-record.ts'
import { encodeRecords } from '../storage/encode-records.ts'
import { AppendChain } from './append-chain.ts'
import type { AppendChainOwner } from './append-chain-owner.ts'
import { checkAppendOptions, type AppendOptions } from './append-options.ts'
import type { Acks, Settlement, WholeAppend } from './pending-append.ts'
import { INTERNAL_TOPICS, internalTopic } from './topic-name.ts'

const NO_OPTIONS: AppendOptions = {}

/**
 * The part of a partition that takes records: encodes them, passes them to the append chain, and
 * settles each append as its caller requested. Calls may overlap.
 */
export class PartitionWriter {
  readonly #clock: Pick<Clock, 'now'>
  readonly #owner: AppendChainOwner
  readonly #chain: AppendChain
  readonly #isInternal: boolean

  constructor(clock: Pick<Clock, 'now'>, owner: AppendChainOwner) {
    this.#clock = clock
    this.#owner = owner
    this.#chain = new AppendChain(owner)
    this.#isInternal = INTERNAL_TOPICS.has(owner.log.topic)
  }

  /** See `Partition.append`. */
  append(
    records: AppendRecord | readonly AppendRecord[],
    options: AppendOptions | undefined,
  ): Promise<AppendResult> {
    try {
      const checked = options === undefined ? NO_OPTIONS : checkAppendOptions(options)
      this.#ensureOpen()
      // A record that is no commit would make the offsets of all groups unreadable.
      if (this.#isInternal) throw internalTopic(this.#owner.log.topic)
      // With other `acks` the write reports a lost lock; here nobody would learn of it.
      const fenced = checked.acks === 0 ? this.#owner.whyFenced(false) : null
      if (fenced !== null) throw fenced
      return this.#append(records, checked)
    } catch (error) {
      const reason = error as Error
      return Promise.reject(reason)
    }
  }

  /** See `Partition.appendInternal`. @throws synchronously when the partition is closed */
  appendInternal(records: readonly AppendRecord[]): Promise<AppendResult> {
    this.#ensureOpen()
    return this.#append(records, NO_OPTIONS)
  }

  #ensureOpen(): void {
    const reason = this.#owner.whyClosed()
    if (reason !== null) throw reason
  }

  /**
   * Takes one or more records: all of them or none.
   * @throws synchronously when a record is refused
   */
  #append(
    records: AppendRecord | readonly AppendRecord[],
    { acks = 'all', expectedOffset, signal }: AppendOptions,
  ): Promise<AppendResult> {
    signal?.throwIfAborted()
    const { config } = this.#owner.log
    const now = this.#clock.now()
    const isPlain = expectedOffset === undefined && signal === undefined
    const alone = isPlain ? onlyOne(records) : undefined
    if (alone !== undefined && storedCompressionType(config, 'none') === 'none') {
      return this.#acknowledge(this.#chain.appendRecord(alone, now, acks), acks)
    }
    const list = (Array.isArray(records) ? records : [records]) as readonly AppendRecord[]
    const notes = { hasKeyless: false }
    const batches = encodeRecords(list, config, now, notes)
    let pending = null as WholeAppend | null
    const appended = new Promise<AppendResult>((resolve, reject) => {
      const request = { acks, expectedOffset, isInLine: true, ...notes }
      pending = this.#chain.append(batches, request, { resolve, reject })
    })
    const acknowledged = this.#acknowledge(appended, acks, batches)
    if (signal === undefined || pending === null) return acknowledged
    return this.#endedBy(signal, pending, acknowledged)
  }

  /** See `Partition.appendBatches`. */
  appendBatches(
    batches: readonly Buffer[],
    acks: 1 | 'all',
    settle: Settlement,
    hasKeyless = false,
  ): WholeAppend | null {
    return this.#chain.append(batches, { acks, isInLine: false, hasKeyless }, settle)
  }

  /** Takes no more appends, and resolves when those taken have settled. */
  close(reason: Error): Promise<void> {
    return this.#chain.close(reason)
  }

  /**
   * Applies `acks`: returns the promise for the caller.
   *
   * @param batches while they are being encoded.
   */
  #acknowledge(
    appended: Promise<AppendResult>,
    acks: Acks,
    batches?: unknown,
  ): Promise<AppendResult> {
    return acks === 0 ? this.#inMemory(appended, batches) : appended
  }

  /** Gives an append up when the signal is aborted, as long as it still waits. */
  #endedBy(
    signal: AbortSignal,
    pending: WholeAppend,
    acknowledged: Promise<AppendResult>,
  ): Promise<AppendResult> {
    return new Promise((resolve, reject) => {
      const giveUp = (): void => {
        const reason = signal.reason as Error
        if (pending.giveUp(reason)) reject(reason)
      }
      acknowledged.finally(onAbort(signal, giveUp)).then(resolve, reject)
      // Reading the records may have aborted the signal.
      if (signal.aborted) giveUp()
    })
  }

  async #inMemory(appended: Promise<AppendResult>, batches: unknown): Promise<AppendResult> {
    // Nobody waits for the outcome, so nobody would handle a rejection.
    appended.catch(() => undefined)
    // The size of the append is unknown until it is encoded, and whether its records can be stored.
    await batches
    await this.#chain.whenRoom()
    // A caller that awaits each append would otherwise fill the memory before the first write.
    const turn = promptIo.turnIfDue('write')
    if (turn !== null) await turn
    return { baseOffset: -1, lastOffset: -1, timestamp: -1 }
  }
}

/** The record, if there is only one. */
function onlyOne(records: AppendRecord | readonly AppendRecord[]): AppendRecord | undefined {
  if (!Array.isArray(records)) return records as AppendRecord
  return records.length === 1 ? (records[0] as AppendRecord) : undefined
}
