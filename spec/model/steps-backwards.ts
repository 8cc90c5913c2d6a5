import fc from 'fast-check'
import { anyShare } from '../helpers/any-share.ts'
import { OffsetOutOfRangeError } from '../../lib/errors.ts'
import { ensure } from './model-broker.ts'
import { step, type Step } from './step.ts'
import { anyPlace } from './steps-produce.ts'

/** Reads the last records: the visible ones, up to the end, with none missing. */
export const readLast: fc.Arbitrary<Step> = step(
  'readLast',
  fc.record({ at: anyPlace, count: fc.constantFrom(1, 3, 40) }),
  async (session, { at, count }) => {
    const place = session.place(at)
    if (place === null) return
    const { model, real, name } = place
    const { visible } = model
    const shown = real.highWatermark
    const found = await real.readLast(count)
    const first = found[0]?.offset ?? shown
    found.forEach((record, slot) => {
      session.checkRecord(name, model, record, first + slot)
    })
    const end = first + found.length
    ensure(end >= visible, () => `the last of ${name} end at ${end}, and it shows ${visible}`)
    const isAll = found.length === count || first <= model.greatestStart
    ensure(isAll, () => `${name} gives ${found.length} records from ${first} on, not ${count}`)
    model.seen(end)
  },
)

/** Reads some of the last records backwards: the same records as forwards, in reverse order. */
export const reverse: fc.Arbitrary<Step> = step(
  'reverse',
  fc.record({ at: anyPlace, share: anyShare }),
  async (session, { at, share }) => {
    const place = session.place(at)
    if (place === null) return
    const { model, real, name } = place
    const end = real.highWatermark
    const from = real.logStartOffset + Math.floor(share * (end - real.logStartOffset))
    let next = end
    try {
      for await (const record of real.records({ reverse: true, from })) {
        next -= 1
        session.checkRecord(name, model, record, next)
      }
      ensure(next === from, () => `${name} backwards from ${end} ends at ${next}, not at ${from}`)
    } catch (error) {
      // A concurrent step may delete records that are still to come.
      if (!(error instanceof OffsetOutOfRangeError)) throw error
      const isDeleted = next - 1 < model.greatestStart || from < model.greatestStart
      ensure(isDeleted, () => `${name} refuses ${next - 1}, and nothing was deleted there`)
    }
  },
)
