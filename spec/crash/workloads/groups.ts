import { brokerWorkload, type Workload } from '../workload.ts'

/** Commits of offsets. */
export const GROUPS: readonly Workload[] = [
  brokerWorkload({
    name: 'commit',
    run: async (session) => {
      await session.open()
      await session.commit(1)
      await session.commit(2)
    },
  }),
  brokerWorkload({
    name: 'commit of several groups at once',
    run: async (session) => {
      await session.open()
      await Promise.all([
        session.commit(1, 'billing'),
        session.commit(2, 'shipping'),
        session.commit(2, 'audit'),
      ])
      await session.commit(1, 'shipping')
    },
  }),
  brokerWorkload({
    name: 'commit what was only written',
    run: async (session) => {
      await session.open()
      await session.append(2, { acks: 1 })
      await session.commit(4)
      await session.append(1, { acks: 1 })
    },
  }),
  brokerWorkload({
    name: 'commit on a relaxed topic',
    prepare: (session) => session.createTopic('relaxed', { flushMessages: 100 }),
    run: async (session) => {
      await session.open()
      await session.append(1, { topic: 'relaxed' })
      await session.append(1, { topic: 'relaxed' })
      await session.commit(1, 'billing', 'relaxed')
      await session.append(1, { topic: 'relaxed' })
    },
  }),
  brokerWorkload({
    name: 'consume with automatic commits',
    prepare: (session) => session.append(1, { partition: 1 }),
    run: async (session) => {
      await session.open()
      await session.consume('reporting')
      await session.append()
      await session.consume('reporting')
    },
  }),
]
