import { expect, it } from 'vitest'
import { AssignedPartition } from '../../lib/client/assigned-partition.ts'
import { PartitionWatch } from '../../lib/client/partition-watch.ts'

function assignedOf(count: number): Map<string, AssignedPartition> {
  const states = Array.from(
    { length: count },
    (_, partition) => new AssignedPartition({ topic: 't', partition }),
  )
  return new Map(states.map((state) => [state.key, state]))
}

it('returns due partitions in the order of their turns, whenever they became due', () => {
  const watch = new PartitionWatch(true)
  const assigned = assignedOf(5)
  const states = [...assigned.values()]
  const due = (): number[] => watch.due(assigned).map(({ state }) => state.partition)
  expect(due()).toEqual([0, 1, 2, 3, 4])
  for (const [slot, lastRead] of [3, 1, 2, 1, 5].entries()) {
    Object.assign(states[slot] as AssignedPartition, { lastRead })
  }
  expect(due()).toEqual([1, 3, 2, 0, 4])
  for (const watched of watch.due(assigned)) watched.rest()
  expect(due()).toEqual([])
  states[4]?.seek(1)
  states[0]?.seek(1)
  states[3]?.seek(1)
  expect(due()).toEqual([3, 0, 4])
})
