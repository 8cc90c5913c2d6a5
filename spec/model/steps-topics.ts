import fc from 'fast-check'
import { KEPT, type Session } from './session.ts'
import type { ModelTopic } from './model-broker.ts'
import { step, type Step } from './step.ts'
import { settle } from './steps-consume.ts'

/** Topics that are created and deleted. A topic without flush settings is strict. */
const NAMES = ['orders', 'events'] as const
const FLUSH = [
  { flushMessages: 1, flushMs: Number.MAX_SAFE_INTEGER },
  { flushMessages: 3, flushMs: Number.MAX_SAFE_INTEGER },
  { flushMessages: 100, flushMs: 1_000 },
] as const

/** Most topics leave the codec to producers. */
const TOPIC_COMPRESSION = ['producer', 'producer', 'gzip', 'snappy', 'lz4', 'zstd'] as const

const topicName = fc.constantFrom(...NAMES)

/** Changes the topics. Both states are possible until it is done. Then the groups settle. */
async function change(
  session: Session,
  name: string,
  after: ModelTopic | null,
  perform: () => Promise<unknown>,
): Promise<void> {
  session.model.changing = { name, after }
  await perform()
  session.model.changed()
  await settle(session)
}

export const createTopic: fc.Arbitrary<Step> = step(
  'createTopic',
  fc.record({
    name: topicName,
    partitions: fc.integer({ min: 1, max: 2 }),
    flush: fc.constantFrom(...FLUSH),
    compressionType: fc.constantFrom(...TOPIC_COMPRESSION),
  }),
  async (session, { name, partitions, flush, compressionType }) => {
    if (session.model.topics.has(name)) return
    const { segmentBytes, preallocate } = session.setup
    const options = {
      partitions,
      segmentBytes,
      preallocate,
      indexIntervalBytes: 40,
      compressionType,
      ...flush,
      ...KEPT,
    }
    await change(session, name, session.modelTopic(partitions, flush), () =>
      session.broker.createTopic(name, options),
    )
  },
)

export const deleteTopic: fc.Arbitrary<Step> = step(
  'deleteTopic',
  topicName,
  async (session, name) => {
    if (!session.model.topics.has(name)) return
    await change(session, name, null, () => session.broker.deleteTopic(name))
  },
)

export const addPartition: fc.Arbitrary<Step> = step(
  'addPartition',
  topicName,
  async (session, name) => {
    const topic = session.model.topics.get(name)
    if (topic === undefined || topic.partitions.length >= 3) return
    const total = topic.partitions.length + 1
    await change(session, name, session.modelTopic(total, topic, topic.partitions), () =>
      session.broker.topic(name).addPartitions(total),
    )
  },
)
