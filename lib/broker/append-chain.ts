import { InvalidRecordError, LogFullError, StorageError } from '../errors.ts'
import { batchesOf } from '../record/record-batch.ts'
import type { AppendRecord, AppendResult } from '../storage/append-record.ts'
import { joinBatch, type JoinableBatches } from '../storage/encode-records.ts'
import type { AppendChainOwner } from './append-chain-owner.ts'
import { AppendLine } from './append-line.ts'
import { refusalOf } from './append-refusal.ts'
import { behindFailed } from './behind-failed.ts'
import { EndOfTick } from './end-of-tick.ts'
import { MAX_WAITING_BYTES, mostGroupBytes } from './group-bytes.ts'
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
 * Appends that arrive while a group is on its way gather and form the next, so that under load the
 * cost of a write and of a sync is shared by all who wait (group commit). Acknowledgements come in
 * offset order. A group that fails fails as a whole. Of those that had come behind it by then, the
 * ones in line with it fail too, so that nobody's records are in the log with one missing between
 * them; producers, who wait for each of their groups, are not in line and go on.
 *
 * Where the disk answers inside of the call, all of that is one step without a promise but those of
 * the callers. What is awaited is only what has to be waited for.
 */
export class AppendChain {
  readonly #owner: AppendChainOwner
  readonly #pending = new AppendLine()
  /** What a group is waiting for; `null` while none is on its way. */
  #running: Promise<void> | null = null
  /** The group that is to be written once its topic has room for it. */
  #waiting: WaitingGroup | null = null
  /** So that all appends of one tick share the first write. */
  readonly #endOfTick: EndOfTick = new EndOfTick(() => {
    this.#stepNow()
  })
  #closedBy: Error | null = null
  #waitingBytes = 0
  /** Whether the last write was synced, as the next then most likely is. */
  #wasSynced = false
  /** What the last batch of shared ones came to: the best guess for the next. */
  #sharedBytes = 0
  #roomListeners: (() => void)[] = []
  /** Only what came right before a record shares its batch. */
  readonly #joinable: JoinableBatches<SharedBatch> = {
    open: () => sharedBatchOf(this.#pending.last),
    begin: () => new SharedBatch(this.#sharedBytes),
  }

  constructor(owner: AppendChainOwner) {
    this.#owner = owner
  }

  /**
   * Takes batches; settles as `acks` says. Their place in the order is that of the call, also while they are encoded.
   *
   * @returns what {@link AppendChain.giveUp} takes; `null` when it is refused
   */
  append(
    batches: readonly Buffer[] | Promise<readonly Buffer[]>,
    options: ChainedAppendOptions,
    settle: Settlement,
  ): PendingAppend | null {
    if (this.#closedBy !== null) {
      settle.reject(this.#closedBy)
      return null
    }
    const append = new WholeAppend(batches, options, settle, (sizeBytes) => {
      this.#waitingBytes += sizeBytes
    })
    this.#waitingBytes += append.sizeBytes
    this.#pending.push(append)
    this.#schedule()
    return append
  }

  /** Takes out an append that waits for others, or for room. @returns whether it did, and has been told */
  giveUp(append: PendingAppend, reason: unknown): boolean {
    if (!this.#pending.remove(append) && this.#waiting?.takeOut(append) !== true) return false
    append.reject(reason)
    this.#release(append)
    return true
  }

  /**
   * Takes one record, in line, and puts it into a batch with those that came right before it and
   * wait as well. The topic stores no batch compressed.
   *
   * @param now timestamp of a record that brings none.
   * @throws at once, as `encodeRecords` does, when the record is not taken.
   */
  appendRecord(record: AppendRecord, now: number, acks: Acks): Promise<AppendResult> {
    if (this.#closedBy !== null) return Promise.reject(this.#closedBy)
    return this.#batchWith(record, now).share(acks)
  }

  /** Resolves when no more is waiting than may wait. */
  async whenRoom(): Promise<void> {
    if (this.#waitingBytes <= MAX_WAITING_BYTES) return
    await new Promise<void>((resolve) => {
      this.#roomListeners.push(resolve)
    })
  }

  /** Takes no more appends, and resolves when those taken have settled. */
  async close(reason: Error): Promise<void> {
    this.#closedBy ??= reason
    // What has ended may be followed by more, for what came in its last moment. And who closes because
    // he was just told of a group finds only those that wait behind it.
    while (this.#pending.first !== null || this.#running !== null) await this.#running
  }

  /** Looks at what waits at the end of the tick, unless a group is on its way. */
  #schedule(): void {
    this.#endOfTick.note()
    if (this.#running === null) this.#endOfTick.schedule()
  }

  #stepNow(): void {
    // Who was told of a write may have appended before its sync was asked for.
    if (this.#running !== null) return
    this.#running = this.#step()
    if (this.#running === null) this.#scheduleRest()
    else void this.#running.then(this.#scheduleNext)
  }

  readonly #scheduleNext = (): void => {
    this.#running = null
    this.#scheduleRest()
  }

  /** Whoever was told just now may append again, and belongs into the next group too. */
  #scheduleRest(): void {
    if (this.#pending.first !== null) this.#schedule()
  }

  /** Commits the next group. Never rejects. @returns `null` when it has settled */
  #step(): Promise<void> | null {
    const { first } = this.#pending
    if (first?.isEncoded === false) return first.encoded
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
        // Whoever of it cannot be taken is refused then, and nobody else.
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

  /** Settles a group that has failed, and who stands in line behind it. */
  #fail(group: readonly PendingAppend[], error: unknown): void {
    const isOfDisk = error instanceof StorageError || error instanceof LogFullError
    const reason = isOfDisk ? behindFailed(error) : null
    // Before anybody is told: what somebody appends who hears of the failure comes after it.
    const behind =
      reason !== null && group.some(isInLine) ? this.#pending.takeOut(standsInLine) : []
    for (const append of group) append.reject(error)
    for (const append of behind) append.reject(reason)
    this.#releaseAll(behind)
    this.#owner.end.notify()
  }

  /** The batch that a record has been put into: the last in line if it takes more, or a new one. */
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

  /** Takes the room of what has been added. A record may have appended another while it was read. */
  #counted(shared: SharedBatch): SharedBatch {
    const { sizeBytes } = shared
    this.#waitingBytes += sizeBytes - shared.countedBytes
    shared.countedBytes = sizeBytes
    this.#sharedBytes = sizeBytes
    return shared
  }

  /** Gives back the room that an append had, unless it was given back when the append was given up. */
  #release(append: PendingAppend): void {
    if (append.isReleased) return
    this.#waitingBytes -= append.sizeBytes
    append.isReleased = true
    if (this.#waitingBytes > MAX_WAITING_BYTES) return
    const listeners = this.#roomListeners
    this.#roomListeners = []
    for (const listener of listeners) listener()
  }

  /** The next appends in order; those that are not taken as things are by now are refused. */
  #takeGroup(): PendingAppend[] {
    const group: PendingAppend[] = []
    let refused: { readonly append: PendingAppend; readonly error: Error }[] | null = null
    let sizeBytes = 0
    const groupBytes = mostGroupBytes(this.#owner, this.#wasSynced)
    for (let append = this.#pending.first; append !== null; append = this.#pending.first) {
      const { sizeBytes: appendBytes } = append
      if (!append.isEncoded) break
      // What an append behind others would get is known only when those are written.
      if (append.expectedOffset !== undefined && group.length > 0) break
      if (group.length > 0 && sizeBytes + appendBytes > groupBytes) break
      this.#pending.remove(append)
      // The records could not be encoded, and whoever appended them knows.
      if (appendBytes === 0) continue
      const error = refusalOf(append, this.#owner.log)
      if (error !== null) (refused ??= []).push({ append, error })
      const taken = error === null ? append : this.#takenOf(append, error)
      if (taken === null) continue
      sizeBytes += taken.sizeBytes
      group.push(taken)
    }
    // Whoever is told may append, or give up another one, so the line has to be in order before.
    for (const { append, error } of refused ?? []) {
      append.reject(error)
      this.#release(append)
    }
    return group
  }

  /** Of a batch that is refused for records without a key, those that have one: each was an append of its own. */
  #takenOf(append: PendingAppend, error: Error): PendingAppend | null {
    if (!(error instanceof InvalidRecordError)) return null
    const keyed = sharedBatchOf(append)?.splitKeyed(this.#owner.log) ?? null
    return keyed === null ? null : this.#counted(keyed)
  }

  /** @returns `null` when all of it was done inside of the call */
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

  /** A group is written. @returns `null` when it is acknowledged as well */
  #written(group: readonly PendingAppend[], buffers: readonly Buffer[]): Promise<void> | null {
    const { log } = this.#owner
    this.#ensureNotFenced(true)
    const batches = batchesOf(buffers)
    const endOffset = batches.at(-1)?.nextOffset ?? 0
    // First, as what is kept of them for readers may be gone before the sync has succeeded.
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

  /** @param endOffset where the log ended when the group had been written. */
  #acknowledge(group: readonly PendingAppend[], endOffset: number): void {
    const { log, end } = this.#owner
    // A sync that somebody else has asked for meanwhile has failed: nothing is there to be made durable.
    if (log.failure !== null && log.logEndOffset < endOffset) throw log.failure
    end.publish(log.logEndOffset)
    for (const append of group) append.done()
  }

  /** Like {@link AppendChain.#commit}, once the topic has room for what is not given up meanwhile. */
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

/** Whether what stands behind it in line may not be written without it: it was not given up. */
function isInLine(append: PendingAppend): boolean {
  return append.isInLine && !append.isReleased
}

function standsInLine(append: PendingAppend): boolean {
  return append.isInLine
}
