import {
  LogFullError,
  OffsetConflictError,
  RecordTooLargeError,
  StorageError,
  type VarveError,
} from '../errors.ts'
import { RecordBatch } from '../record/record-batch.ts'
import type { AppendRecord, AppendResult } from '../storage/append-record.ts'
import type { Log } from '../storage/log.ts'
import {
  SharedBatch,
  WholeAppend,
  type Acks,
  type ChainedAppendOptions,
  type PendingAppend,
} from './pending-append.ts'
import { isCapped, type TopicSpace } from './topic-space.ts'
import type { VisibleEnd } from './visible-end.ts'

/** What the chain tells its partition. */
export interface AppendChainOwner {
  readonly log: Log
  /** Is told what may be seen, and that the log may not be what it was because a group has failed. */
  readonly end: Pick<VisibleEnd, 'publish' | 'notify'>
  /** Makes everything written durable. */
  flush(): Promise<void>
  /** Why nothing may be written or acknowledged now; `null` when it may. `isWritten`: bytes of it are on disk. */
  whyFenced(isWritten: boolean): VarveError | null
  /** What has room to give where the topic has a cap; `null` where nothing keeps to one. */
  space(): TopicSpace | null
  /** Why nothing must wait any more; `null` while the partition is open. */
  whyClosed(): VarveError | null
  /** Batches are in the log. */
  onWritten(batches: readonly RecordBatch[]): void
}

/** One write takes at most this much of what is waiting, so that the first in it need not wait for all. */
const MAX_GROUP_BYTES = 4 * 1024 * 1024

/** Bytes that may wait to be written before those who do not wait for that are held up. */
const MAX_WAITING_BYTES = MAX_GROUP_BYTES

/**
 * The one way into a partition's log: write, sync, publish, acknowledge, one group after the other.
 *
 * Appends that arrive while a group is on its way gather and form the next, so that under load the
 * cost of a write and of a sync is shared by all who wait (group commit). Acknowledgements come in
 * offset order. A group that fails fails as a whole. Of those that had come behind it by then, the
 * ones in line with it fail too, so that nobody's records are in the log with one missing between
 * them; producers, who wait for each of their groups, are not in line and go on.
 */
export class AppendChain {
  readonly #owner: AppendChainOwner
  #pending: PendingAppend[] = []
  #running: Promise<void> | null = null
  #closedBy: Error | null = null
  #waitingBytes = 0
  /** What the last batch of shared ones came to: the best guess for the next. */
  #sharedBytes = 0
  #roomListeners: (() => void)[] = []

  constructor(owner: AppendChainOwner) {
    this.#owner = owner
  }

