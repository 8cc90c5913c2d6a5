import { expect, it } from 'vitest'
import { AssignedPartition } from '../../lib/client/assigned-partition.ts'

function epochsBefore(state: AssignedPartition, from: number, to: number): (number | null)[] {
  return Array.from({ length: to - from }, (_, each) => state.epochBefore(from + each))
}

it('knows the leader epochs of all records returned since the position was last set', () => {
  const state = new AssignedPartition({ topic: 't', partition: 0 })
  state.resume(10, 3)
  expect(epochsBefore(state, 9, 12)).toEqual([null, 3, null])
  state.moveTo(11, 3)
  state.moveTo(13, 4)
  state.moveTo(14, 4)
  state.moveTo(15, 7)
  expect(epochsBefore(state, 9, 17)).toEqual([null, 3, 3, 4, 4, 4, 7, null])
  state.resume(13, state.epochBefore(13))
  expect(epochsBefore(state, 12, 15)).toEqual([null, 4, null])
  state.moveTo(14, 8)
  expect(epochsBefore(state, 12, 16)).toEqual([null, 4, 8, null])
  state.seekTo('latest')
  expect(state.epochBefore(14)).toBeNull()
  state.seek(5)
  expect(epochsBefore(state, 4, 7)).toEqual([null, null, null])
})

it('forgets the oldest epochs when every record has a different one', () => {
  const state = new AssignedPartition({ topic: 't', partition: 0 })
  state.seek(0)
  for (let offset = 0; offset < 5000; offset += 1) state.moveTo(offset + 1, offset)
  const known = epochsBefore(state, 1, 5001)
  const first = known.findIndex((epoch) => epoch !== null)
  expect(first).toBeGreaterThan(3000)
  expect(known.slice(first)).toEqual(
    Array.from({ length: 5000 - first }, (_, each) => first + each),
  )
})
