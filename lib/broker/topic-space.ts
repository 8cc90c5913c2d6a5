import type { ResolvedTopicConfig } from '../config.ts'
import { LogFullError } from '../errors.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import type { FreedSpace } from '../storage/log-retention.ts'
import type { Log } from '../storage/log.ts'
import { SerialQueue } from '../storage/serial-queue.ts'
import { ChangeListeners } from './change-listeners.ts'
import type { FreeSpace } from './free-space.ts'
import { turnBefore } from './partition-turns.ts'
import type { RecordDeletion } from './record-deletion.ts'

/** How often a waiting append checks whether the disk has room again, or a group is gone. */
const LOOK_AGAIN_MS = 1_000

/** What a topic's space needs from its partitions. */
export interface SpacePartition {
  readonly log: Pick<Log, 'size' | 'reader'>
  readonly deletion: Pick<
    RecordDeletion,
    | 'mayEnforce'
    | 'enforceRetention'
    | 'mayDeleteConsumed'
    | 'hasConsumedSegment'
    | 'deleteConsumed'
    | 'dropOldest'
  >
}

/** When the oldest segment of a partition received its last record. */
interface PartitionAge {
  readonly partition: SpacePartition
  readonly sinceMs: number
}

/** An append that asks for room. */
export interface SpaceRequest {
  /** May shrink during the wait; report that to {@link TopicSpace.changed}. */
  readonly sizeBytes: number
  /** The configuration currently in force. */
  readonly config: () => Readonly<ResolvedTopicConfig>
  /** Why the append must not wait any longer; `null` if it may. */
  readonly whyStopped: () => Error | null
}

/** Whether appends to a topic have to ask for room. */
export function isCapped({ maxBytes, minFreeBytes }: Readonly<ResolvedTopicConfig>): boolean {
  return maxBytes >= 0 || minFreeBytes > 0
}

/** Whether the append would not even fit in an empty topic. */
export function isBeyondCap(error: unknown): boolean {
  if (!(error instanceof LogFullError) || error.limit !== 'maxBytes') return false
  return error.sizeBytes > error.limitBytes
}

/**
 * The bytes that the partitions of a topic may take together. Appends ask for room one after the
 * other, in the order in which they arrive, so that small ones do not keep overtaking a large one.
 * Granted bytes count until they are written, so the cap holds however many partitions are written
 * at once.
 */
export class TopicSpace {
  /** A private field: a partition refers to its space, and may be serialized as JSON. */
  #partitions: readonly SpacePartition[] = []
  readonly #topic: string
  readonly #clock: Clock
  readonly #disk: FreeSpace
  /** Created for the first append that asks: most topics have no cap. */
  #queue: SerialQueue | null = null
  readonly #changes = new ChangeListeners()
  /** Size of all log files without the bytes in flight; `null` until it is counted again. */
  #sizeBytes: number | null = null
  #inFlightBytes = 0
  #isFull = false
  /** Whether a commit has woken the append that waits. */
  #isWoken = false

  constructor(topic: string, clock: Clock, disk: FreeSpace) {
    this.#topic = topic
    this.#clock = clock
    this.#disk = disk
  }

  /** Sets the partitions of the topic. */
  share(partitions: readonly SpacePartition[]): void {
    this.#partitions = partitions
    this.changed()
  }

  /**
   * Reports that something was deleted, configured or given up, or that a partition is being closed.
   */
  changed(): void {
    // The next append that asks finds out.
    this.#isFull = false
    this.compacted()
  }

  /** Reports that a partition was compacted: it may take less room, or more. */
  compacted(): void {
    this.#sizeBytes = null
    this.#changes.notify()
  }

