import { brokerWorkload, type Workload } from '../workload.ts'

async function appendEach(session: { append: () => Promise<void> }, count: number): Promise<void> {
  for (let each = 0; each < count; each += 1) await session.append()
}

/** Deletion of records by the limits of retention. */
export const RETENTION: readonly Workload[] = [
  brokerWorkload({
    name: 'retention by size',
    prepare: (session) => appendEach(session, 7),
    run: async (session) => {
      await session.open()
      await session.append()
      const { log } = session.broker.topic('orders').partition(0)
      const slot = log.segments.length - 1
      const kept = log.segments.at(slot)
      await session.broker.topic('orders').alter({ retentionBytes: kept?.sizeBytes ?? 0 })
      await session.enforceRetention(kept?.baseOffset ?? 0)
      await session.append()
    },
  }),
  brokerWorkload({
    name: 'retention of every record, by time',
    prepare: (session) => appendEach(session, 3),
    run: async (session) => {
      await session.open()
      await session.broker.topic('orders').alter({ retentionMs: 0 })
      const { logEndOffset } = session.broker.topic('orders').partition(0)
      await session.clock.advance(10)
      await session.enforceRetention(logEndOffset)
      await session.append()
      await session.close()
    },
  }),
  brokerWorkload({
    name: 'retention of what was consumed, on a relaxed topic',
    prepare: (session) =>
      session.createTopic('relaxed', { flushMessages: 100, retention: 'consumed' }),
    run: async (session) => {
      await session.open()
      for (let each = 0; each < 6; each += 1) await session.append(1, { topic: 'relaxed' })
      await session.commit(4, 'billing', 'relaxed')
      await session.enforceRetention(4, 'relaxed')
      await session.append(1, { topic: 'relaxed' })
    },
  }),
  brokerWorkload({
    name: 'oldest segments that make room',
    prepare: (session) =>
      session.createTopic('capped', { maxBytes: 300, whenFull: 'dropOldest', segmentBytes: 150 }),
    run: async (session) => {
      await session.open()
      for (let each = 0; each < 5; each += 1) {
        const noted = session.partition('capped', 0)
        // Each append may delete older records to make room.
        noted.greatestStart = noted.history.length
        await session.append(1, { topic: 'capped' })
      }
      const { logStartOffset } = session.broker.topic('capped').partition(0)
      if (logStartOffset === 0) throw new Error('nothing was pushed out')
      session.partition('capped', 0).leastStart = logStartOffset
    },
  }),
]
