import { describe, expect, it } from 'vitest'
import { BufferPool } from '../../lib/client/buffer-pool.ts'

interface Waiter {
  name: string
  sizeBytes: number
  isWaiting: boolean
}

function waiter(name: string, sizeBytes: number): Waiter {
  return { name, sizeBytes, isWaiting: true }
}

function admitted(pool: BufferPool<Waiter>): string[] {
  const names: string[] = []
  pool.admit((each) => {
    names.push(each.name)
    pool.take(each.sizeBytes)
  })
  return names
}

describe('has room until all bytes are taken, and again when some are released', () => {
  it('has room for a record of any size while it is empty', () => {
    const pool = new BufferPool<Waiter>(100)
    pool.take(60)
    expect(pool.hasRoomFor(40)).toBe(true)
    expect(pool.hasRoomFor(41)).toBe(false)
    pool.take(40)
    expect(pool.usedBytes).toBe(100)
    pool.release(60)
    expect(pool.usedBytes).toBe(40)
    expect(pool.hasRoomFor(60)).toBe(true)
  })

  it('has no room for a newcomer while another waits, even if it would fit', () => {
    const pool = new BufferPool<Waiter>(100)
    expect(pool.hasRoomFor(117)).toBe(true)
    pool.take(1)
    expect(pool.hasRoomFor(117)).toBe(false)
  })

  it('has no room for a newcomer while somebody waits, even for one who would fit', () => {
    const pool = new BufferPool<Waiter>(100)
    pool.take(50)
    pool.wait(waiter('large', 80))
    expect(pool.hasWaiters).toBe(true)
    expect(pool.hasRoomFor(1)).toBe(false)
  })

  it('admits waiters in their order, and none behind the first that does not fit', () => {
    const pool = new BufferPool<Waiter>(100)
    pool.take(90)
    pool.wait(waiter('a', 30))
    pool.wait(waiter('b', 80))
    pool.wait(waiter('c', 5))
    expect(admitted(pool)).toEqual([])
    pool.release(50)
    expect(admitted(pool)).toEqual(['a'])
    pool.release(70)
    expect(admitted(pool)).toEqual(['b', 'c'])
    expect(pool.hasWaiters).toBe(false)
    expect(pool.usedBytes).toBe(85)
  })

  it('skips waiters that have given up', () => {
    const pool = new BufferPool<Waiter>(100)
    pool.take(90)
    const large = waiter('large', 80)
    pool.wait(large)
    pool.wait(waiter('small', 10))
    large.isWaiting = false
    expect(pool.hasWaiters).toBe(true)
    expect(admitted(pool)).toEqual(['small'])
    expect(pool.hasWaiters).toBe(false)
  })
})