  /**
   * Reports that a group has moved its offset in a partition. A waiting append looks again only if
   * that frees a segment, and the other groups are asked only if this one has passed the oldest:
   * there may be many, which commit record by record.
   */
  consumed(partition: number, from: number, to: number): void {
    if (this.#changes.size === 0 || this.#isWoken) return
    const { deletion, log } = this.#partitions[partition] ?? {}
    const { endOfOldest = Infinity } = log?.reader.outlook ?? {}
    if (from >= endOfOldest || to < endOfOldest || deletion?.hasConsumedSegment() !== true) return
    this.#isWoken = true
    this.#changes.notify()
  }

  /** Whether the last append that asked found no room, though all that may be deleted was. */
  get isFull(): boolean {
    return this.#isFull
  }

  /** Bytes that `maxBytes` and, as far as is known, `minFreeBytes` leave, at least 0. */
  roomBytes({ maxBytes, minFreeBytes }: Readonly<ResolvedTopicConfig>): number {
    const roomBytes = maxBytes < 0 ? Infinity : maxBytes - this.#usedBytes()
    const freeBytes = minFreeBytes > 0 ? this.#disk.known - minFreeBytes : Infinity
    return Math.max(0, Math.min(roomBytes, freeBytes))
  }

  /** Asks how much room `minFreeBytes` leaves. @returns `null` if that is known; never rejects */
  look(): Promise<unknown> | null {
    return this.#disk.look()
  }

  /**
   * Reserves room for an append.
   *
   * @returns a function to be called when the append is written or has failed.
   * @throws {@link LogFullError} when there is no room and it must not wait; the error that ends
   * the wait.
   */
  reserve(request: SpaceRequest): Promise<() => void> {
    this.#queue ??= new SerialQueue()
    return this.#queue.run(() => this.#whenRoom(request))
  }

  async #whenRoom(request: SpaceRequest): Promise<() => void> {
    for (;;) {
      const stop = request.whyStopped()
      if (stop !== null) throw stop
      if ((await this.#whyFull(request)) === null) {
        this.#isFull = false
        return this.#take(request.sizeBytes)
      }
      const change = this.#nextChange()
      const { whenFull } = request.config()
      try {
        const full = this.#inFlightBytes > 0 ? null : await this.#whyStillFull(request, whenFull)
        // If `whenFull` has changed meanwhile, another attempt is due.
        if (full !== null && request.config().whenFull !== whenFull) continue
        this.#isFull = full !== null
        if (full !== null && whenFull !== 'wait') throw full
        const waits = full !== null || this.#inFlightBytes > 0
        if (waits && request.whyStopped() === null) await change.happened
      } finally {
        change.stop()
      }
    }
  }

  /**
   * Makes room if a recount finds none. Sizes also change without notice when a log is truncated,
   * or when granted bytes are not written.
   *
   * @returns `null` when it is worth trying again.
   * @throws {@link LogFullError} when there will never be room, so that nothing is dropped for it.
   */
  async #whyStillFull(
    request: SpaceRequest,
    whenFull: ResolvedTopicConfig['whenFull'],
  ): Promise<LogFullError | null> {
    this.#sizeBytes = null
    const full = await this.#whyFull(request)
    if (full === null) return null
    // The cap has been lowered since the append was accepted.
    if (isBeyondCap(full)) throw full
    if (await this.#makeRoom(request, whenFull)) return null
    // Another append may have deleted everything that could be deleted meanwhile.
    this.#sizeBytes = null
    return this.#whyFull(request)
  }

  async #whyFull({ sizeBytes, config }: SpaceRequest): Promise<LogFullError | null> {
    const { minFreeBytes: free } = config()
    const freeBytes = free > 0 ? await this.#disk.atLeast(free + sizeBytes) : Infinity
    const { maxBytes, minFreeBytes } = config()
    const usedBytes = this.#usedBytes()
    const place = { topic: this.#topic, sizeBytes }
    if (maxBytes >= 0 && usedBytes + sizeBytes > maxBytes) {
      const details = { limitBytes: maxBytes, actualBytes: usedBytes }
      return new LogFullError({ ...place, limit: 'maxBytes', ...details })
    }
    if (freeBytes - sizeBytes >= minFreeBytes) return null
    const details = { limitBytes: minFreeBytes, actualBytes: freeBytes }
    return new LogFullError({ ...place, limit: 'minFreeBytes', ...details })
  }

  #take(sizeBytes: number): () => void {
    this.#inFlightBytes += sizeBytes
    this.#disk.take(sizeBytes)
    return () => {
      this.#inFlightBytes -= sizeBytes
      this.#disk.settle(sizeBytes)
      // After a failed write this counts too much; it is counted again before an append is refused.
      if (this.#sizeBytes !== null) this.#sizeBytes += sizeBytes
      this.#changes.notify()
    }
  }

  /** Size of the topic once everything granted is written. */
  #usedBytes(): number {
    if (this.#sizeBytes === null) {
      let sizeBytes = 0
      for (const { log } of this.#partitions) sizeBytes += log.size
      this.#sizeBytes = sizeBytes
    }
    return this.#sizeBytes + this.#inFlightBytes
  }

  /**
   * Runs for each append to a full topic, so partitions with nothing to delete cost no more than a
   * check in memory.
   *
   * @returns whether it is worth trying again: something was deleted, or the wait has ended.
   */
  async #makeRoom(
    request: SpaceRequest,
    whenFull: ResolvedTopicConfig['whenFull'],
  ): Promise<boolean> {
    let isMade = false
    for (const [slot, { deletion }] of this.#partitions.entries()) {
      const turn = turnBefore(slot)
      if (turn !== null) await turn
      if (!deletion.mayEnforce()) continue
      if (await hasFreed(deletion.enforceRetention())) isMade = true
    }
    if (isMade) return true
    for (const [slot, { deletion }] of this.#partitions.entries()) {
      const turn = turnBefore(slot)
      if (turn !== null) await turn
      if (!deletion.mayDeleteConsumed()) continue
      if (await hasFreed(deletion.deleteConsumed())) isMade = true
    }
    if (isMade || whenFull !== 'dropOldest') return isMade
    let slot = 0
    for (const { deletion } of oldestFirst(await this.#ages())) {
      const turn = turnBefore(slot++)
      if (turn !== null) await turn
      // A deletion may have failed the log of this append: no record of another is dropped for it.
      if (request.whyStopped() !== null) return true
      if (await hasFreed(deletion.dropOldest())) return true
    }
    return false
  }

  async #ages(): Promise<PartitionAge[]> {
    const nowMs = this.#clock.now()
    const ages: PartitionAge[] = []
    for (const [slot, partition] of this.#partitions.entries()) {
      const turn = turnBefore(slot)
      if (turn !== null) await turn
      const since = partition.log.reader.outlook.oldestSinceMs(nowMs)
      // A segment that cannot be read is tried last.
      const sinceMs = typeof since === 'number' ? since : await since.catch(() => Infinity)
      ages.push({ partition, sinceMs })
    }
    return ages
  }

