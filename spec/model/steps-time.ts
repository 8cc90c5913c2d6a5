import fc from 'fast-check'
import { ensure } from './model-broker.ts'
import { commitOf, pollMember, settle } from './steps-consume.ts'
import type { Member } from './session.ts'
import { step, type Step } from './step.ts'

const HOUR_MS = 3_600_000
/** The library's default of `maxPollIntervalMs`. */
const MAX_POLL_INTERVAL_MS = 300_000

/** Lets time pass. A topic that flushes by time becomes durable. */
export const advance: fc.Arbitrary<Step> = step(
  'advance',
  fc.constantFrom(10, 1_000, 100_000),
  async (session, ms) => {
    const ends = session.places().map(({ model }) => ({ model, end: model.written }))
    await session.clock.advance(ms)
    for (const { flushMs, partitions } of session.model.topics.values()) {
      const covered = flushMs > ms ? [] : ends.filter(({ model }) => partitions.includes(model))
      for (const { model, end } of covered) model.covered(end)
    }
    // The members poll, so that none is removed from its group for not polling.
    await settle(session)
  },
)

/** Sets the wall clock. Nothing that concerns offsets depends on it. */
export const setClock: fc.Arbitrary<Step> = step(
  'setClock',
  fc.constantFrom(-24, -1, 1, 24 * 365),
  (session, hours) => {
    session.clock.setTime(session.clock.now() + hours * HOUR_MS)
    return Promise.resolve()
  },
)

/**
 * No member polls for so long that all but the last of each group are removed: their commits are
 * refused, and they rejoin. The last one has no other member to make way for.
 */
export const stall: fc.Arbitrary<Step> = step('stall', fc.constant(null), async (session) => {
  await session.clock.advance(MAX_POLL_INTERVAL_MS + 1)
  for (const { flushMs, partitions } of session.model.topics.values()) {
    if (flushMs <= MAX_POLL_INTERVAL_MS) for (const each of partitions) each.covered(each.written)
  }
  const staying: Member[] = []
  for (const member of session.members) {
    if (member === null) continue
    const { groupId, positions, paused } = member
    if (positions.size > 0 && (await commitOf(session, member))) {
      const isFirst = staying.every((each) => each.groupId !== groupId)
      ensure(isFirst, () => `two members of ${groupId} are not put out`)
      staying.push(member)
      continue
    }
    positions.clear()
    paused.clear()
  }
  // Before the others rejoin, as the remaining members would then have to make way.
  for (const member of staying) await pollMember(session, member)
  await settle(session)
})
