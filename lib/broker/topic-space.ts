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

/** How often an append that waits looks whether groups have consumed, or the disk has room again. */
const LOOK_AGAIN_MS = 1_000

/** What the space of a topic needs of its partitions. */
export interface SpacePartition {
  readonly log: Pick<Log, 'size' | 'reader'>
  readonly deletion: Pick<
    RecordDeletion,
    'mayEnforce' | 'enforceRetention' | 'mayDeleteConsumed' | 'deleteConsumed' | 'dropOldest'
  >
}

/** When the oldest segment of a partition got the last of what it holds. */
interface PartitionAge {
  readonly partition: SpacePartition
  readonly sinceMs: number
}

/** An append that asks for room. */
export interface SpaceRequest {
  /** May become less while it waits, which {@link TopicSpace.changed} is to be told. */
  readonly sizeBytes: number
  /** The configuration in force by now. */
  readonly config: () => Readonly<ResolvedTopicConfig>
  /** Why it must not go on waiting; `null` when it may. */
  readonly whyStopped: () => Error | null
}

/** Whether appends to a topic have to ask for room. */
export function isCapped({ maxBytes, minFreeBytes }: Readonly<ResolvedTopicConfig>): boolean {
  return maxBytes >= 0 || minFreeBytes > 0
}

/** Whether there would be no room in an empty topic either. */
export function isBeyondCap(error: unknown): boolean {
  if (!(error instanceof LogFullError) || error.limit !== 'maxBytes') return false
  return error.sizeBytes > error.limitBytes
}

/**
 * The bytes that the partitions of a topic may take together. Appends ask for them one after the
 * other, in the order in which they come, so that no small one keeps overtaking a large one; what is
 * granted counts until it is written, so the cap holds however many partitions are written at once.
 */
export class TopicSpace {
  /** Not to be seen from outside: a partition has its space in a field, and is written as JSON. */
  #partitions: readonly SpacePartition[] = []
  readonly #topic: string
  readonly #clock: Clock
  readonly #disk: FreeSpace
  /** Made for the first that asks: most topics have no cap. */
  #queue: SerialQueue | null = null
  readonly #changes = new ChangeListeners()
  /** Size of all log files without what is being written; `null` while that has to be counted. */
  #sizeBytes: number | null = null
  #inFlightBytes = 0

  constructor(topic: string, clock: Clock, disk: FreeSpace) {
    this.#topic = topic
    this.#clock = clock
    this.#disk = disk
  }

  /** From now on the topic has these partitions. */
  share(partitions: readonly SpacePartition[]): void {
    this.#partitions = partitions
    this.changed()
  }

  /** Something was deleted, configured or given up, or a partition is being closed. */
  changed(): void {
    this.#sizeBytes = null
    this.#changes.notify()
  }

  /** Bytes that `maxBytes` leaves, at least 0. */
  roomBytes({ maxBytes }: Readonly<ResolvedTopicConfig>): number {
    return maxBytes < 0 ? Infinity : Math.max(0, maxBytes - this.#usedBytes())
  }

  /**
   * Room for an append.
   *
   * @returns a function to be called when it has been written, or has failed.
   * @throws {@link LogFullError} when there is none and it is not to wait; what ends the wait.
   */
  reserve(request: SpaceRequest): Promise<() => void> {
    this.#queue ??= new SerialQueue()
    return this.#queue.run(() => this.#whenRoom(request))
  }

  async #whenRoom(request: SpaceRequest): Promise<() => void> {
    for (;;) {
      const stop = request.whyStopped()
      if (stop !== null) throw stop
      if ((await this.#whyFull(request)) === null) return this.#take(request.sizeBytes)
      const change = this.#nextChange()
      const { whenFull } = request.config()
      try {
        const full = this.#inFlightBytes > 0 ? null : await this.#whyStillFull(request, whenFull)
        // Where that has changed meanwhile, something else is to be tried.
        if (full !== null && request.config().whenFull !== whenFull) continue
        if (full !== null && whenFull !== 'wait') throw full
        const waits = full !== null || this.#inFlightBytes > 0
        if (waits && request.whyStopped() === null) await change.happened
      } finally {
        change.stop()
      }
    }
  }

  /**
   * Makes room, where there is none when the topic is counted anew: sizes change without notice too,
   * where the log is cut or compacted, or what was granted is not written.
   *
   * @returns `null` when it is worth another look.
   * @throws {@link LogFullError} when there will never be room, so that nothing is dropped for it.
   */
  async #whyStillFull(
    request: SpaceRequest,
    whenFull: ResolvedTopicConfig['whenFull'],
  ): Promise<LogFullError | null> {
    this.#sizeBytes = null
    const full = await this.#whyFull(request)
    if (full === null) return null
    // The cap has been lowered since the append was taken.
    if (isBeyondCap(full)) throw full
    if (await this.#makeRoom(whenFull)) return null
    // Somebody else may have deleted meanwhile, and left nothing for this one to delete.
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
      // Where it has failed, that counts too much, and is counted again before anybody is refused.
      if (this.#sizeBytes !== null) this.#sizeBytes += sizeBytes
      this.#changes.notify()
    }
  }

  /** What the topic has, or will have once all that is granted is written. */
  #usedBytes(): number {
    if (this.#sizeBytes === null) {
      let sizeBytes = 0
      for (const { log } of this.#partitions) sizeBytes += log.size
      this.#sizeBytes = sizeBytes
    }
    return this.#sizeBytes + this.#inFlightBytes
  }

  /**
   * It is asked for with each append to a topic that is full, so of partitions that have nothing to delete
   * it takes no more than a look at memory.
   *
   * @returns whether anything was deleted.
   */
  async #makeRoom(whenFull: ResolvedTopicConfig['whenFull']): Promise<boolean> {
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

  /** Listens from the call on, so that what changes before the wait ends it. */
  #nextChange(): { readonly happened: Promise<void>; stop(): void } {
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

/** In the order of their ages. Mostly the first is enough: the others are put in order where it is not. */
function* oldestFirst(ages: readonly PartitionAge[]): Iterable<SpacePartition> {
  let [oldest] = ages
  if (oldest === undefined) return
  for (const each of ages) if (each.sinceMs < oldest.sinceMs) oldest = each
  yield oldest.partition
  const rest = ages.filter((each) => each !== oldest)
  rest.sort((left, right) => left.sinceMs - right.sinceMs)
  for (const { partition } of rest) yield partition
}

/** A partition that fails does not keep the others from making room; its own appends tell. */
async function hasFreed(deletion: Promise<FreedSpace>): Promise<boolean> {
  try {
    return (await deletion).segments > 0
  } catch {
    return false
  }
}
