import { expect, it } from 'vitest'
import { AssignedPartition } from '../../lib/client/assigned-partition.ts'
import { CommitsInProgress } from '../../lib/client/commits-in-progress.ts'

const T0 = { topic: 't', partition: 0 }

it('cover a held record below their offset, unless the partition was moved since the call', () => {
  const commits = new CommitsInProgress()
  const state = new AssignedPartition(T0)
  commits.add([{ ...T0, offset: 4 }], ['id'])
  expect([3, 4].map((held) => commits.covers(state, held))).toEqual([true, false])
  expect(commits.covers(new AssignedPartition({ topic: 't', partition: 1 }), 3)).toBe(false)
  state.seek(3)
  expect(commits.covers(state, 3)).toBe(false)
  commits.add([{ ...T0, offset: 4 }], ['id'])
  expect(commits.covers(state, 3)).toBe(true)
})

it('are all at an offset until one of another offset of the partition is called, and once it ends', () => {
  const commits = new CommitsInProgress()
  const state = new AssignedPartition(T0)
  commits.add([{ ...T0, offset: 4 }], ['id'])
  expect(commits.areAllAt(state, 4)).toBe(true)
  const ended = commits.add([{ ...T0, offset: 6 }], ['id'])
  expect(commits.areAllAt(state, 4)).toBe(false)
  ended()
  expect(commits.areAllAt(state, 4)).toBe(true)
})
