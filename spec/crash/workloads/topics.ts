import { brokerWorkload, type Workload } from '../workload.ts'

/** Topics that are created, changed and deleted. */
export const TOPICS: readonly Workload[] = [
  brokerWorkload({
    name: 'create a topic',
    run: async (session) => {
      await session.open()
      await session.createTopic('new', { partitions: 2 })
    },
  }),
  brokerWorkload({
    name: 'create a topic and append to it',
    run: async (session) => {
      await session.open()
      await session.createTopic('new')
      await session.append(1, { topic: 'new' })
    },
  }),
  brokerWorkload({
    name: 'delete a topic',
    prepare: async (session) => {
      await session.createTopic('old', { partitions: 2 })
      await session.append(1, { topic: 'old' })
      await session.append(1, { topic: 'old', partition: 1 })
    },
    run: async (session) => {
      await session.open()
      await session.deleteTopic('old')
      await session.append()
    },
  }),
  brokerWorkload({
    name: 'recreate a topic under the same name',
    prepare: async (session) => {
      await session.createTopic('again', { partitions: 2 })
      await session.append(1, { topic: 'again' })
      await session.append(1, { topic: 'again', partition: 1 })
      await session.commit(1, 'billing', 'again')
    },
    run: async (session) => {
      await session.open()
      await session.deleteTopic('again')
      await session.createTopic('again')
      await session.append(1, { topic: 'again' })
    },
  }),
  brokerWorkload({
    name: 'add partitions and append to them',
    run: async (session) => {
      await session.open()
      await session.addPartitions('orders', 4)
      await session.append(1, { partition: 2 })
    },
  }),
  brokerWorkload({
    name: 'change the configuration',
    run: async (session) => {
      await session.open()
      await session.alter('orders', { segmentBytes: 5000 })
      await session.append()
      await session.alter('orders', { segmentBytes: 200 })
      await session.append()
    },
  }),
]
