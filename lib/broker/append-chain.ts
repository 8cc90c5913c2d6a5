import { InvalidRecordError, LogFullError, StorageError } from '../errors.ts'
import { batchesOf } from '../record/record-batch.ts'
import type { AppendRecord, AppendResult } from '../storage/append-record.ts'
import { joinBatch, type JoinableBatches } from '../storage/encode-records.ts'
import type { AppendChainOwner } from './append-chain-owner.ts'
import { refusalOf } from './append-refusal.ts'
import { behindFailed } from './behind-failed.ts'
import { EndOfTick } from './end-of-tick.ts'
import { lookForRoom, MAX_WAITING_BYTES, mostGroupBytes } from './group-bytes.ts'
import { LinkedLine } from './linked-line.ts'
import {
  hasKeyless,
  SharedBatch,
  sharedBatchOf,
  sealAll,
  tellWritten,
  WholeAppend,
  type Acks,
  type ChainedAppendOptions,
  type PendingAppend,
  type Settlement,
} from './pending-append.ts'
import { isCapped } from './topic-space.ts'
import { isToBeGatheredAnew, WaitingGroup } from './waiting-group.ts'

/**
 * The one way into a partition's log: write, sync, publish, acknowledge, one group after the other.
 *
 * Appends that arrive while a group is in flight gather and form the next one, so that under load all waiting appends
 * share the cost of a write and of a sync (group commit). Acknowledgements follow offset order. A group fails as a
 * whole. If the disk fails it, the appends in line that have come after it by then fail too, so that no caller's records
 * are in the log with one missing between them. Producers wait for each of their groups: they are not in line and go on.
 *
 * If the disk answers synchronously, the whole commit is one step without a promise, except those of the callers. Only
 * what has to be waited for is awaited.
 */
