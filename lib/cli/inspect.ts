import type { Broker } from '../broker.ts'
import type { TopicDescription } from '../broker/broker-description.ts'
import type { GroupDescription } from '../broker/group-coordinator.ts'
import type { Partition } from '../broker/partition.ts'
import type { Command, CommandStreams } from './command.ts'
import { readArguments, UsageError } from './command-arguments.ts'
import { damageOf, type JsonDamage } from './damage.ts'
import { openForReading } from './open-for-reading.ts'
import { jsonLine } from './record-line.ts'
import { counted, inBytes, printable, table, timeText } from './report.ts'

const HELP = `varve inspect DIR [--json]

Shows the topics and consumer groups of a directory and their positions. The directory is only read,
and may be open in another program.

  --json  the same, and the settings of the topics, as one line of JSON
  --help  show this text

Exit codes: 0 done, even if partitions are damaged; 1 failed; 2 the command line is invalid.
`

/** Shows what a data directory contains. */
export const inspectCommand: Command = {
  usage: 'DIR',
  summary: 'show the topics and groups and their positions',
  help: HELP,
  run: inspect,
}

/** One partition, with the timestamp of its last record. */
interface InspectedPartition {
  readonly topic: string
  readonly partition: number
  readonly logStartOffset: number
  readonly highWatermark: number
  readonly segmentCount: number
  readonly sizeBytes: number
  readonly leaderEpoch: number
  /** Milliseconds since the epoch; `null` if there is no record, or it cannot be read. */
  readonly lastTimestamp: number | null
  readonly damage: JsonDamage | null
}

/** The position of a group in one partition. */
interface InspectedOffset {
  readonly groupId: string
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly highWatermark: number
  readonly lag: number
  /** Timestamp of the first record that it has not consumed. */
  readonly oldestTimestamp: number | null
}

async function inspect(args: readonly string[], { stdout }: CommandStreams): Promise<number> {
  const { values, positionals } = readArguments('varve inspect', args, {
    json: { type: 'boolean' },
  })
  const [dir = '', ...others] = positionals
  if (dir === '' || others.length > 0) {
    throw new UsageError(`inspect takes one directory, got '${positionals.join(' ')}'`)
  }
  const broker = await openForReading(dir)
  try {
    const { topics, groups, clusterId } = broker.describe()
    // The owner may delete a topic while another one is read.
    const found = topics.map((topic) => ({ topic, of: broker.topic(topic.name).partitions }))
    const partitions: InspectedPartition[] = []
    for (const { topic, of } of found) partitions.push(...(await partitionsOf(topic, of)))
    const offsets: InspectedOffset[] = []
    for (const group of groups) offsets.push(...(await offsetsOf(broker, group)))
    if (values.json === true) {
      const settings = topics.map(({ name, id, internal, config }) => {
        return { name, id, internal, config }
      })
      const all = { dir: broker.dir, clusterId, topics: settings, partitions, offsets }
      stdout.write(`${jsonLine(all)}\n`)
      return 0
    }
    const own = topics.filter(({ internal }) => !internal)
    const counts = `${counted(own.length, 'topic')}, ${counted(groups.length, 'group')}`
    stdout.write(`${printable(broker.dir)}: ${counts}\n`)
    const names = new Set(own.map(({ name }) => name))
    const shown = partitions.filter(({ topic }) => names.has(topic))
    if (shown.length > 0) stdout.write(`\n${partitionTable(shown)}\n`)
    if (offsets.length > 0) stdout.write(`\n${offsetTable(offsets)}\n`)
    tellDamage(partitions, stdout)
    return 0
  } finally {
    await broker.close()
  }
}

async function partitionsOf(
  { name, partitions: descriptions }: TopicDescription,
  partitions: readonly Partition[],
): Promise<InspectedPartition[]> {
  const inspected: InspectedPartition[] = []
  for (const described of descriptions) {
    const { partition: index, logStartOffset, highWatermark, segmentCount, sizeBytes } = described
    const partition = partitions[index]
    if (partition === undefined) continue
    const { damage } = partition.log
    inspected.push({
      ...{ topic: name, partition: index, logStartOffset, highWatermark, segmentCount, sizeBytes },
      leaderEpoch: described.leader.epoch,
      lastTimestamp: await timestampAt(partition, 'last'),
      damage: damage === null ? null : damageOf(damage),
    })
  }
  return inspected
}

async function offsetsOf(
  broker: Broker,
  { groupId, offsets }: GroupDescription,
): Promise<InspectedOffset[]> {
  const inspected: InspectedOffset[] = []
  const topics = new Map(broker.topics().map((topic) => [topic.name, topic]))
  for (const { topic, partition: index, offset } of offsets) {
    const partition = topics.get(topic)?.partitions[index]
    if (partition === undefined) continue
    const { highWatermark, logStartOffset } = partition
    const from = Math.max(offset, logStartOffset)
    inspected.push({
      ...{ groupId, topic, partition: index, offset, highWatermark },
      lag: Math.max(0, highWatermark - from),
      oldestTimestamp: from < highWatermark ? await timestampAt(partition, from) : null,
    })
  }
  return inspected
}

/** `null` if there is no such record, or it cannot be read. */
async function timestampAt(partition: Partition, offset: number | 'last'): Promise<number | null> {
  try {
    if (offset !== 'last') {
      const [record] = await partition.read(offset, { maxRecords: 1 })
      return record?.timestamp ?? null
    }
    // The last one that can be read: a damaged log has no last record.
    const until = partition.highWatermark
    for await (const { timestamp } of partition.records({ reverse: true, until })) return timestamp
    return null
  } catch {
    // Its damage is reported elsewhere.
    return null
  }
}

function partitionTable(partitions: readonly InspectedPartition[]): string {
  const rows = partitions.map((each) => [
    `${each.topic}-${each.partition}`,
    each.logStartOffset,
    each.highWatermark,
    each.segmentCount,
    inBytes(each.sizeBytes),
    timeText(each.lastTimestamp),
  ])
  return table(['partition', 'start', 'end', 'segments', 'size', 'last record (UTC)'], rows)
}

function offsetTable(offsets: readonly InspectedOffset[]): string {
  const rows = offsets.map(({ groupId, topic, partition, offset, lag, oldestTimestamp }) => [
    `${printable(groupId)}: ${topic}-${partition}`,
    offset,
    lag,
    timeText(oldestTimestamp),
  ])
  return table(['group: partition', 'committed', 'lag', 'oldest in lag (UTC)'], rows)
}

function tellDamage(
  partitions: readonly InspectedPartition[],
  stdout: CommandStreams['stdout'],
): void {
  for (const { topic, partition, damage } of partitions) {
    if (damage === null) continue
    stdout.write(`\n${topic}-${partition} is damaged: ${printable(damage.message)}\n`)
  }
}
