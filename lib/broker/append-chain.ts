import { OffsetConflictError, type VarveError } from '../errors.ts'
import { RecordBatch } from '../record/record-batch.ts'
import type { AppendResult } from '../storage/local-log.ts'
import type { Log } from '../storage/log.ts'

/**
 * When an append counts as done: `0` when it is in memory, `1` when it is written, `'all'` when
 * consumers may see it, which on a topic with `flushMessages: 1` means when it is durable.
 */
export type Acks = (typeof ACKS)[number]

/** Every {@link Acks} there is. */
export const ACKS = [0, 1, 'all'] as const

/** What the chain tells its partition. */
export interface AppendChainOwner {
  readonly log: Log
  /** Why nothing may be written or acknowledged now; `null` when it may. `isWritten`: bytes of it are on disk. */
  whyFenced(isWritten: boolean): VarveError | null
  /** Encoded batches are in the log. */
  onWritten(buffers: readonly Buffer[]): void
  /** Everything below `highWatermark` may be seen. */
  onVisible(highWatermark: number): void
}

interface PendingAppend {
  /** `null` while the records are being encoded. */
  buffers: readonly Buffer[] | null
  readonly encoded: Promise<void>
  readonly acks: Acks
  readonly expectedOffset: number | undefined
  readonly resolve: (result: AppendResult) => void
  readonly reject: (error: unknown) => void
}

/** One write takes at most this much of what is waiting, so that the first in it need not wait for all. */
const MAX_GROUP_BYTES = 4 * 1024 * 1024

/**
 * The one way into a partition's log: write, sync, publish, acknowledge, one group after the other.
 *
 * Appends that arrive while a group is on its way gather and form the next, so that under load the
 * cost of a write and of a sync is shared by all who wait (group commit). Acknowledgements come in
 * offset order. A group that fails fails as a whole; those behind it are tried on their own.
 */
export class AppendChain {
  readonly #owner: AppendChainOwner
  #pending: PendingAppend[] = []
  #running: Promise<void> | null = null
  #closedBy: Error | null = null

  constructor(owner: AppendChainOwner) {
    this.#owner = owner
  }

  /**
   * Takes batches; settles as `acks` says. Their place in the order is that of the call, also when
   * encoding them takes time.
   */
  append(
    batches: readonly Buffer[] | Promise<readonly Buffer[]>,
    acks: Acks,
    expectedOffset?: number,
  ): Promise<AppendResult> {
    return new Promise((resolve, reject) => {
      if (this.#closedBy !== null) {
        reject(this.#closedBy)
        return
      }
      const append = { buffers: null, acks, expectedOffset, resolve, reject }
      this.#pending.push(withBuffers(append, batches))
      this.#start()
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
        for (const append of group) append.reject(error)
      }
    }
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
      const appendBytes = buffers.reduce((sum, buffer) => sum + buffer.length, 0)
      if (group.length > 0 && sizeBytes + appendBytes > MAX_GROUP_BYTES) break
      taken += 1
      // The records could not be encoded, and whoever appended them knows.
      if (buffers.length === 0) continue
      const { logEndOffset } = this.#owner.log
      if (expectedOffset !== undefined && expectedOffset !== logEndOffset) {
        append.reject(new OffsetConflictError(expectedOffset, logEndOffset))
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
      await log.flush()
      this.#ensureNotFenced(true)
    }
    this.#owner.onVisible(log.logEndOffset)
    for (const { append, result } of results) append.resolve(result)
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

/** Fills in the batches, at once where they are there. */
function withBuffers(
  append: Omit<PendingAppend, 'encoded'>,
  batches: readonly Buffer[] | Promise<readonly Buffer[]>,
): PendingAppend {
  if (!(batches instanceof Promise)) {
    return { ...append, buffers: batches, encoded: Promise.resolve() }
  }
  const pending: PendingAppend = {
    ...append,
    encoded: batches.then(
      (buffers) => {
        pending.buffers = buffers
      },
      (error: unknown) => {
        pending.buffers = []
        append.reject(error)
      },
    ),
  }
  return pending
}