export class AppendChain {
  readonly #owner: AppendChainOwner
  readonly #pending = new LinkedLine<PendingAppend>()
  /** What the current group waits for; `null` while none is in flight. */
  #running: Promise<void> | null = null
  /** The group that is written once its topic has room for it. */
  #waiting: WaitingGroup | null = null
  /** Makes all appends of one tick share the first write. */
  readonly #endOfTick: EndOfTick = new EndOfTick(() => {
    this.#stepNow()
  })
  #closedBy: Error | null = null
  #waitingBytes = 0
  /** Whether the last write was synced: the next one then most likely is, too. */
  #wasSynced = false
  /** Size of the last shared batch: the best guess for the next one. */
  #sharedBytes = 0
  #roomListeners: (() => void)[] = []
  /** A record may only share the batch of the append right before it. */
  readonly #joinable: JoinableBatches<SharedBatch> = {
    open: () => sharedBatchOf(this.#pending.last),
    begin: () => new SharedBatch(this.#sharedBytes),
  }

  constructor(owner: AppendChainOwner) {
    this.#owner = owner
  }

  /**
   * Takes batches; settles as `acks` says. Their order is that of the calls, even while they are being encoded.
   *
   * @returns the append, to give it up while it waits; `null` when it is refused
   */
  append(
    batches: readonly Buffer[] | Promise<readonly Buffer[]>,
    options: ChainedAppendOptions,
    settle: Settlement,
  ): WholeAppend | null {
    if (this.#closedBy !== null) {
      settle.reject(this.#closedBy)
      return null
    }
    const append = new WholeAppend(this, batches, options, settle)
    this.#waitingBytes += append.sizeBytes
    this.#pending.push(append)
    this.#schedule()
    return append
  }

  /** Counts bytes that an append in line has got. */
  grown(sizeBytes: number): void {
    this.#waitingBytes += sizeBytes
  }

  /** Removes an append that waits for others, or for room, and rejects it. @returns whether it was waiting */
  giveUp(append: PendingAppend, reason: unknown): boolean {
    if (!this.#pending.remove(append) && this.#waiting?.takeOut(append) !== true) return false
    append.reject(reason)
    this.#release(append)
    return true
  }

  /**
   * Takes one record, in line, and adds it to the batch of the waiting records right before it. Only for a topic that
   * stores no batch compressed.
   *
   * @param now timestamp of a record that has none.
   * @throws at once, as `encodeRecords` does, when the record is refused.
   */
  appendRecord(record: AppendRecord, now: number, acks: Acks): Promise<AppendResult> {
    if (this.#closedBy !== null) return Promise.reject(this.#closedBy)
    return this.#batchWith(record, now).share(acks)
  }

  /** Resolves when the waiting bytes are within the limit. */
  async whenRoom(): Promise<void> {
    if (this.#waitingBytes <= MAX_WAITING_BYTES) return
    await new Promise<void>((resolve) => {
      this.#roomListeners.push(resolve)
    })
  }

  /** Takes no more appends, and resolves when those taken have settled. */
  async close(reason: Error): Promise<void> {
    this.#closedBy ??= reason
    // More may follow a group that has ended: appends from its last moment. And a caller who closes inside the
    // notification of a group finds only the appends that wait after it.
    while (this.#pending.first !== null || this.#running !== null) await this.#running
  }

  /** Commits the waiting appends at the end of the tick, unless a group is in flight. */
  #schedule(): void {
    this.#endOfTick.note()
    if (this.#running === null) this.#endOfTick.schedule()
  }

  #stepNow(): void {
    // A caller notified of a write may have appended before the sync was started.
    if (this.#running !== null) return
    this.#running = this.#step()
    if (this.#running === null) this.#scheduleRest()
    else void this.#running.then(this.#scheduleNext)
  }

  readonly #scheduleNext = (): void => {
    this.#running = null
    this.#scheduleRest()
  }

  /** Callers notified just now may append again, and belong in the next group too. */
  #scheduleRest(): void {
    if (this.#pending.first !== null) this.#schedule()
  }

  /** Commits the next group. Never rejects. @returns `null` when it has settled */
  #step(): Promise<void> | null {
    const { first, last } = this.#pending
    if (first?.isEncoded === false) return first.encoded
    const looking = first === last ? null : lookForRoom(this.#owner)
    if (looking !== null) return looking.then(() => undefined)
    const group = this.#takeGroup()
    if (group.length === 0) return null
    try {
      const committing = this.#commit(group)
      if (committing !== null) return this.#awaitCommit(group, committing)
    } catch (error) {
      this.#fail(group, error)
    }
    this.#releaseAll(group)
    return null
  }

  async #awaitCommit(group: readonly PendingAppend[], committing: Promise<void>): Promise<void> {
    try {
      await committing
    } catch (error) {
      if (isToBeGatheredAnew(error)) {
        // When gathered again, only the appends that cannot be taken are refused.
        this.#pending.putBack(group.filter(({ isReleased }) => !isReleased))
        return
      }
      this.#fail(group, error)
    } finally {
      this.#waiting = null
    }
    this.#releaseAll(group)
  }

  #releaseAll(group: readonly PendingAppend[]): void {
    for (const append of group) this.#release(append)
  }

  /** Rejects a failed group and the appends in line after it. */
  #fail(group: readonly PendingAppend[], error: unknown): void {
    const isOfDisk = error instanceof StorageError || error instanceof LogFullError
    const reason = isOfDisk ? behindFailed(error) : null
    // Before any caller is notified: an append made in response to the failure comes after it.
    const behind = reason !== null && group.some(isInLine) ? this.#pending.takeOut(isInLine) : []
    for (const append of group) append.reject(error)
    for (const append of behind) append.reject(reason)
    this.#releaseAll(behind)
    this.#owner.end.notify()
  }

  /** The batch that the record was added to: the last one in line if it has room, or a new one. */
  #batchWith(record: AppendRecord, now: number): SharedBatch {
    const shared = joinBatch(this.#joinable, record, this.#owner.log.config, now)
    if (shared === this.#pending.last) {
      this.#endOfTick.note()
    } else {
      this.#pending.push(shared)
      this.#schedule()
    }
    return this.#counted(shared)
  }

  /** Counts the added bytes. Reading a record may have appended another one. */
  #counted(shared: SharedBatch): SharedBatch {
    const { sizeBytes } = shared
    this.#waitingBytes += sizeBytes - shared.countedBytes
    shared.countedBytes = sizeBytes
    this.#sharedBytes = sizeBytes
    return shared
  }

  /** Releases the bytes of an append, unless that happened when it was given up. */
  #release(append: PendingAppend): void {
    if (append.isReleased) return
    this.#waitingBytes -= append.sizeBytes
    append.isReleased = true
    if (this.#waitingBytes > MAX_WAITING_BYTES) return
    const listeners = this.#roomListeners
    this.#roomListeners = []
    for (const listener of listeners) listener()
  }

  /** The next appends in order; those that can no longer be accepted are refused. */
  #takeGroup(): PendingAppend[] {
    const group: PendingAppend[] = []
    let refused: { readonly append: PendingAppend; readonly error: Error }[] | null = null
    let sizeBytes = 0
    const groupBytes = mostGroupBytes(this.#owner, this.#wasSynced)
    for (let append = this.#pending.first; append !== null; append = this.#pending.first) {
      const { sizeBytes: appendBytes } = append
      if (!append.isEncoded) break
      // What a later append would get is known only once the ones before it are written.
      if (append.expectedOffset !== undefined && group.length > 0) break
      if (group.length > 0 && sizeBytes + appendBytes > groupBytes) break
      this.#pending.remove(append)
      // The records could not be encoded, and their caller knows.
      if (appendBytes === 0) continue
      const error = refusalOf(append, this.#owner.log)
      if (error !== null) (refused ??= []).push({ append, error })
      const taken = error === null ? append : this.#takenOf(append, error)
      if (taken === null) continue
      sizeBytes += taken.sizeBytes
      group.push(taken)
    }
    // Refused callers may append, or give up another append, so the line must be consistent before.
    for (const { append, error } of refused ?? []) {
      append.reject(error)
      this.#release(append)
    }
    return group
  }

  /** The records with a key from a batch refused for records without one: each was a separate append. */
  #takenOf(append: PendingAppend, error: Error): PendingAppend | null {
    if (!(error instanceof InvalidRecordError)) return null
    const keyed = sharedBatchOf(append)?.splitKeyed(this.#owner.log) ?? null
    return keyed === null ? null : this.#counted(keyed)
  }

  /** @returns `null` when all of it was done synchronously */
  #commit(group: readonly PendingAppend[]): Promise<void> | null {
    const { log } = this.#owner
    this.#ensureNotFenced(false)
    if (isCapped(log.config)) return this.#commitWithin(group)
    const buffers = sealAll(group)
    const written = log.prompt.appendBatches(buffers, group[0]?.expectedOffset, hasKeyless(group))
    return written instanceof Promise
      ? this.#awaitWrite(written, group, buffers)
      : this.#written(group, buffers)
  }

  async #awaitWrite(
    writing: Promise<unknown>,
    group: readonly PendingAppend[],
    buffers: readonly Buffer[],
  ): Promise<void> {
    await writing
    await this.#written(group, buffers)
  }

  /** Continues after the write. @returns `null` when the group is acknowledged as well */
  #written(group: readonly PendingAppend[], buffers: readonly Buffer[]): Promise<void> | null {
    const { log } = this.#owner
    this.#ensureNotFenced(true)
    const batches = batchesOf(buffers)
    const endOffset = batches.at(-1)?.nextOffset ?? 0
    // Notify first: what is kept of the batches for readers may be gone before the sync has succeeded.
    if (tellWritten(group, batches)) log.prompt.noteAcknowledged(endOffset)
    this.#owner.onWritten(batches)
    this.#wasSynced = log.logEndOffset - log.durableEndOffset >= log.config.flushMessages
    if (this.#wasSynced) {
      const flushing = this.#owner.flush()
      if (flushing !== null) return this.#awaitFlush(flushing, group, endOffset)
      this.#ensureNotFenced(true)
    }
    this.#acknowledge(group, endOffset)
    return null
  }

  async #awaitFlush(
    flushing: Promise<void>,
    group: readonly PendingAppend[],
    endOffset: number,
  ): Promise<void> {
    await flushing
    this.#ensureNotFenced(true)
    this.#acknowledge(group, endOffset)
  }

  /** @param endOffset end of the log after the group was written. */
  #acknowledge(group: readonly PendingAppend[], endOffset: number): void {
    const { log, end } = this.#owner
    // Another caller's sync has failed meanwhile and truncated the group: there is nothing to make durable.
    if (log.failure !== null && log.logEndOffset < endOffset) throw log.failure
    end.publish(log.logEndOffset)
    for (const append of group) append.done()
  }

  /** Like {@link AppendChain.#commit}, once the topic has room for the appends that are not given up. */
  async #commitWithin(group: readonly PendingAppend[]): Promise<void> {
    const waiting = new WaitingGroup(this.#owner, group)
    this.#waiting = waiting
    const buffers = await waiting.write()
    if (buffers.length > 0) await this.#written(waiting.appends, buffers)
  }

  #ensureNotFenced(isWritten: boolean): void {
    const reason = this.#owner.whyFenced(isWritten)
    if (reason !== null) throw reason
  }
}

/** Whether appends in line after it must not be written without it: it was not given up. */
function isInLine(append: PendingAppend): boolean {
  return append.isInLine && !append.isReleased
}
