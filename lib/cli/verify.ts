import type { Broker } from '../broker.ts'
import type { Partition } from '../broker/partition.ts'
import type { Topic } from '../broker/topic.ts'
import { reasonOf } from '../checks.ts'
import type { CorruptRecordError } from '../errors.ts'
import { isSystemError } from '../platform/system-error.ts'
import { FOUND_BAD, type Command, type CommandStreams } from './command.ts'
import { readArguments, UsageError } from './command-arguments.ts'
import { damageOf, type JsonDamage } from './damage.ts'
import { openForReading } from './open-for-reading.ts'
import { jsonLine } from './record-line.ts'
import { counted, inBytes, printable, Progress } from './report.ts'

const HELP = `varve verify DIR [TOPIC...] [--json]

Reads every batch of these topics, or of all topics and the committed offsets, from end to end and
compares checksums. The directory is only read, and may be open in another program. After damage it
continues, and reports the first damage of each file and everything that it cannot read.

  --json  one line of JSON for each partition
  --help  show this text

Exit codes: 0 no damage found; 1 failed, or something could not be read and nothing else is
damaged; 2 the command line is invalid; 3 something is damaged.
`

/** Searches for damage. */
export const verifyCommand: Command = {
  usage: 'DIR [TOPIC...]',
  summary: 'check all stored data for damage',
  help: HELP,
  run: verify,
}

/** Result of reading one partition. */
interface Verified {
  readonly topic: string
  readonly partition: number
  readonly segmentCount: number
  readonly sizeBytes: number
  readonly damage: readonly JsonDamage[]
  /** Why it was not read to its end; `null` if it was. */
  readonly failure: string | null
}

async function verify(args: readonly string[], streams: CommandStreams): Promise<number> {
  const { values, positionals } = readArguments('varve verify', args, { json: { type: 'boolean' } })
  const [dir = '', ...names] = positionals
  if (dir === '') throw new UsageError('verify takes a directory and optionally topics')
  const broker = await openForReading(dir)
  try {
    const verified = await verifyAll(topicsOf(broker, names), streams, values.json === true)
    const damagedCount = verified.filter(({ damage }) => damage.length > 0).length
    const failedCount = verified.filter(({ failure }) => failure !== null).length
    if (values.json !== true) {
      const sizeBytes = verified.reduce((sum, each) => sum + each.sizeBytes, 0)
      const bad = [
        ...(damagedCount === 0 ? [] : [`${damagedCount} damaged`]),
        ...(failedCount === 0 ? [] : [`${failedCount} could not be read`]),
      ]
      streams.stdout.write(
        `${counted(verified.length, 'partition')}, ${inBytes(sizeBytes)}: ` +
          `${bad.length === 0 ? 'no damage found' : bad.join(', ')}\n`,
      )
    }
    if (damagedCount > 0) return FOUND_BAD
    return failedCount > 0 ? 1 : 0
  } finally {
    await broker.close()
  }
}

function topicsOf(broker: Broker, names: readonly string[]): Topic[] {
  const wanted = names.length > 0 ? names : broker.describe().topics.map(({ name }) => name)
  return wanted.map((name) => broker.topic(name))
}

async function verifyAll(
  topics: readonly Topic[],
  { stdout, stderr }: CommandStreams,
  isJson: boolean,
): Promise<Verified[]> {
  const partitions = topics.flatMap((topic) => [...topic.partitions])
  const verified: Verified[] = []
  const progress = new Progress(
    stderr,
    () => `${counted(verified.length, 'partition')} of ${partitions.length} read`,
  )
  try {
    for (const partition of partitions) {
      const each = await verifyOne(partition)
      // The owner has deleted it meanwhile.
      if (partition.isClosed) continue
      verified.push(each)
      progress.giveWay()
      if (isJson) stdout.write(`${jsonLine(each)}\n`)
      else stdout.write(badLines(each))
    }
  } finally {
    progress.stop()
  }
  return verified
}

async function verifyOne(partition: Partition): Promise<Verified> {
  const { segments, bytes } = partition.diskUsage()
  const { log, index } = partition
  const found: CorruptRecordError[] = []
  let failure: string | null = null
  try {
    found.push(...(await log.verify()))
  } catch (error) {
    // The other partitions are still verified.
    failure = reasonOf(error)
  }
  // The open may have found damage that is in no readable file, such as that a file is missing.
  if (log.damage !== null && found.length === 0) {
    if (isSystemError(log.damage.cause)) failure ??= log.damage.message
    else found.push(log.damage)
  }
  return {
    ...{ topic: log.topic, partition: index, segmentCount: segments, sizeBytes: bytes },
    damage: found.map(damageOf),
    failure,
  }
}

function badLines({ topic, partition, damage, failure }: Verified): string {
  const lines = damage.map(({ message }) => `${topic}-${partition} is damaged: ${message}`)
  if (failure !== null) lines.push(`${topic}-${partition} could not be read: ${failure}`)
  return lines.map((line) => `${printable(line)}\n`).join('')
}
