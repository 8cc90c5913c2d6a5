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
  it('returns the first of the lightest members while their counts grow', () => {
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

  it('returns undefined if there are no members', () => {
    expect(new LightestFirst<Member>([]).first()).toBeUndefined()
  })

  it('reads about three counts per call among a thousand members', () => {
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
  it('returns members from the heaviest down, and returns a member again after its count changes', () => {
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

  it('returns undefined if there are no members', () => {
    expect(new HeaviestFirst<Member>([]).next()).toBeUndefined()
  })
})