  /** Listens from the call on, so that a change before the wait ends it. */
  #nextChange(): { readonly happened: Promise<void>; stop(): void } {
    this.#isWoken = false
    let timer: Timer | null = null
    let ignore: () => void = () => undefined
    const happened = new Promise<void>((resolve) => {
      ignore = this.#changes.add(resolve)
      timer = this.#clock.startTimer(resolve, LOOK_AGAIN_MS)
    })
    const stop = (): void => {
      ignore()
      timer?.cancel()
    }
    return { happened, stop }
  }
}

/** Oldest first. Usually the first is enough, so the others are sorted only if it is not. */
function* oldestFirst(ages: readonly PartitionAge[]): Iterable<SpacePartition> {
  let [oldest] = ages
  if (oldest === undefined) return
  for (const each of ages) if (each.sinceMs < oldest.sinceMs) oldest = each
  yield oldest.partition
  const rest = ages.filter((each) => each !== oldest)
  rest.sort((left, right) => left.sinceMs - right.sinceMs)
  for (const { partition } of rest) yield partition
}

/**
 * A failing partition does not stop the others from making room; its own appends report the
 * failure.
 */
async function hasFreed(deletion: Promise<FreedSpace>): Promise<boolean> {
  try {
    return (await deletion).segments > 0
  } catch {
    return false
  }
}
