import type { Broker } from '../broker.ts'
import type { Source } from './quickstart-source.ts'

/** A run that resumes a week later must find what was done before. */
export const KEPT = { ifNotExists: true, retentionMs: -1 } as const

/** An input of the quickstart, with its own topics. */
export interface Input {
  readonly kind: Source['kind']
  /** Name of the source. */
  readonly source: string
  readonly topic: string
  readonly resultTopic: string
}

/**
 * Topic that records which topics belong to which source. A source is entered, durably, before the
 * first of its records is sent: whatever a crash interrupts, no topic contains two sources.
 */
const INPUTS_TOPIC = 'quickstart-inputs'

/** All inputs that the log has seen, in order of arrival. */
export async function knownInputs(broker: Broker): Promise<Input[]> {
  const inputs: Input[] = []
  if (!hasTopic(broker, INPUTS_TOPIC)) return inputs
  for await (const record of broker.topic(INPUTS_TOPIC).partition(0).records({ until: 'end' })) {
    inputs.push(JSON.parse(record.value?.toString('utf8') ?? '') as Input)
  }
  return inputs
}

/** The input of a source, entered as a new one if the log has not seen it. */
export async function inputOf(broker: Broker, { kind, name }: Source): Promise<Input> {
  const known = await knownInputs(broker)
  const found = known.find((input) => input.kind === kind && input.source === name)
  if (found !== undefined) return found
  const results = kind === 'files' ? 'file-hashes' : 'line-hashes'
  const isTaken = (topic: string): boolean =>
    hasTopic(broker, topic) ||
    known.some((input) => topic === input.topic || topic === input.resultTopic)
  let number = 1
  const numbered = (topic: string): string => (number === 1 ? topic : `${topic}${number}`)
  while (isTaken(numbered(kind)) || isTaken(numbered(results))) number += 1
  const input = {
    kind,
    source: name,
    topic: numbered(kind),
    resultTopic: numbered(results),
  }
  const topic = await broker.createTopic(INPUTS_TOPIC, KEPT)
  await topic.partition(0).append({ key: name, value: JSON.stringify(input) })
  return input
}

/** Number of records of an input in the log. */
export function recordCount(broker: Broker, { topic }: Input): number {
  if (!hasTopic(broker, topic)) return 0
  return broker
    .topic(topic)
    .partitions.reduce(
      (sum, { highWatermark, logStartOffset }) => sum + highWatermark - logStartOffset,
      0,
    )
}

function hasTopic(broker: Broker, name: string): boolean {
  return broker.topics().some((topic) => topic.name === name)
}
