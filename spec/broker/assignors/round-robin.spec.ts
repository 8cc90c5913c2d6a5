import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { roundRobinAssignor } from '../../../lib/broker/assignors/round-robin.ts'
import { countsOf, newMember, shown, uniformGroups } from './groups.ts'

function assign(
  counts: Readonly<Record<string, number>>,
  members: Readonly<Record<string, readonly string[]>>,
): Record<string, string> {
  return shown(
    roundRobinAssignor.assign(
      new Map(Object.entries(counts)),
      Object.entries(members).map(([memberId, topics]) => newMember(memberId, topics)),
    ),
  )
}

describe('roundRobinAssignor', () => {
  it('continues with the next member from one topic to the next', () => {
    const both = ['t0', 't1']
    expect(assign({ t0: 3, t1: 3 }, { C0: both, C1: both })).toEqual({
      C0: 't0p0 t0p2 t1p1',
      C1: 't0p1 t1p0 t1p2',
    })
  })

  it('skips members that do not subscribe to the topic', () => {
    expect(
      assign({ t0: 1, t1: 2, t2: 3 }, { C0: ['t0'], C1: ['t0', 't1'], C2: ['t0', 't1', 't2'] }),
    ).toEqual({ C0: 't0p0', C1: 't1p0', C2: 't1p1 t2p0 t2p1 t2p2' })
  })

  it('deals topics in order of name, whatever the order in which they are given', () => {
    expect(assign({ b: 1, a: 1 }, { C0: ['b', 'a'], C1: ['a', 'b'] })).toEqual({
      C0: 'ap0',
      C1: 'bp0',
    })
  })

  it('gives members partition counts that differ by at most one if all subscribe to the same topics', () => {
    fc.assert(
      fc.property(uniformGroups(), ({ partitionCounts, members }) => {
        const counts = [...countsOf(roundRobinAssignor.assign(partitionCounts, members)).values()]
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
      }),
    )
  })
})
