import { brokerWorkload, type Workload } from '../workload.ts'

async function appendEach(session: { append: () => Promise<void> }, count: number): Promise<void> {
  for (let each = 0; each < count; each += 1) await session.append()
}

/** Segments that are rolled, saved and deleted. */
export const SEGMENTS: readonly Workload[] = [
  brokerWorkload({
    name: 'roll by size',
    run: async (session) => {
      await session.open()
      await appendEach(session, 7)
    },
  }),
  brokerWorkload({
    name: 'roll by time',
    prepare: (session) =>
      session.createTopic('timed', { partitions: 1, segmentMs: 1000, segmentBytes: 5000 }),
    run: async (session) => {
      await session.open()
      for (const timestamp of [1000, 1500, 3000, 5000]) {
        await session.append(1, { topic: 'timed', timestamp })
      }
    },
  }),
  brokerWorkload({
    name: 'roll by a full index',
    prepare: (session) =>
      session.createTopic('indexed', { segmentBytes: 5000, segmentIndexBytes: 24 }),
    run: async (session) => {
      await session.open()
      for (let each = 0; each < 5; each += 1) await session.append(1, { topic: 'indexed' })
    },
  }),
  brokerWorkload({
    name: 'roll of a relaxed topic',
    prepare: (session) => session.createTopic('relaxed', { flushMessages: 100 }),
    run: async (session) => {
      await session.open()
      for (let each = 0; each < 6; each += 1) await session.append(1, { topic: 'relaxed' })
    },
  }),
  brokerWorkload({
    name: 'flush what was only written',
    run: async (session) => {
      await session.open()
      await session.append(1, { acks: 1 })
      await session.append(1, { acks: 1, partition: 1 })
      await session.flush()
      await session.append(1, { acks: 1 })
    },
  }),
  brokerWorkload({
    name: 'save the recovery point',
    run: async (session) => {
      await session.open()
      await session.append()
      await session.broker.topic('orders').partition(0).log.checkpoint()
      await session.append()
      await session.append(1, { partition: 1 })
    },
  }),
  brokerWorkload({
    name: 'save all recovery points in time',
    run: async (session) => {
      await session.open()
      await appendEach(session, 4)
      await session.append(1, { partition: 1 })
      await session.clock.advance(60_000)
      await session.append()
    },
  }),
  brokerWorkload({
    name: 'delete records up to the middle of a segment',
    prepare: (session) => appendEach(session, 2),
    run: async (session) => {
      await session.open()
      await session.deleteRecords(1)
      await session.append()
    },
  }),
  brokerWorkload({
    name: 'delete records over segments',
    prepare: (session) => appendEach(session, 7),
    run: async (session) => {
      await session.open()
      await session.deleteRecords(6)
      await session.append()
      await session.deleteRecords(8)
    },
  }),
  brokerWorkload({
    name: 'delete every record',
    prepare: (session) => appendEach(session, 5),
    run: async (session) => {
      await session.open()
      await session.deleteRecords(7)
      await session.append()
      await session.close()
    },
  }),
]
