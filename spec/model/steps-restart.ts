import fc from 'fast-check'
import { anyShare } from '../helpers/any-share.ts'
import { LockLostError } from '../../lib/errors.ts'
import { BrokenPromise, ensure, type Loss } from './model-broker.ts'
import { DATA, type Session } from './session.ts'
import { step, type Step } from './step.ts'
import { join, settle } from './steps-consume.ts'
import { look, openReader } from './steps-reader.ts'
import { anyPlace } from './steps-produce.ts'

/** The clients that an application runs beside the broker; it starts them again after a restart. */
interface Crowd {
  readonly slots: readonly number[]
  readonly hasReader: boolean
}

function crowdOf(session: Session): Crowd {
  const slots = [...session.members.keys()].filter((slot) => session.members[slot] !== null)
  return { slots, hasReader: session.reader !== null }
}

/** Opens the broker again, and the clients beside it. */
async function openWith(session: Session, loss: Loss, crowd: Crowd): Promise<void> {
  await session.open(loss)
  if (crowd.hasReader && session.reader === null) await openReader(session)
  for (const slot of crowd.slots) join(session, slot)
  await settle(session)
}

/** After a clean close, everything survives. */
async function closeAndOpen(session: Session): Promise<void> {
  const { broker, clock } = session
  const crowd = crowdOf(session)
  const partitions = session.places().map(({ model }) => model)
  session.members = [null, null, null]
  session.model.isClosing = true
  await broker.close()
  for (const partition of partitions) partition.covered(partition.records.length)
  ensure(clock.pendingTimers === 0, () => `${clock.pendingTimers} timers outlive the broker`)
  await openWith(session, 'none', crowd)
}

export const reopen: fc.Arbitrary<Step> = step('reopen', fc.constant(null), closeAndOpen)

/**
 * Another process takes over the lock from an owner that does not notice. The old owner is as good
 * as dead, but the machine keeps running.
 */
async function takeOver(session: Session): Promise<void> {
  await session.settleAppends()
  const { broker } = session
  const crowd = crowdOf(session)
  const place = session.place(0)
  session.fileSystem.loseLock(DATA)
  const refusal = await place?.real
    .append({ value: 'of no owner' })
    .catch((error: unknown) => error)
  const isFenced = place === null || refusal instanceof LockLostError
  ensure(isFenced, () => `an append without the lock comes to ${String(refusal)}`)
  await openWith(session, 'process', crowd)
  // The old owner has no effect any more, even if it closes cleanly.
  await broker.close().catch(() => undefined)
  await session.check()
}

export const takeover: fc.Arbitrary<Step> = step('takeover', fc.constant(null), takeOver)

const loss = fc.record({
  loss: fc.constantFrom<('process' | 'power')[]>('process', 'power'),
  unsynced: fc.constantFrom<('random' | 'lost')[]>('random', 'lost'),
  seed: fc.nat(1000),
})

/** Stops the machine at rest, while no step is in progress. */
export const crash: fc.Arbitrary<Step> = step(
  'crash',
  loss,
  async (session, { loss, unsynced, seed }) => {
    session.restart(loss, { unsynced, seed })
    await session.open(loss)
  },
)

/** Stops the machine in the middle of `steps`, or after them. */
export function crashDuring(steps: fc.Arbitrary<Step>): fc.Arbitrary<Step> {
  const args = fc.record({
    during: steps,
    operation: fc.integer({ min: 1, max: 25 }),
    when: fc.constantFrom<('before' | 'after' | 'torn')[]>('before', 'after', 'torn'),
    then: loss,
  })
  return step('crashDuring', args, async (session, { during, operation, when, then }) => {
    const { fileSystem } = session
    const crowd = crowdOf(session)
    fileSystem.crashAt(operation, { when })
    try {
      await during.perform(session)
    } catch (error) {
      if (error instanceof BrokenPromise || !fileSystem.crashed) throw error
    }
    const { loss: kind, unsynced, seed } = then
    session.restart(kind, { unsynced, seed })
    await openWith(session, then.loss, crowd)
  })
}

/**
 * Durable records are lost, as on a disk that lies, and others are written in their place. Groups
 * beyond them are clamped at the next open, and a reader does not mix the two.
 */
export const loseTail: fc.Arbitrary<Step> = step(
  'loseTail',
  fc.record({
    at: anyPlace,
    share: anyShare,
    count: fc.nat(3),
    sizeBytes: fc.constantFrom(10, 300),
    then: fc.constantFrom<('reopen' | 'takeover')[]>('reopen', 'takeover'),
  }),
  async (session, { at, share, count, sizeBytes, then }) => {
    const place = session.place(at)
    if (place === null) return
    const { model, real } = place
    for (const member of session.members) await member?.consumer.close()
    session.members = [null, null, null]
    await session.settleAppends()
    await look(session)
    const offset = Math.round(model.start + share * (model.records.length - model.start))
    // Only complete batches are lost: a part of a batch would leave a gap.
    const [batch] = await real.log.reader.readBatches(offset, { maxBytes: 1 })
    const end = batch?.baseOffset ?? model.records.length
    if (end < model.start || end === model.records.length) return
    await real.log.truncateTo(end)
    model.cutTo(end)
    session.model.era += 1
    session.seen.delete(model)
    if (count > 0) {
      const { values, end: newEnd } = session.give(model, count, sizeBytes)
      await real.append(values.map((value) => ({ value })))
      model.acknowledged(newEnd, 'all')
      model.epoch = Math.max(model.epoch, real.log.leaderEpoch)
    }
    await look(session)
    await (then === 'reopen' ? closeAndOpen(session) : takeOver(session))
    await look(session)
  },
)
