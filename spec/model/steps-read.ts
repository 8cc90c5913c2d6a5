import fc from 'fast-check'
import { anyShare } from '../helpers/any-share.ts'
import { OffsetOutOfRangeError } from '../../lib/errors.ts'
import { ensure } from './model-broker.ts'
import { step, type Step } from './step.ts'
import { anyPlace } from './steps-produce.ts'

/** Reads at any offset, including beyond the end and below the start. */
export const read: fc.Arbitrary<Step> = step(
  'read',
  fc.record({ at: anyPlace, share: anyShare, maxBytes: fc.constantFrom(1, 200, 10_000) }),
  async (session, { at, share, maxBytes }) => {
    const place = session.place(at)
    if (place === null) return
    const { model, real, name } = place
    const offset = Math.round(share * (model.records.length + 2))
    const { start, visible } = model
    try {
      const found = await real.read(offset, { maxBytes })
      ensure(offset >= start, () => `${name} gives ${offset}, which is deleted`)
      found.forEach((record, slot) => {
        session.checkRecord(name, model, record, offset + slot)
      })
      const isSome = found.length > 0 || offset >= visible
      ensure(isSome, () => `${name} gives nothing at ${offset}, and shows ${visible}`)
      model.seen(found.length > 0 ? offset + found.length : 0)
    } catch (error) {
      if (!(error instanceof OffsetOutOfRangeError)) throw error
      const isOutside = offset < model.greatestStart || offset > visible
      ensure(isOutside, () => `${name} refuses ${offset}, and shows [${start}, ${visible})`)
    }
  },
)

/** A waiting fetch at the end receives the next appended records. */
export const fetchAtEnd: fc.Arbitrary<Step> = step('fetchAtEnd', anyPlace, async (session, at) => {
  const place = session.place(at)
  if (place === null) return
  const { model, real, name } = place
  // Records sent with acks 0 may still be in flight beyond that end.
  const from = real.highWatermark
  const waiting = real.fetch(from, { maxWaitMs: 600_000 })
  // The append may be the one that fails.
  waiting.catch(() => undefined)
  const { values, end } = session.give(model, 1, 1)
  await real.append({ value: values[0] ?? '' })
  model.acknowledged(end, 'all')
  model.epoch = Math.max(model.epoch, real.log.leaderEpoch)
  const found = await waiting
  ensure(found.length > 0, () => `${name} wakes nobody who waits at ${from}`)
  found.forEach((record, slot) => {
    session.checkRecord(name, model, record, from + slot)
  })
})

/** Finds the first record that is not older, whatever the wall clock did during the appends. */
export const findTime: fc.Arbitrary<Step> = step(
  'findTime',
  fc.record({ at: anyPlace, share: anyShare }),
  async (session, { at, share }) => {
    const place = session.place(at)
    if (place === null) return
    const { model, real, name } = place
    const { records, start } = model
    const sample = records[Math.floor(share * records.length)]?.timestamp ?? session.clock.now()
    const timestamp = Math.max(0, sample + Math.round(share * 2) - 1)
    const least = real.highWatermark
    const found = await real.offsetForTimestamp(timestamp)
    const slot = records.findIndex((each, at) => at >= start && each.timestamp >= timestamp)
    const expectedBelow = (end: number): number | null => (slot < 0 || slot >= end ? null : slot)
    // Records whose append nobody awaited may become visible during the search.
    const expected = [expectedBelow(least), expectedBelow(real.highWatermark)]
    ensure(
      expected.includes(found),
      () => `${name} finds ${found} for ${timestamp}, not ${expected.join(' or ')}`,
    )
  },
)
