import { describe, expect, it } from 'vitest'
import { PartitionBalancer } from '../../../lib/broker/assignors/partition-balancer.ts'
import { subscribedTopics } from '../../../lib/broker/assignors/subscriptions.ts'
import { newMember, shown, tp } from './groups.ts'

function balancer(
  subscriptions: Readonly<Record<string, readonly string[]>>,
  counts: Readonly<Record<string, number>>,
): PartitionBalancer {
  const members = Object.entries(subscriptions).map(([id, topics]) => newMember(id, topics))
  return new PartitionBalancer(members, subscribedTopics(new Map(Object.entries(counts)), members))
}

describe('PartitionBalancer', () => {
  it('gives free partitions to the member with the fewest, or to the first by id among equals', () => {
    const subject = balancer({ A: ['t'], B: ['t'] }, { t: 4 })
    subject.keep(tp('tp0'), 'A')
    for (const free of ['tp1', 'tp2', 'tp3']) subject.addFree(tp(free))
    expect(shown(subject.balance())).toEqual({ A: 'tp0 tp2', B: 'tp1 tp3' })
  })

  it('moves partitions that were free before it moves kept ones', () => {
    const subject = balancer({ A: ['a', 'v', 'z'], B: ['a', 'z'] }, { a: 1, v: 2, z: 3 })
    subject.keep(tp('zp0'), 'A')
    for (const kept of ['zp1', 'zp2']) subject.keep(tp(kept), 'B')
    for (const free of ['ap0', 'vp0', 'vp1']) subject.addFree(tp(free))
    expect(shown(subject.balance())).toEqual({ A: 'vp0 vp1 zp0', B: 'ap0 zp1 zp2' })
  })

  it('moves several partitions that were free rather than a kept one', () => {
    const subject = balancer({ A: ['a', 'c'], M: ['b', 'c'], Z: ['a', 'b'] }, { a: 1, b: 2, c: 3 })
    subject.keep(tp('ap0'), 'A')
    for (const free of ['bp0', 'bp1', 'cp0', 'cp1', 'cp2']) subject.addFree(tp(free))
    expect(shown(subject.balance())).toEqual({ A: 'ap0 cp0', M: 'cp1 cp2', Z: 'bp0 bp1' })
  })

  it('takes the last partitions of an owner that has too many', () => {
    const subject = balancer({ A: ['t'], B: ['t'] }, { t: 11 })
    for (const kept of ['tp10', 'tp2', 'tp9', 'tp1']) subject.keep(tp(kept), 'A')
    expect(shown(subject.balance())).toEqual({ A: 'tp1 tp2', B: 'tp9 tp10' })
  })

  it('drops a partition whose topic no member subscribes to', () => {
    const subject = balancer({ A: ['t'] }, { t: 1, u: 1 })
    subject.addFree(tp('up0'))
    expect(shown(subject.balance())).toEqual({ A: '' })
  })

  it('throws if a partition is to be kept for an id that is not a member', () => {
    expect(() => {
      balancer({ A: ['t'] }, { t: 1 }).keep(tp('tp0'), 'constructor')
    }).toThrow(RangeError)
  })
})
