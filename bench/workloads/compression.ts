import { Broker } from '../../lib/broker.ts'
import type { TopicCompressionType } from '../../lib/config.ts'
import type { BenchCase, BenchContext, Measurement } from '../bench-case.ts'
import { measureWithLoop, rate } from '../measure.ts'
import { ensureEqual, sizeOnDisk } from '../store.ts'
import { inWindow, TOPIC } from '../workload.ts'

const RECORDS = 300_000
/** Appends in flight. */
const WINDOW = 8
/** Approximate size of the events from {@link eventOf}. */
const VALUE_BYTES = 75
const CODECS = ['uncompressed', 'gzip', 'snappy', 'lz4', 'zstd'] as const

/** The cost and savings of each codec for JSON events, compared with no codec. */
export const compressionCases: readonly BenchCase[] = (['append', 'replay'] as const).flatMap(
  (what) =>
    CODECS.map((codec): BenchCase => ({
      name: `compression/${what}/codec=${codec}`,
      workload: 'compression',
      log: `${what}, ${codec}`,
      valueBytes: VALUE_BYTES,
      unit: '/s',
      floor: codec === 'uncompressed' ? null : `compression/${what}/codec=uncompressed`,
      isLong: true,
      run: (context) => run(context, codec, what),
    })),
)

/** Appends events and reads them back; measures one of the two, and the compression ratio. */
async function run(
  context: BenchContext,
  compressionType: TopicCompressionType,
  what: 'append' | 'replay',
): Promise<Measurement> {
  const count = context.count(RECORDS)
  const broker = await Broker.open(context.dir)
  const relaxed = { flushMessages: Number.MAX_SAFE_INTEGER }
  const topic = await broker.createTopic(TOPIC, { compressionType, ...relaxed })
  const partition = topic.partition(0)
  let bytes = 0
  const append = await measureWithLoop(() =>
    inWindow(count, WINDOW, (from, size) => {
      const values = eventsFrom(from, size)
      for (const { value } of values) bytes += value.length
      return partition.append(values)
    }),
  )
  let read = 0
  let readBytes = 0
  const replay = await measureWithLoop(async () => {
    for await (const { value } of partition.records({ until: 'end' })) {
      read += 1
      readBytes += value?.length ?? 0
    }
  })
  ensureEqual('count', read, count)
  ensureEqual('bytes of the values', readBytes, bytes)
  await broker.close()
  const { lap, loop } = what === 'append' ? append : replay
  const ratio = bytes / sizeOnDisk(context.dir)
  return rate(lap, { count, bytes }, { ...loop, ratio })
}

function eventsFrom(first: number, count: number): { readonly value: string }[] {
  return Array.from({ length: count }, (_, index) => ({ value: eventOf(first + index) }))
}

/** An event as applications log them. */
function eventOf(id: number): string {
  const user = `user-${(id * 7919) % 997}`
  return JSON.stringify({ id, user, action: 'update', at: 1_700_000_000_000 + id * 37 })
}
