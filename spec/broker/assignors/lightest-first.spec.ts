import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HeaviestFirst } from '../../../lib/broker/assignors/heaviest-first.ts'
import { LightestFirst } from '../../../lib/broker/assignors/lightest-first.ts'

interface Member {
  readonly place: number
  count: number
}

function membersWith(counts: readonly number[]): Member[] {
  return counts.map((count, place) => ({ place, count }))
}

describe('LightestFirst', () => {
  it('tells the first of the lightest while members grow', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(5), { minLength: 1 }), fc.array(fc.nat(50)), (counts, grown) => {
        const members = membersWith(counts)
        const subject = new LightestFirst(members)
        for (const place of grown) {
          const least = Math.min(...members.map(({ count }) => count))
          expect(subject.first()).toBe(members.find(({ count }) => count === least))
          const member = members[place % members.length]
          if (member !== undefined) member.count++
        }
      }),
      { seed: 7 },
    )
  })

  it('is nobody among none', () => {
    expect(new LightestFirst<Member>([]).first()).toBeUndefined()
  })

  it('looks at a handful of a thousand members for each that is told', () => {
    let looks = 0
    const members = Array.from({ length: 1000 }, (_, place) => {
      let count = 0
      return {
        place,
        get count() {
          looks++
          return count
        },
        grow: () => count++,
      }
    })
    const subject = new LightestFirst(members)
    for (let round = 0; round < 3000; round++) {
      const first = subject.first()
      expect(first?.place).toBe(round % 1000)
      first?.grow()
    }
    expect(looks).toBeLessThan(1000 + 3000 * 3)
  })
})

describe('HeaviestFirst', () => {
  it('tells each member with each count that it has, from the heaviest down', () => {
    const [a, b, c] = membersWith([2, 4, 0]) as [Member, Member, Member]
    const subject = new HeaviestFirst([a, b, c])
    const told: [Member, number][] = []
    for (let member = subject.next(); member !== undefined; member = subject.next()) {
      told.push([member, member.count])
      if (member !== b || b.count <= 2) continue
      b.count--
      subject.add(b)
      c.count++
      subject.add(c)
    }
    expect(told).toEqual([
      [b, 4],
      [b, 3],
      [a, 2],
      [b, 2],
      [c, 2],
    ])
  })

  it('is nobody among none', () => {
    expect(new HeaviestFirst<Member>([]).next()).toBeUndefined()
  })
})
