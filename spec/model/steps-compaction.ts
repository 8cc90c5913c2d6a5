import fc from 'fast-check'
import { step, type Step } from './step.ts'

/** Few keys, so that most records replace others. */
const KEYS = ['a', 'b', 'c', 'd'] as const

/** Appends one batch to the compacted topic, with tombstones in it. */
export const put: fc.Arbitrary<Step> = step(
  'put',
  fc.array(fc.record({ key: fc.constantFrom(...KEYS), isTombstone: fc.boolean() }), {
    minLength: 1,
    maxLength: 4,
  }),
  async (session, entries) => {
    const { table } = session
    const records = entries.map(({ key, isTombstone }) => ({
      key,
      value: isTombstone ? null : session.newValue(),
    }))
    const end = table.give(records)
    await session.realTable.append(records)
    table.acknowledged(end)
  },
)

/** Compacts everything in one pass. What passes may remove does not depend on when they run. */
export const compact: fc.Arbitrary<Step> = step('compact', fc.constant(null), async (session) => {
  await session.realTable.compact()
})
