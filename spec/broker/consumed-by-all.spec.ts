import { describe, expect, it } from 'vitest'
import { consumedByAll } from '../../lib/broker/consumed-by-all.ts'
import { groupOf, type GroupOffsets, type StoredOffset } from '../../lib/broker/group-offsets.ts'
import { topicPartitionKey, type TopicPartition } from '../../lib/broker/topic-partition.ts'
import { hasImportEnded, IMPORT_GROUP_PREFIX, isImportGroup } from '../../lib/import-groups.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'

const ENDED = '{"isEnd":true}'
const offsetOf = ({ committed }: StoredOffset): number => committed.offset

/** The groups of a broker, with a count of the reads of their commits. */
class CountedGroups {
  readonly groups: Map<string, GroupOffsets> = new Map()
  looks = 0

  commit(groupId: string, place: TopicPartition, offset: number, metadata = ''): void {
    const look = (): void => {
      this.looks += 1
    }
    const committed = { offset, metadata, leaderEpoch: null }
    groupOf(this.groups, groupId).offsets.set(topicPartitionKey(place), {
      get topicPartition() {
        look()
        return place
      },
      get committed() {
        look()
        return committed
      },
    })
  }

  /** How far each of the first partitions of a topic counts as consumed. */
  consumed(topic: string, partitions: number): number[] {
    return Array.from({ length: partitions }, (_, partition) =>
      consumedByAll(this.groups, { topic, partition }, false, offsetOf),
    )
  }
}

describe('the offset that all groups of a topic have consumed', () => {
  it.each([
    ['of consumers', 'group-', ''],
    ['of imports that go on', `${IMPORT_GROUP_PREFIX}a-`, ''],
    ['of imports that have ended', `${IMPORT_GROUP_PREFIX}a-`, ENDED],
  ])(
    'is found without reading offsets of other partitions, for groups %s',
    (_whose, name, metadata) => {
      const [partitions, groups] = [40, 10]
      const counted = new CountedGroups()
      for (let partition = 0; partition < partitions; partition += 1) {
        counted.commit('consumer', { topic: 'orders', partition }, 9)
        for (let group = 0; group < groups; group += 1) {
          counted.commit(`${name}${group}`, { topic: 'orders', partition }, 5, metadata)
        }
      }
      counted.looks = 0
      const isEnded = metadata === ENDED
      expect(counted.consumed('orders', partitions)).toEqual(
        Array.from({ length: partitions }, () => (isEnded ? 9 : 5)),
      )
      // One read of its own offset, and two of each offset to learn whether an import has ended.
      expect(counted.looks).toBeLessThanOrEqual(3 * partitions * (groups + 1))
    },
  )

  it('is known from the first group that has consumed nothing, however many groups there are', () => {
    const counted = new CountedGroups()
    for (let group = 0; group < 100; group += 1) {
      counted.commit(`group-${group}`, { topic: 'orders', partition: 1 }, 0)
    }
    counted.looks = 0
    expect(counted.consumed('orders', 2)).toEqual([0, 0])
    expect(counted.looks).toBe(1)
  })

  it('equals a scan of all offsets after any commits, ended imports and removed offsets', () => {
    for (let seed = 0; seed < 50; seed += 1) {
      const random = new SeededRandom(seed)
      const below = (count: number): number => random.integer(count)
      const groups = new Map<string, GroupOffsets>()
      for (let step = 0; step < 60; step += 1) {
        const groupId = ['g', 'h', `${IMPORT_GROUP_PREFIX}i`, `${IMPORT_GROUP_PREFIX}j`][below(4)]
        const topicPartition = {
          topic: ['orders', 'orders-1'][below(2)] ?? '',
          partition: below(3),
        }
        const key = topicPartitionKey(topicPartition)
        const { offsets } = groupOf(groups, groupId ?? '')
        const metadata = below(2) === 0 ? '' : ENDED
        const committed = { offset: below(4), metadata, leaderEpoch: null }
        if (below(3) === 0) offsets.delete(key)
        else offsets.set(key, { topicPartition, committed })
        for (const isFull of [false, true]) {
          const asked = { topic: 'orders', partition: below(3) }
          expect(consumedByAll(groups, asked, isFull, offsetOf), `seed ${seed}, step ${step}`).toBe(
            naive(groups, asked, isFull),
          )
        }
      }
    }
  })
})

function naive(
  groups: ReadonlyMap<string, GroupOffsets>,
  { topic, partition }: TopicPartition,
  isFull: boolean,
): number {
  const limits = { consumed: Infinity, needed: Infinity }
  for (const [groupId, { offsets }] of groups) {
    const itsOwn = [...offsets.values()].filter((each) => each.topicPartition.topic === topic)
    const stored = itsOwn.find((each) => each.topicPartition.partition === partition)
    const hasEnded = itsOwn.every((each) => hasImportEnded(each.committed.metadata))
    const isImport = isImportGroup(groupId)
    if (itsOwn.length === 0 || (isImport && (isFull || hasEnded))) continue
    const limit = isImport ? 'needed' : 'consumed'
    limits[limit] = Math.min(limits[limit], stored?.committed.offset ?? 0)
  }
  return limits.consumed === Infinity ? 0 : Math.min(limits.consumed, limits.needed)
}
