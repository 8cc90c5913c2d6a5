import { CorruptRecordError } from '../errors.ts'
import type { OffsetsDamage } from './committed-offset.ts'
import type { GroupOffsets } from './group-offsets.ts'
import { LeftBehindError } from './left-behind-error.ts'
import { partitionForGroup } from './offset-commit-codec.ts'
import { OffsetReplay, type OffsetsPartition } from './offset-replay.ts'

/**
 * Reads the committed offsets from the partitions of the internal topic. All offsets of a group are
 * in one partition, so damage to a partition hides only the groups that belong there.
 */
export class OffsetReplays {
  readonly #groups: Map<string, GroupOffsets>
  /** The replay of each partition. */
  readonly #replays: Map<number, OffsetReplay> = new Map()
  readonly #damages: Map<number, CorruptRecordError> = new Map()
  #partitionCount = 1

  /** @param groups is changed: it receives the offsets. */
  constructor(groups: Map<string, GroupOffsets>) {
    this.#groups = groups
  }

  /** The partitions that cannot be read, and why. */
  get damages(): OffsetsDamage[] {
    return [...this.#damages].map(([partition, error]) => ({ partition, error }))
  }

  /**
   * Why the positions of some groups that have committed here are unknown; `null` if all are known.
   */
  get damage(): CorruptRecordError | null {
    for (const error of this.#damages.values())
      if (!(error instanceof LeftBehindError)) return error
    return null
  }

  /** Whether the positions of some groups are unknown. */
  get hasUnknown(): boolean {
    return this.#damages.size > 0
  }

  /** Why the position of a group is unknown; `null` if it is known. */
  damageOf(groupId: string): CorruptRecordError | null {
    if (this.#damages.size === 0) return null
    return this.#damages.get(partitionForGroup(groupId, this.#partitionCount)) ?? null
  }

  /**
   * Reads what the partitions hold, or what was appended since the last call. Nothing of a damaged
   * partition counts as known, until a later call finds it sound.
   *
   * @param partitions all partitions of the topic, in order
   * @throws {@link CorruptRecordError} when one is damaged, after all were tried
   */
  async run(partitions: readonly OffsetsPartition[]): Promise<void> {
    const partitionCount = Math.max(1, partitions.length)
    // The topic was removed, or this is another one whose groups belong in other partitions.
    if (partitions.length === 0 || partitionCount !== this.#partitionCount) this.#forgetAll()
    this.#partitionCount = partitionCount
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
    // Into a separate map, so that nobody sees half of it.
    const replay = new OffsetReplay(this.#partitionCount)
    const groups = new Map<string, GroupOffsets>()
    await replay.run(partition, groups)
    if (known !== undefined) this.#forget(index)
    this.#replays.set(index, replay)
    for (const [groupId, offsets] of groups) this.#groups.set(groupId, offsets)
  }

  #forgetAll(): void {
    this.#groups.clear()
    this.#replays.clear()
    this.#damages.clear()
  }

  #forget(index: number): void {
    for (const groupId of this.#groups.keys()) {
      if (partitionForGroup(groupId, this.#partitionCount) === index) this.#groups.delete(groupId)
    }
  }
}
