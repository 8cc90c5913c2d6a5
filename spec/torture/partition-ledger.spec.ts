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
  it('is content with what was acknowledged, and with what was sent behind it', () => {
    const ledger = ledgerOf('x', 'y')
    ledger.send('z')
    expect(ledger.look(found('x', 'y', 'z'), 0)).toEqual([])
    expect(ledger.look(found('x', 'y', 'z'), 0)).toEqual([])
  })

  it('finds an acknowledged record that is lost, on a topic that is durable', () => {
    const lost = 'a-0: y at 1 was acknowledged and is lost'
    expect(ledgerOf('x', 'y').look(found('x'), 0)).toEqual([lost])
    const relaxed = new PartitionLedger('a-0', false)
    Object.assign(relaxed.send('x'), { outcome: 'acknowledged', offset: 0 })
    expect(relaxed.look([], 0)).toEqual([])
  })

  it('finds a record that was seen before and is lost', () => {
    const ledger = ledgerOf('x')
    ledger.look(found('x'), 0)
    expect(ledger.look([], 0)).toEqual(['a-0: offset 0 was x and is lost'])
  })

  it('finds records that were never sent, or said not to be written', () => {
    const ledger = ledgerOf('x')
    ledger.send('y').outcome = 'not-written'
    expect(ledger.look(found('x', 'y'), 0)).toEqual([
      'a-0: offset 1 is y: not sent, not in order, or said not to be written',
    ])
  })

  it('finds a hole in the order of sending', () => {
    const ledger = new PartitionLedger('a-0', false)
    for (const value of ['x', 'y', 'z']) ledger.send(value)
    expect(ledger.look(found('x', 'z'), 0)).toEqual([
      'a-0: y is missing in front of offset 1, which is z',
    ])
  })

  it('lets what is in doubt be missing in front of what was sent once that had been told', () => {
    const ledger = ledgerOf('x')
    ledger.doubt(ledger.send('y'))
    Object.assign(ledger.send('z'), { outcome: 'acknowledged', offset: 1 })
    expect(ledger.look(found('x', 'z'), 0)).toEqual([])
  })

  it('finds a hole where what is in doubt is missing in front of what had been sent by then', () => {
    const ledger = ledgerOf('x')
    const doubtful = ledger.send('y')
    ledger.send('z')
    ledger.doubt(doubtful)
    ledger.send('later')
    expect(ledger.look(found('x', 'z'), 0)).toEqual([
      'a-0: y is missing in front of offset 1, which is z',
    ])
  })

  it('finds records that come twice', () => {
    expect(ledgerOf('x').look(found('x', 'x'), 0)).toHaveLength(1)
  })

  it('finds a start of the log that nobody asked for', () => {
    const ledger = ledgerOf('x', 'y')
    ledger.deletingBelow = 1
    expect(ledger.look([{ offset: 1, value: 'y' }], 1)).toEqual([])
    ledger.deletedBelow = 1
    expect(ledger.look(found('x', 'y'), 0)).toEqual(['a-0: starts at 0, deleted below 1 to 1'])
  })
})
