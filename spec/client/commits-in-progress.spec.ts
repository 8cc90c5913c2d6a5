import { expect, it, vi } from 'vitest'
import { AssignedPartition } from '../../lib/client/assigned-partition.ts'
import { CommitsInProgress } from '../../lib/client/commits-in-progress.ts'

const T0 = { topic: 't', partition: 0 }

it('are looked through only for a partition that was moved or assigned after their calls', () => {
  const commits = new CommitsInProgress()
  const state = new AssignedPartition(T0)
  const offsets = [{ ...T0, offset: 4 }]
  const index = vi.spyOn(offsets, 'map')
  commits.add(offsets, ['id'])
  expect(commits.hasOutdated(state, 5)).toBe(false)
  expect(index).not.toHaveBeenCalled()
  for (const moved of [state, new AssignedPartition(T0)]) {
    moved.seek(5)
    expect([commits.hasOutdated(moved, 4), commits.hasOutdated(moved, 5)]).toEqual([false, true])
  }
})

it('count for a moved partition even if later ones were called after the move', () => {
  const commits = new CommitsInProgress()
  const state = new AssignedPartition(T0)
  const ended = commits.add([{ ...T0, offset: 4 }], ['id'])
  state.seek(5)
  commits.add([{ ...T0, offset: 6 }], ['id'])
  expect(commits.hasOutdated(state, 5)).toBe(true)
  ended()
  expect(commits.hasOutdated(state, 5)).toBe(false)
})
