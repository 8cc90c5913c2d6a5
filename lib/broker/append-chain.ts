import { OffsetConflictError, StorageError, type VarveError } from '../errors.ts'
import { RecordBatch } from '../record/record-batch.ts'
import type { AppendResult } from '../storage/append-record.ts'
import type { Log } from '../storage/log.ts'

/**
 * When an append counts as done: `0` when it is in memory, `1` when it is written, `'all'` when
 * consumers may see it, which on a topic with `flushMessages: 1` means when it is durable.
 */
export type Acks = 0 | 1 | 'all'

/** Every {@link Acks} there is. */
export const ACKS: readonly Acks[] = [0, 1, 'all']

/** What the chain tells its partition. */
export interface AppendChainOwner {
  readonly log: Log
  /** Makes everything written durable. */
  flush(): Promise<void>
  /** Why nothing may be written or acknowledged now; `null` when it may. `isWritten`: bytes of it are on disk. */
  whyFenced(isWritten: boolean): VarveError | null
  /** Encoded batches are in the log. */
  onWritten(buffers: readonly Buffer[]): void
  /** Everything below `highWatermark` may be seen. */
  onVisible(highWatermark: number): void
  /** A group has failed, and the log may not be what it was. */
  onFailed(): void
}

/** How batches are taken. */
export interface ChainedAppendOptions {
  readonly acks: Acks
  /** The append fails unless it would get this offset. */
  readonly expectedOffset?: number | undefined
  /**
   * Whether it stands in line with the others of which this is true: when the disk fails one of
   * them, those behind it are not written. A producer keeps its own order instead.
   */
  readonly isInLine: boolean
}

interface PendingAppend {
  /** `null` while the records are being encoded. */
  buffers: readonly Buffer[] | null
  readonly encoded: Promise<void>
  readonly acks: Acks
  readonly expectedOffset?: number | undefined
  readonly isInLine: boolean
  readonly resolve: (result: AppendResult) => void
  readonly reject: (error: unknown) => void
  /** Whether it has been taken out of the line, also before it was encoded. */
  isReleased: boolean
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
      const append = { buffers: null, ...options, resolve, reject, isReleased: false }
      this.#pending.push(this.#withBuffers(append, batches))
      this.#start()
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
      await this.#pending[0]?.encoded
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
    if (isInLine && error instanceof StorageError) {
      const behind = this.#pending.filter((append) => append.isInLine)
      this.#pending = this.#pending.filter((append) => !append.isInLine)
      for (const append of behind) {
        append.reject(behindFailed(error))
        this.#release(append)
      }
    }
    this.#owner.onFailed()
  }

  /** Gives back the room that an append had. */
  #release(append: PendingAppend): void {
    this.#waitingBytes -= sizeOf(append)
    append.isReleased = true
    append.buffers = []
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
    for (const append of this.#pending) {
      const { buffers, expectedOffset } = append
      if (buffers === null) break
      // What an append behind others would get is known only when those are written.
      if (expectedOffset !== undefined && group.length > 0) break
      const appendBytes = sizeOf(append)
      if (group.length > 0 && sizeBytes + appendBytes > MAX_GROUP_BYTES) break
      taken += 1
      // The records could not be encoded, and whoever appended them knows.
      if (buffers.length === 0) continue
      const { logEndOffset } = this.#owner.log
      if (expectedOffset !== undefined && expectedOffset !== logEndOffset) {
        append.reject(new OffsetConflictError(expectedOffset, logEndOffset))
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
    const buffers = group.flatMap((append) => append.buffers ?? [])
    await log.appendBatches(buffers)
    this.#ensureNotFenced(true)
    this.#owner.onWritten(buffers)
    const results = resultsOf(group)
    for (const { append, result } of results) {
      if (append.acks !== 'all') append.resolve(result)
    }
    if (log.logEndOffset - log.durableEndOffset >= log.config.flushMessages) {
      await this.#owner.flush()
      this.#ensureNotFenced(true)
    }
    this.#owner.onVisible(log.logEndOffset)
    for (const { append, result } of results) append.resolve(result)
  }

  /** Fills in the batches, at once where they are there. */
  #withBuffers(
    append: Omit<PendingAppend, 'encoded'>,
    batches: readonly Buffer[] | Promise<readonly Buffer[]>,
  ): PendingAppend {
    if (!(batches instanceof Promise)) {
      const known = { ...append, buffers: batches, encoded: Promise.resolve() }
      this.#waitingBytes += sizeOf(known)
      return known
    }
    const pending: PendingAppend = {
      ...append,
      encoded: batches.then(
        (buffers) => {
          // It may have failed meanwhile.
          if (pending.isReleased) return
          pending.buffers = buffers
          this.#waitingBytes += sizeOf(pending)
        },
        (error: unknown) => {
          pending.buffers = []
          append.reject(error)
        },
      ),
    }
    return pending
  }

  #ensureNotFenced(isWritten: boolean): void {
    const reason = this.#owner.whyFenced(isWritten)
    if (reason !== null) throw reason
  }
}

/** Where each append of a group came to lie: that is stamped into its batches. */
function resultsOf(
  group: readonly PendingAppend[],
): { append: PendingAppend; result: AppendResult }[] {
  return group.map((append) => {
    const batches = (append.buffers ?? []).map((buffer) => new RecordBatch(buffer))
    const result = {
      baseOffset: batches[0]?.baseOffset ?? -1,
      lastOffset: batches.at(-1)?.lastOffset ?? -1,
      timestamp: Math.max(...batches.map((batch) => batch.maxTimestamp)),
    }
    return { append, result }
  })
}

/** What an append fails with because one in line before it has: nothing of it was written. */
export function behindFailed(error: StorageError): StorageError {
  const message = `what was appended before it failed: ${error.message}`
  return new StorageError(message, { path: error.path, outcome: 'not-written' }, { cause: error })
}

function sizeOf({ buffers }: PendingAppend): number {
  return (buffers ?? []).reduce((sum, buffer) => sum + buffer.length, 0)
}
