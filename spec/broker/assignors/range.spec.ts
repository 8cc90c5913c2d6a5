import { describe, expect, it } from 'vitest'
import { rangeAssignor } from '../../../lib/broker/assignors/range.ts'
import { newMember, shown } from './groups.ts'

function assign(
  counts: Readonly<Record<string, number>>,
  members: Readonly<Record<string, readonly string[]>>,
): Record<string, string> {
  return shown(
    rangeAssignor.assign(
      new Map(Object.entries(counts)),
      Object.entries(members).map(([memberId, topics]) => newMember(memberId, topics)),
    ),
  )
}

describe('rangeAssignor', () => {
  it('gives the first members one more partition of each topic that does not divide evenly', () => {
    const both = ['t0', 't1']
    expect(assign({ t0: 3, t1: 3 }, { C0: both, C1: both })).toEqual({
      C0: 't0p0 t0p1 t1p0 t1p1',
      C1: 't0p2 t1p2',
    })
  })

  it('gives one extra partition to as many members as there are partitions left over', () => {
    expect(assign({ t: 8 }, { C0: ['t'], C1: ['t'], C2: ['t'] })).toEqual({
      C0: 'tp0 tp1 tp2',
      C1: 'tp3 tp4 tp5',
      C2: 'tp6 tp7',
    })
  })

  it('leaves the last members without partitions if there are too few', () => {
    expect(assign({ t: 1 }, { C0: ['t'], C1: ['t'] })).toEqual({ C0: 'tp0', C1: '' })
  })

  it('divides a topic among its subscribers only', () => {
    expect(assign({ t0: 2, t1: 3 }, { C0: ['t0'], C1: ['t0', 't1'], C2: ['t1'] })).toEqual({
      C0: 't0p0',
      C1: 't0p1 t1p0 t1p1',
      C2: 't1p2',
    })
  })

  it('orders members by id, not by the order in which they are given', () => {
    expect(assign({ t: 3 }, { b: ['t'], a: ['t'], B: ['t'] })).toEqual({
      B: 'tp0',
      a: 'tp1',
      b: 'tp2',
    })
  })
})