  /**
   * Takes batches; settles as `acks` says. Their place in the order is that of the call, also when
   * encoding them takes time.
   */
  append(
    batches: readonly Buffer[] | Promise<readonly Buffer[]>,
    options: ChainedAppendOptions,
  ): Promise<AppendResult> {
    return new Promise((resolve, reject) => {
      if (this.#closedBy !== null) {
        reject(this.#closedBy)
        return
      }
      const append = new WholeAppend(batches, options, { resolve, reject }, (sizeBytes) => {
        this.#waitingBytes += sizeBytes
      })
      this.#waitingBytes += append.sizeBytes
      this.#pending.push(append)
      this.#start()
    })
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
    const shared = this.#batchWith(record, now)
    return new Promise((resolve, reject) => {
      shared.share({ acks, resolve, reject })
    })
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
    // The run that is ending may be followed by another, for what came in its last moment.
    while (this.#running !== null) await this.#running
  }

  /** Starts in a microtask, so that all appends of one tick share the first write. */
  #start(): void {
    this.#running ??= Promise.resolve()
      .then(() => this.#run())
      .finally(() => {
        this.#running = null
        if (this.#pending.length > 0) this.#start()
      })
  }

  async #run(): Promise<void> {
    while (this.#pending.length > 0) {
      const encoded = this.#pending[0]?.encoded ?? null
      if (encoded !== null) await encoded
      const group = this.#takeGroup()
      if (group.length === 0) continue
      try {
        await this.#commit(group)
      } catch (error) {
        this.#fail(group, error)
      } finally {
        for (const append of group) this.#release(append)
      }
    }
  }

  /** Settles a group that has failed, and who stands in line behind it. */
  #fail(group: readonly PendingAppend[], error: unknown): void {
    const isInLine = group.some((append) => append.isInLine)
    for (const append of group) append.reject(error)
    if (isInLine && (error instanceof StorageError || error instanceof LogFullError)) {
      const behind = this.#pending.filter((append) => append.isInLine)
      this.#pending = this.#pending.filter((append) => !append.isInLine)
      for (const append of behind) {
        append.reject(behindFailed(error))
        this.#release(append)
      }
    }
    this.#owner.end.notify()
  }

  /** The batch that a record has been put into: the last in line if it takes more, or a new one. */
  #batchWith(record: AppendRecord, now: number): SharedBatch {
    const { config } = this.#owner.log
    const last = this.#pending.at(-1)
    if (last instanceof SharedBatch && last.add(record, config, now)) return this.#counted(last)
    const shared = new SharedBatch(this.#sharedBytes)
    shared.add(record, config, now)
    this.#pending.push(shared)
    this.#start()
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

  /** Gives back the room that an append had. */
  #release(append: PendingAppend): void {
    this.#waitingBytes -= append.sizeBytes
    append.isReleased = true
    if (this.#waitingBytes > MAX_WAITING_BYTES) return
    const listeners = this.#roomListeners
    this.#roomListeners = []
    for (const listener of listeners) listener()
  }

  /** The next appends in order; those that expect another offset than they would get are refused. */
  #takeGroup(): PendingAppend[] {
    const group: PendingAppend[] = []
    let sizeBytes = 0
    let taken = 0
    const { maxBytes } = this.#owner.log.config
    const groupBytes = this.#groupBytes()
    for (const append of this.#pending) {
      const { expectedOffset, sizeBytes: appendBytes } = append
      if (!append.isEncoded) break
      // What an append behind others would get is known only when those are written.
      if (expectedOffset !== undefined && group.length > 0) break
      if (group.length > 0 && sizeBytes + appendBytes > groupBytes) break
      taken += 1
      // The records could not be encoded, and whoever appended them knows.
      if (appendBytes === 0) continue
      const { logEndOffset } = this.#owner.log
      if (expectedOffset !== undefined && expectedOffset !== logEndOffset) {
        append.reject(new OffsetConflictError(expectedOffset, logEndOffset))
        this.#release(append)
        continue
      }
      if (maxBytes >= 0 && appendBytes > maxBytes) {
        append.reject(new RecordTooLargeError(appendBytes, maxBytes, 'maxBytes'))
        this.#release(append)
        continue
      }
      sizeBytes += appendBytes
      group.push(append)
    }
    this.#pending.splice(0, taken)
    return group
  }

  async #commit(group: readonly PendingAppend[]): Promise<void> {
    const { log } = this.#owner
    this.#ensureNotFenced(false)
    const buffers = group.flatMap((append) => append.seal())
    if (isCapped(log.config)) await this.#appendWithin(buffers)
    else await log.appendBatches(buffers)
    this.#ensureNotFenced(true)
    const batches = buffers.map((buffer) => new RecordBatch(buffer))
    this.#owner.onWritten(batches)
    forEachPlaced(group, batches, (append, its) => {
      append.written(its)
    })
    if (log.logEndOffset - log.durableEndOffset >= log.config.flushMessages) {
      await this.#owner.flush()
      this.#ensureNotFenced(true)
    }
    this.#owner.end.publish(log.logEndOffset)
    forEachPlaced(group, batches, (append, its) => {
      append.done(its)
    })
  }

  /** Writes once the topic has room for it. */
  async #appendWithin(buffers: readonly Buffer[]): Promise<void> {
    const { log } = this.#owner
    const space = this.#owner.space()
    let sizeBytes = 0
    for (const { length } of buffers) sizeBytes += length
    const release = await space?.reserve({
      sizeBytes,
      config: () => log.config,
      whyStopped: () => this.#owner.whyClosed() ?? this.#owner.whyFenced(false),
    })
    try {
      await log.appendBatches(buffers)
    } finally {
      release?.()
    }
  }

  /** What one group may take: no more than there is room for, so that the first in it need not wait. */
  #groupBytes(): number {
    const { config } = this.#owner.log
    if (!isCapped(config)) return MAX_GROUP_BYTES
    return Math.min(MAX_GROUP_BYTES, this.#owner.space()?.roomBytes(config) ?? Infinity)
  }

  #ensureNotFenced(isWritten: boolean): void {
    const reason = this.#owner.whyFenced(isWritten)
    if (reason !== null) throw reason
  }
}

/** Goes through a group with the batches of each append, as they lie in the log. */
function forEachPlaced(
  group: readonly PendingAppend[],
  batches: readonly RecordBatch[],
  tell: (append: PendingAppend, its: readonly RecordBatch[]) => void,
): void {
  let start = 0
  for (const append of group) {
    const end = start + append.seal().length
    tell(append, batches.slice(start, end))
    start = end
  }
}

/** What an append fails with because one in line before it has: nothing of it was written. */
export function behindFailed(error: StorageError | LogFullError): StorageError | LogFullError {
  if (error instanceof LogFullError) return error
  const message = `what was appended before it failed: ${error.message}`
  return new StorageError(message, { path: error.path, outcome: 'not-written' }, { cause: error })
}
