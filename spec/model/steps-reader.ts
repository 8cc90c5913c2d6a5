import fc from 'fast-check'
import { Broker } from '../../lib/broker.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { ensure } from './model-broker.ts'
import { DATA, GROUPS, type Session, TABLE } from './session.ts'
import { step, type Step } from './step.ts'
import { anyPlace } from './steps-produce.ts'

/** How often a reader checks for topics and commits, and for records that a fetch waits for. */
const TOPICS_MS = 1_000
const RECORDS_MS = 50

export async function openReader(session: Session): Promise<void> {
  const clock = new ManualClock(session.clock.now())
  const { fileSystem } = session
  const broker = await Broker.open(DATA, { fileSystem, clock, readOnly: true })
  session.reader = { broker, clock }
}

/** Starts or stops a process that only reads. */
export const openOrCloseReader: fc.Arbitrary<Step> = step(
  'openOrCloseReader',
  fc.constant(null),
  async (session) => {
    const { reader } = session
    if (reader === null) {
      await openReader(session)
      return
    }
    session.reader = null
    session.seen.clear()
    await reader.broker.close()
  },
)

/** Checks what the reader sees: everything written, nothing else, and nothing less than before. */
export async function look(session: Session): Promise<void> {
  const { reader } = session
  if (reader === null) return
  await session.settleAppends()
  await reader.clock.advance(TOPICS_MS)
  const topics = reader.broker.topics().map(({ name }) => name)
  const names = topics.filter((name) => name !== TABLE)
  const known = [...session.model.topics.keys()].sort()
  ensure(names.join() === known.join(), () => `the reader has ${names.join()}, not ${known.join()}`)
  for (const { topic, index, name, model } of session.places()) {
    const partition = reader.broker.topic(topic).partition(index)
    await partition.refresh()
    const end = await session.checkRecords(`the reader's ${name}`, model, partition)
    const least = Math.max(model.written, session.seen.get(model) ?? 0)
    ensure(end >= least, () => `the reader's ${name} ends at ${end}, not at ${least}`)
    const start = partition.logStartOffset
    ensure(
      start === model.start,
      () => `the reader's ${name} starts at ${start}, not ${model.start}`,
    )
    session.seen.set(model, end)
    model.followed(end)
  }
  for (const groupId of GROUPS) {
    const consumer = reader.broker.consumer({ groupId })
    for (const { topic, index, name, model } of session.places()) {
      const found = (await consumer.committed({ topic, partition: index }))?.offset ?? -1
      const commits = session.model.commitsOf(`${groupId} ${name}`)
      // Commits beyond a truncation no longer count once the reader knows about it.
      const isKnown = commits.some(
        ({ offset, era }) => offset === found || Math.min(offset, model.endOfEra(era)) === found,
      )
      ensure(isKnown, () => `the reader has ${groupId} at ${found} of ${name}`)
    }
    await consumer.close()
  }
}

export const lookAtReader: fc.Arbitrary<Step> = step('lookAtReader', fc.constant(null), look)

/** A waiting fetch of the reader receives the records that the owner appends. */
export const follow: fc.Arbitrary<Step> = step('follow', anyPlace, async (session, at) => {
  const { reader } = session
  const place = session.place(at)
  if (reader === null || place === null) return
  await look(session)
  const { topic, index, name, model, real } = place
  const partition = reader.broker.topic(topic).partition(index)
  const from = partition.highWatermark
  const waiting = partition.fetch(from, { maxWaitMs: 4 * RECORDS_MS })
  waiting.catch(() => undefined)
  const { values, end } = session.give(model, 1, 1)
  await real.append({ value: values[0] ?? '' })
  model.acknowledged(end, 'all')
  model.epoch = Math.max(model.epoch, real.log.leaderEpoch)
  await reader.clock.advance(5 * RECORDS_MS)
  const found = await waiting
  ensure(found.length > 0, () => `the reader of ${name} is not woken`)
  found.forEach((record, slot) => {
    session.checkRecord(`the reader's ${name}`, model, record, from + slot)
  })
})
