import { describe, expect, it } from 'vitest'
import { PartitionLedger } from './partition-ledger.ts'

function ledgerOf(...acknowledged: readonly string[]): PartitionLedger {
  const ledger = new PartitionLedger('a-0', true)
  acknowledged.forEach((value, offset) => {
    Object.assign(ledger.send(value), { outcome: 'acknowledged', offset })
  })
  return ledger
}

const found = (...values: readonly string[]) => values.map((value, offset) => ({ offset, value }))

describe('PartitionLedger', () => {
  it('accepts records that were acknowledged, and records that were sent after them', () => {
    const ledger = ledgerOf('x', 'y')
    ledger.send('z')
    expect(ledger.look(found('x', 'y', 'z'), 0)).toEqual([])
    expect(ledger.look(found('x', 'y', 'z'), 0)).toEqual([])
  })

  it('reports an acknowledged record that is lost, unless the topic is relaxed', () => {
    const lost = 'a-0: y at 1 was acknowledged and is lost'
    expect(ledgerOf('x', 'y').look(found('x'), 0)).toEqual([lost])
    const relaxed = new PartitionLedger('a-0', false)
    Object.assign(relaxed.send('x'), { outcome: 'acknowledged', offset: 0 })
    expect(relaxed.look([], 0)).toEqual([])
  })

  it('reports a record that was seen before and is lost', () => {
    const ledger = ledgerOf('x')
    ledger.look(found('x'), 0)
    expect(ledger.look([], 0)).toEqual(['a-0: offset 0 was x and is lost'])
  })

  it('reports a record that was never sent, or whose send was rejected as not written', () => {
    expect(ledgerOf('x').look(found('x', 'w'), 0)).toEqual([
      'a-0: offset 1 is w: not sent, not in order, or said not to be written',
    ])
    const ledger = ledgerOf('x')
    ledger.send('y').outcome = 'not-written'
    expect(ledger.look(found('x', 'y'), 0)).toEqual([
      'a-0: offset 1 is y: not sent, not in order, or said not to be written',
    ])
  })

  it('reports a hole in the order of sending', () => {
    const ledger = new PartitionLedger('a-0', false)
    for (const value of ['x', 'y', 'z']) ledger.send(value)
    expect(ledger.look(found('x', 'z'), 0)).toEqual([
      'a-0: y is missing in front of offset 1, which is z',
    ])
  })

  it('accepts that a record in doubt is missing before one that was sent after the doubt was known', () => {
    const ledger = ledgerOf('x')
    ledger.doubt(ledger.send('y'))
    Object.assign(ledger.send('z'), { outcome: 'acknowledged', offset: 1 })
    expect(ledger.look(found('x', 'z'), 0)).toEqual([])
  })

  it('reports a hole if a record in doubt is missing before one that was sent before the doubt was known', () => {
    const ledger = ledgerOf('x')
    const doubtful = ledger.send('y')
    ledger.send('z')
    ledger.doubt(doubtful)
    ledger.send('later')
    expect(ledger.look(found('x', 'z'), 0)).toEqual([
      'a-0: y is missing in front of offset 1, which is z',
    ])
  })

  it('reports records that appear twice', () => {
    expect(ledgerOf('x').look(found('x', 'x'), 0)).toHaveLength(1)
  })

  it('reports a log start offset above the requested deletions or below the acknowledged ones', () => {
    expect(ledgerOf('x', 'y').look([{ offset: 1, value: 'y' }], 1)).toEqual([
      'a-0: starts at 1, deleted below 0 to 0',
    ])
    const ledger = ledgerOf('x', 'y')
    ledger.deletingBelow = 1
    expect(ledger.look([{ offset: 1, value: 'y' }], 1)).toEqual([])
    ledger.deletedBelow = 1
    expect(ledger.look(found('x', 'y'), 0)).toEqual(['a-0: starts at 0, deleted below 1 to 1'])
  })
})
