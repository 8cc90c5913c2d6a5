import fc from 'fast-check'
import { COMPRESSION_TYPES } from '../../lib/record/compression.ts'
import { ensure } from './model-broker.ts'
import { step, type Step } from './step.ts'

/** Selects a partition; see `Session.place`. */
export const anyPlace: fc.Arbitrary<number> = fc.nat(5)

const acks = fc.constantFrom<(0 | 1 | 'all')[]>('all', 1, 0)
const batch = { count: fc.integer({ min: 1, max: 4 }), sizeBytes: fc.constantFrom(1, 40, 200) }

/** Appends records to a partition in one call. */
export const append: fc.Arbitrary<Step> = step(
  'append',
  fc.record({ at: anyPlace, acks, ...batch }),
  async (session, { at, acks, count, sizeBytes }) => {
    const place = session.place(at)
    if (place === null) return
    const { model, real, name } = place
    const { values, end } = session.give(model, count, sizeBytes)
    const { baseOffset } = await real.append(
      values.map((value) => ({ value })),
      { acks },
    )
    if (acks === 0) return
    ensure(baseOffset === end - count, () => `${name} appends at ${baseOffset}, not ${end - count}`)
    model.acknowledged(end, acks)
    model.epoch = Math.max(model.epoch, real.log.leaderEpoch)
    // A reader at this moment must not see records that can vanish.
    model.seen(real.highWatermark)
  },
)

/** Sends records through a producer, to several partitions, with its batching and its close. */
export const send: fc.Arbitrary<Step> = step(
  'send',
  fc.record({
    places: fc.array(anyPlace, { minLength: 1, maxLength: 8 }),
    acks,
    lingerMs: fc.constantFrom(0, 5),
    compressionType: fc.constantFrom(...COMPRESSION_TYPES),
    isFlushed: fc.boolean(),
  }),
  async (session, { places, acks, lingerMs, compressionType, isFlushed }) => {
    const producer = session.broker.producer({ acks, lingerMs, compressionType, batchSize: 150 })
    const sends = places.map(async (at) => {
      const place = session.place(at)
      if (place === null) return
      const { topic, index, model, real, name } = place
      const { values, end } = session.give(model, 1, 10)
      const value = values[0] ?? ''
      const { offset } = await producer.send({ topic, partition: index, value })
      if (acks === 0) return
      ensure(offset === end - 1, () => `${name} appends at ${offset}, not ${end - 1}`)
      model.acknowledged(end, acks)
      model.seen(real.highWatermark)
    })
    // Sends may be rejected while the flush still waits for others.
    const sending = Promise.allSettled(sends)
    if (isFlushed) await producer.flush()
    const [closing] = await Promise.allSettled([producer.close()])
    for (const outcome of [...(await sending), closing])
      if (outcome.status === 'rejected') throw outcome.reason
  },
)

/** Flushes a partition. */
export const flush: fc.Arbitrary<Step> = step('flush', anyPlace, async (session, at) => {
  const place = session.place(at)
  if (place === null) return
  // What is acknowledged as written before the call.
  const end = place.model.written
  await place.real.flush()
  place.model.covered(end)
})

/** Work that a log does automatically from time to time. */
export const maintain: fc.Arbitrary<Step> = step(
  'maintain',
  fc.record({ at: anyPlace, how: fc.constantFrom('roll' as const, 'checkpoint' as const) }),
  async (session, { at, how }) => {
    await session.place(at)?.real.log[how]()
  },
)

/** Verifies that no stored data is damaged. */
export const verify: fc.Arbitrary<Step> = step('verify', anyPlace, async (session, at) => {
  const damage = await session.place(at)?.real.log.verify()
  ensure((damage ?? []).length === 0, () => `verify finds ${String(damage?.[0])}`)
})
