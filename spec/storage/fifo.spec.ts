import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Fifo } from '../../lib/storage/fifo.ts'

describe('Fifo', () => {
  it('is empty at first, and returns undefined', () => {
    const fifo = new Fifo<number>()
    expect(fifo.length).toBe(0)
    expect(fifo.peek()).toBeUndefined()
    expect(fifo.shift()).toBeUndefined()
    expect(fifo.length).toBe(0)
  })

  it('returns items in the order of their pushes, for any sequence of pushes and shifts', () => {
    const steps = fc.array(fc.boolean(), { maxLength: 1000, size: 'max' })
    fc.assert(
      fc.property(steps, (pushes) => {
        const fifo = new Fifo<number>()
        const model: number[] = []
        pushes.forEach((isPush, number) => {
          if (isPush) {
            fifo.push(number)
            model.push(number)
          } else {
            expect(fifo.shift()).toBe(model.shift())
          }
          expect(fifo.length).toBe(model.length)
          expect(fifo.peek()).toBe(model[0])
        })
      }),
    )
  })

  it('keeps the order when a long queue is shifted faster than it is filled', () => {
    const fifo = new Fifo<number>()
    for (let number = 0; number < 1000; number += 1) fifo.push(number)
    const taken: (number | undefined)[] = []
    for (let number = 1000; fifo.length > 0; number += 1) {
      taken.push(fifo.shift(), fifo.shift())
      if (number < 1100) fifo.push(number)
    }
    expect(taken).toEqual(Array.from({ length: 1100 }, (_, number) => number))
  })
})
