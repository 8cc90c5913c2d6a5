import { Broker } from '../../lib/broker.ts'
import type { CompactionReport } from '../../lib/index.ts'
import type { BenchCase, BenchContext, Measurement } from '../bench-case.ts'
import { measureWithLoop, rate } from '../measure.ts'
import { ensureEqual } from '../store.ts'
import { TOPIC } from '../workload.ts'

const RECORDS = 500_000
/** Records per key. */
const VERSIONS = 10
const BATCH_RECORDS = 1000
const VALUE_BYTES = 100
const SEGMENT_BYTES = 8 * 1024 * 1024

/** The throughput of a pass of compaction, and the delay of the event loop during the pass. */
export const compactionCases: readonly BenchCase[] = (
  ['one pass', 'nothing to remove'] as const
).map((what): BenchCase => ({
  name: `compaction/${what.replaceAll(' ', '-')}`,
  workload: 'compaction',
  log: what,
  valueBytes: VALUE_BYTES,
  unit: '/s',
  floor: null,
  isLong: true,
  run: (context) => run(context, what === 'one pass' ? VERSIONS : 1),
}))

async function run(context: BenchContext, versions: number): Promise<Measurement> {
  const count = context.count(RECORDS)
  const keyCount = Math.ceil(count / versions)
  // Compaction must not start automatically.
  const broker = await Broker.open(context.dir, { cleanerBackoffMs: 3_600_000 })
  const topic = await broker.createTopic(TOPIC, {
    cleanupPolicy: 'compact',
    segmentBytes: SEGMENT_BYTES,
    flushMessages: Number.MAX_SAFE_INTEGER,
  })
  const partition = topic.partition(0)
  for (let from = 0; from < count; from += BATCH_RECORDS) {
    const length = Math.min(BATCH_RECORDS, count - from)
    await partition.append(
      Array.from({ length }, (_, index) => ({
        key: `key-${((from + index) * 7919) % keyCount}`.padEnd(16),
        value: `${from + index}`.padEnd(VALUE_BYTES, '.'),
      })),
    )
  }
  const reports: CompactionReport[] = []
  const { lap, loop } = await measureWithLoop(async () => {
    reports.push(await partition.compact())
  })
  const [report] = reports
  if (report === undefined) throw new Error('there was no pass')
  ensureEqual('records read', report.recordsRead, count)
  const kept = new Map<string, number>()
  for await (const { key, offset } of partition.records({ until: 'end' })) {
    kept.set(String(key), offset)
  }
  ensureEqual('keys', kept.size, Math.min(keyCount, count))
  ensureEqual('records kept', report.recordsKept, kept.size)
  await broker.close()
  const ratio = report.bytesBefore / Math.max(1, report.bytesAfter)
  return rate(lap, { count, bytes: report.bytesBefore }, { ...loop, ratio })
}
