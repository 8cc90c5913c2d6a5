import { brokerWorkload, type Workload } from '../workload.ts'

/** Appends with every kind of acknowledgement, and of every size. */
export const APPENDS: readonly Workload[] = [
  brokerWorkload({
    name: 'append to two partitions',
    run: async (session) => {
      await session.open()
      await session.append()
      await session.append(1, { partition: 1 })
      await session.append()
    },
  }),
  brokerWorkload({
    name: 'append with every acknowledgement',
    run: async (session) => {
      await session.open()
      await session.append(1, { acks: 0 })
      await session.append(1, { acks: 1 })
      await session.append(2, { acks: 'all' })
      await session.append(1, { acks: 1 })
    },
  }),
  brokerWorkload({
    name: 'append many at once',
    run: async (session) => {
      await session.open()
      await Promise.all(Array.from({ length: 8 }, () => session.append()))
    },
  }),
  brokerWorkload({
    name: 'append batches of several records',
    run: async (session) => {
      await session.open()
      await session.append(3)
      await Promise.all([session.append(4), session.append(2), session.append(1, { partition: 1 })])
    },
  }),
  brokerWorkload({
    name: 'append records of several sectors',
    run: async (session) => {
      await session.open()
      await session.alter('orders', { segmentBytes: 8000 })
      await session.append(1, { sizeBytes: 1500 })
      await session.append(2, { sizeBytes: 700 })
      await session.append()
    },
  }),
  brokerWorkload({
    name: 'append to a preallocated topic, roll and close',
    prepare: (session) => session.createTopic('ahead', { preallocate: true, segmentBytes: 9000 }),
    run: async (session) => {
      await session.open()
      await session.append(1, { topic: 'ahead' })
      await session.append(1, { topic: 'ahead', sizeBytes: 4000 })
      await session.append(1, { topic: 'ahead', sizeBytes: 5000 })
      await session.append(1, { topic: 'ahead' })
      await session.close()
    },
  }),
  // One codec of the thread pool, and one that takes turns of the event loop.
  ...(['gzip', 'lz4'] as const).map((compressionType) =>
    brokerWorkload({
      name: `append to a topic compressed with ${compressionType}`,
      prepare: (session) => session.createTopic('packed', { compressionType }),
      run: async (session) => {
        await session.open()
        await session.append(2, { topic: 'packed', sizeBytes: 300 })
        await Promise.all([
          session.append(1, { topic: 'packed', acks: 1 }),
          session.append(3, { topic: 'packed', sizeBytes: 100 }),
        ])
        await session.append(1, { topic: 'packed' })
      },
    }),
  ),
  brokerWorkload({
    name: 'send through a producer to several partitions',
    run: async (session) => {
      await session.open()
      await session.send([0, 1, 0, 1, 0, 0, 1].map((partition) => ({ partition })))
    },
  }),
  brokerWorkload({
    name: 'append to a topic relaxed by count',
    prepare: (session) => session.createTopic('relaxed', { flushMessages: 3 }),
    run: async (session) => {
      await session.open()
      for (let each = 0; each < 7; each += 1) await session.append(1, { topic: 'relaxed' })
      await session.flush('relaxed')
      await session.append(2, { topic: 'relaxed' })
    },
  }),
  brokerWorkload({
    name: 'append to a topic relaxed by time',
    prepare: (session) =>
      session.createTopic('relaxed', { flushMessages: 1000, flushMs: 50, segmentBytes: 5000 }),
    run: async (session) => {
      await session.open()
      await session.append(1, { topic: 'relaxed' })
      await session.append(2, { topic: 'relaxed' })
      await session.pass(60, 'relaxed')
      await session.append(1, { topic: 'relaxed' })
    },
  }),
]
