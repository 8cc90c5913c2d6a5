import { gunzipSync } from 'node:zlib'
import { parquetReadObjects } from 'hyparquet'
import { onTestFinished } from 'vitest'
import type { Broker, Clock, TopicConfig } from '../../lib/index.ts'
import type {
  LoadTask,
  OffsetRange,
  Sink,
  TaskResult,
  TaskWriter,
} from '../../lib/offline/index.ts'
import type { StoredRecord } from '../../lib/index.ts'
import { SimulatedFileSystem, tempBroker } from '../../lib/testing/index.ts'

export const OUT = '/out'

/** A broker in memory, which is closed with the test. */
export async function brokerFor(
  fileSystem: SimulatedFileSystem = new SimulatedFileSystem(),
  clock?: Clock,
): Promise<Broker> {
  const broker = await tempBroker({ fileSystem, ...(clock === undefined ? {} : { clock }) })
  onTestFinished(() => broker.close().catch(() => undefined))
  return broker
}

/** Fills a topic with records `{"id":n}`, several per batch, in segments of a few batches. */
export async function fill(
  broker: Broker,
  topic = 'orders',
  counts: readonly number[] = [100],
  config: TopicConfig = {},
): Promise<void> {
  const { partitions } = await broker.createTopic(topic, {
    partitions: counts.length,
    segmentBytes: 1000,
    indexIntervalBytes: 100,
    ...config,
  })
  for (const [index, count] of counts.entries()) {
    for (let from = 0; from < count; from += 5) {
      const ids = Array.from({ length: Math.min(5, count - from) }, (_, each) => from + each)
      const records = ids.map((id) => ({
        key: `k${id}`,
        value: JSON.stringify({ id }),
        timestamp: 1000 + id,
      }))
      await partitions[index]?.append(records)
    }
  }
}

export async function committed(
  broker: Broker,
  partition = 0,
  name = 'varve-load',
  topic = 'orders',
): Promise<number | null> {
  const consumer = broker.consumer({ groupId: name, enableAutoCommit: false })
  try {
    return (await consumer.committed({ topic, partition }))?.offset ?? null
  } finally {
    await consumer.close()
  }
}

export type JsonRow = Readonly<Record<string, unknown>> & { readonly offset: number }

/** The rows of all published NDJSON files of a partition, in the order of the file names. */
export function rowsIn(
  fileSystem: SimulatedFileSystem,
  partition = 0,
  topic = 'orders',
): JsonRow[] {
  const directory = `${OUT}/topic=${topic}/partition=${partition}/`
  const rows: JsonRow[] = []
  for (const [path, content] of fileSystem.snapshot()) {
    if (!path.startsWith(directory) || path.slice(directory.length).startsWith('_')) continue
    const text = (path.endsWith('.gz') ? gunzipSync(content) : content).toString('utf8')
    for (const line of text.split('\n').slice(0, -1)) rows.push(JSON.parse(line) as JsonRow)
  }
  return rows
}

export function offsetsIn(
  fileSystem: SimulatedFileSystem,
  partition = 0,
  topic = 'orders',
): number[] {
  return rowsIn(fileSystem, partition, topic).map(({ offset }) => offset)
}

export function upTo(end: number, start = 0): number[] {
  return Array.from({ length: end - start }, (_, index) => start + index)
}

/** The names of all files below a directory. */
export function namesIn(fileSystem: SimulatedFileSystem, directory: string = OUT): string[] {
  return [...fileSystem.snapshot().keys()]
    .filter((path) => path.startsWith(`${directory}/`))
    .map((path) => path.slice(directory.length + 1))
}

export function record(offset: number, over: Partial<StoredRecord> = {}): StoredRecord {
  return {
    topic: 'orders',
    partition: 0,
    offset,
    timestamp: 1_700_000_000_000,
    key: Buffer.from(`k${offset}`),
    value: Buffer.from(`{"id":${offset}}`),
    headers: [],
    ...over,
  }
}

export function task(startOffset: number, endOffset: number, partition = 0): LoadTask {
  return { topic: 'orders', partition, startOffset, endOffset }
}

/** Loads records into a sink as one task. */
export async function put(
  sink: Sink,
  each: LoadTask,
  records: readonly StoredRecord[],
): Promise<TaskResult> {
  const writer = await sink.open(each)
  await writer.write(records)
  return writer.commit()
}

/** A sink in memory, whose calls a test can hold or make fail. */
export class MemorySink implements Sink {
  readonly tasks: { readonly task: LoadTask; readonly offsets: readonly number[] }[] = []
  /** Called before each write and commit, and after a commit, with what is being done. */
  before: (
    what: 'open' | 'write' | 'commit' | 'committed',
    task: LoadTask,
  ) => Promise<void> | void = () => undefined
  aborted = 0
  openCount = 0
  mostOpen = 0

  published(
    { topic, partition }: { topic: string; partition: number },
    fromOffset: number,
  ): Promise<OffsetRange[]> {
    const own = this.tasks.filter(
      ({ task: each }) => each.topic === topic && each.partition === partition,
    )
    return Promise.resolve(
      own.map(({ task: each }) => each).filter(({ endOffset }) => endOffset > fromOffset),
    )
  }

  async open(each: LoadTask): Promise<TaskWriter> {
    await this.before('open', each)
    this.openCount += 1
    this.mostOpen = Math.max(this.mostOpen, this.openCount)
    const offsets: number[] = []
    return {
      write: async (records) => {
        await this.before('write', each)
        for (const { offset } of records) offsets.push(offset)
      },
      commit: async () => {
        await this.before('commit', each)
        this.tasks.push({ task: each, offsets })
        this.openCount -= 1
        await this.before('committed', each)
        return { records: offsets.length, rejected: 0, bytes: 0 }
      },
      abort: () => {
        this.aborted += 1
        this.openCount -= 1
        return Promise.resolve()
      },
    }
  }

  /** The offsets of a partition, sorted, each as often as it occurs. */
  offsets(partition = 0): number[] {
    return this.tasks
      .filter(({ task: each }) => each.partition === partition)
      .flatMap(({ offsets }) => offsets)
      .sort((left, right) => left - right)
  }
}

const GZIP = { GZIP: (input: Uint8Array): Uint8Array => new Uint8Array(gunzipSync(input)) }

/** The rows of a Parquet file in memory. */
export async function parquetRows(bytes: Buffer): Promise<Readonly<Record<string, unknown>>[]> {
  const content = new Uint8Array(bytes).buffer
  return parquetReadObjects({ file: content, utf8: false, compressors: GZIP })
}

export async function parquetOffsets(
  fileSystem: SimulatedFileSystem,
  partition = 0,
  topic = 'orders',
): Promise<number[]> {
  const directory = `${OUT}/topic=${topic}/partition=${partition}/`
  const offsets: number[] = []
  for (const [path, content] of fileSystem.snapshot()) {
    if (!path.startsWith(directory) || path.slice(directory.length).startsWith('_')) continue
    for (const { offset } of await parquetRows(content)) offsets.push(Number(offset))
  }
  return offsets
}
