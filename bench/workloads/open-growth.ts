import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { Broker } from '../../lib/broker.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import type { BenchCase, BenchContext, Measurement } from '../bench-case.ts'
import { measure, median } from '../measure.ts'
import { peerIn } from '../peers/peer.ts'
import { varvePeers } from '../peers/varve.ts'
import { ensureEqual, filledStore } from '../store.ts'
import { TOPIC, Workload } from '../workload.ts'

const VALUE_BYTES = 100
const RECORDS = 5_000_000
const GIGABYTES = 2
/** Large values, so that the bytes take most of the time. */
const LARGE_VALUE_BYTES = 65_536
const VALUES_PER_GIGABYTE = 2 ** 30 / LARGE_VALUE_BYTES
const SEGMENTS = 100
const PARTITIONS = 20
/** Factor between the smaller and the larger directory. */
const FACTORS = { records: 10, gigabytes: 10, segments: 100, partitions: 100 } as const
/** Records per segment, in one batch. */
const SEGMENT_RECORDS = 100
/** Larger than one such batch, smaller than two. */
const SEGMENT_BYTES = 16_384
const REOPENS = 10
const DIR = '/bench'
const VARVE = peerIn(varvePeers, 'varve')

/**
 * Whether the time to open a broker depends on the contents of its directory: ten times the records
 * or bytes in segments of the usual size, a hundred times the segments, or a hundred times the
 * partitions. Each directory is compared with the smaller one.
 */
export const openGrowthCases: readonly BenchCase[] = [
  ...pair('records', RECORDS, (records) => filledStore(VARVE, VALUE_BYTES, records)),
  ...pair('gigabytes', GIGABYTES, (gigabytes) =>
    filledStore(VARVE, LARGE_VALUE_BYTES, gigabytes * VALUES_PER_GIGABYTE),
  ),
  ...pair('segments', SEGMENTS, (segments) => ({
    name: `segments=${segments}`,
    fill: (context) => fillSegments(context, segments),
  })),
  ...pair('partitions', PARTITIONS, (partitions) => ({
    name: `partitions=${partitions}`,
    fill: (context) => fillPartitions(context, partitions),
  })),
]

function pair(
  what: keyof typeof FACTORS,
  base: number,
  storeOf: (count: number) => NonNullable<BenchCase['store']>,
): BenchCase[] {
  const caseOf = (count: number): string => `open/${what}=${count}`
  return [1, FACTORS[what]].map((factor) => ({
    name: caseOf(base * factor),
    workload: 'open',
    log: `${base * factor} ${what}`,
    valueBytes: what === 'gigabytes' ? LARGE_VALUE_BYTES : VALUE_BYTES,
    unit: 'ms',
    floor: factor === 1 ? null : caseOf(base),
    isLong: true,
    store: storeOf(base * factor),
    run: (context) => {
      const expected = {
        records: context.count(base * factor),
        gigabytes: context.count(base * factor * VALUES_PER_GIGABYTE),
        segments: base * factor * SEGMENT_RECORDS,
        partitions: base * factor,
      }
      return run(context, expected[what])
    },
  }))
}

/** @param records number of records in all partitions. */
async function run(context: BenchContext, records: number): Promise<Measurement> {
  const opened: Broker[] = []
  const descriptorsBefore = countDescriptors()
  const rssBefore = process.memoryUsage.rss()
  const { seconds, cpuMs, maxRssMb } = await measure(async () => {
    const broker = await Broker.open(context.dir)
    opened.push(broker)
    ensureEqual('records', recordsOf(broker), records)
  })
  const openRssMb = Math.max(0, process.memoryUsage.rss() - rssBefore) / 1024 / 1024
  const descriptors = countDescriptors() - descriptorsBefore
  for (const broker of opened) {
    if (!broker.recovery.cleanShutdown) throw new Error('it was not closed cleanly')
    await verifyEnds(broker)
    await broker.close()
  }
  const againMs: number[] = []
  for (let round = 0; round < REOPENS; round++) {
    const start = performance.now()
    const broker = await Broker.open(context.dir)
    againMs.push(performance.now() - start)
    await broker.close()
  }
  const extra = { againMs: median(againMs), openRssMb, descriptors }
  return { value: seconds * 1000, count: 1, cpuMs, maxRssMb, extra }
}

function recordsOf(broker: Broker): number {
  return broker.topic(TOPIC).partitions.reduce((sum, { highWatermark }) => sum + highWatermark, 0)
}

/** Checks that the first and the last record of every partition exist. */
async function verifyEnds(broker: Broker): Promise<void> {
  for (const partition of broker.topic(TOPIC).partitions) {
    const last = partition.highWatermark - 1
    for (const offset of [0, last]) {
      const [record] = await partition.read(offset, { maxRecords: 1 })
      ensureEqual('offset', record?.offset ?? -1, offset)
    }
  }
}

/** Open file descriptors; 0 on systems other than Linux. */
function countDescriptors(): number {
  return process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0
}

/** The library writes the files into memory first, because a roll takes several syncs on a disk. */
async function fillSegments({ dir }: BenchContext, segments: number): Promise<void> {
  const fileSystem = new SimulatedFileSystem()
  const broker = await Broker.open(DIR, { fileSystem, clock: new ManualClock(Date.now()) })
  const topic = await broker.createTopic(TOPIC, {
    segmentBytes: SEGMENT_BYTES,
    flushMessages: Number.MAX_SAFE_INTEGER,
  })
  const workload = new Workload(VALUE_BYTES)
  const partition = topic.partition(0)
  for (let segment = 0; segment < segments; segment++) {
    await partition.append(workload.appendedSlice(segment * SEGMENT_RECORDS, SEGMENT_RECORDS))
  }
  await broker.close()
  ensureEqual('segments', partition.log.segments.length, segments)
  for (const [path, content] of fileSystem.snapshot()) {
    const target = join(dir, relative(DIR, path))
    mkdirSync(dirname(target), { recursive: true, mode: 0o700 })
    writeFileSync(target, content, { mode: 0o600 })
  }
}

/** Each partition has one record. */
async function fillPartitions({ dir }: BenchContext, partitions: number): Promise<void> {
  const broker = await Broker.open(dir)
  const topic = await broker.createTopic(TOPIC, {
    partitions,
    flushMessages: Number.MAX_SAFE_INTEGER,
  })
  const [record] = new Workload(VALUE_BYTES).appendedSlice(0, 1)
  if (record === undefined) throw new Error('the workload has no record')
  for (const partition of topic.partitions) await partition.append(record)
  await broker.close()
}
