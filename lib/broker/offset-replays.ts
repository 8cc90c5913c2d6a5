import { CorruptRecordError } from '../errors.ts'
import type { OffsetsDamage } from './committed-offset.ts'
import type { GroupOffsets } from './group-offsets.ts'
import { LeftBehindError } from './left-behind-error.ts'
import { partitionForGroup } from './offset-commit-codec.ts'
import { OffsetReplay, type OffsetsPartition } from './offset-replay.ts'

/**
 * Takes over what the partitions of the internal topic hold. A group has all of its offsets in one of them,
 * so where one is damaged only the groups that belong there are not known.
 */
export class OffsetReplays {
  readonly #groups: Map<string, GroupOffsets>
  /** Of each partition, what was taken over of it. */
  readonly #replays: Map<number, OffsetReplay> = new Map()
  readonly #damages: Map<number, CorruptRecordError> = new Map()
  #partitionCount = 1

  /** @param groups is changed: what has been taken over is there. */
  constructor(groups: Map<string, GroupOffsets>) {
    this.#groups = groups
  }

  /** Which partitions cannot be read, and why. */
  get damages(): OffsetsDamage[] {
    return [...this.#damages].map(([partition, error]) => ({ partition, error }))
  }

  /** Why it is not known where some groups stand that have committed here; `null` when it is. */
  get damage(): CorruptRecordError | null {
    for (const error of this.#damages.values())
      if (!(error instanceof LeftBehindError)) return error
    return null
  }

  /** Whether it is not known of some groups where they stand. */
  get hasUnknown(): boolean {
    return this.#damages.size > 0
  }

  /** Why it is not known where a group stands; `null` when it is. */
  damageOf(groupId: string): CorruptRecordError | null {
    if (this.#damages.size === 0) return null
    return this.#damages.get(partitionForGroup(groupId, this.#partitionCount)) ?? null
  }

  /**
   * Takes over what the partitions hold, or what has come since the last call. Of one that is damaged
   * nothing is known any more, until a later call finds it sound.
   *
   * @param partitions all partitions of the topic, in order
   * @throws {@link CorruptRecordError} when one is damaged, after all were tried
   */
  async run(partitions: readonly OffsetsPartition[]): Promise<void> {
    this.#partitionCount = Math.max(1, partitions.length)
    for (const partition of partitions) {
      const { index } = partition
      try {
        await this.#runOne(partition)
        this.#damages.delete(index)
      } catch (error) {
        if (!(error instanceof CorruptRecordError)) throw error
        this.#damages.set(index, error)
      }
    }
    for (const error of this.#damages.values()) throw error
  }

  async #runOne(partition: OffsetsPartition): Promise<void> {
    const { index } = partition
    const known = this.#replays.get(index)
    if (known !== undefined && !known.isOutdated(partition) && !this.#damages.has(index)) {
      return known.run(partition, this.#groups)
    }
    // Beside what is known, so that nobody meets the half of it.
    const replay = new OffsetReplay(this.#partitionCount)
    const groups = new Map<string, GroupOffsets>()
    await replay.run(partition, groups)
    if (known !== undefined) this.#forget(index)
    this.#replays.set(index, replay)
    for (const [groupId, offsets] of groups) this.#groups.set(groupId, offsets)
  }

  #forget(index: number): void {
    for (const groupId of this.#groups.keys()) {
      if (partitionForGroup(groupId, this.#partitionCount) === index) this.#groups.delete(groupId)
    }
  }
}
