import { latencies, measure, rate } from '../measure.ts'
import type { PeerLog } from '../peers/peer.ts'
import { ensureEqual } from '../store.ts'
import { bytesOf, Workload } from '../workload.ts'
import type { WorkloadDefinition } from './definition.ts'

const STORED = 1_000_000
/**
 * Enough reads that the reads take the time, not the compilation of the code. On average, each
 * stretch of a thousand records is read a hundred times, so a log's own cache counts too.
 */
const READS = 100_000
/** Records per read. */
const READ_RECORDS = 11
/** Reads that are repeated to verify every byte. */
const CHECKED_READS = 500

/** Small reads per second at random offsets of a log. */
export const randomRead: WorkloadDefinition = {
  name: 'W5',
  title: `random reads of ${READ_RECORDS} records`,
  text:
    `One caller reads ${READ_RECORDS} records from a random offset on, one read after the other, ` +
    'with the files in the page cache.',
  unit: '/s',
  valueSizes: [100],
  floor: 'raw',
  stored: () => STORED,
  run: async (context, { peer, valueBytes, share }) => {
    const offsets = randomOffsets(context.count(READS), context.count(STORED * share))
    const open = await peer.load()
    const log = await open(context.dir, { flush: 'relaxed', valueBytes })
    const samplesMs = new Float64Array(offsets.length)
    const lap = await measure(() => readAll(log, offsets, samplesMs))
    await verifyReads(log, offsets.slice(0, CHECKED_READS), new Workload(valueBytes))
    await log.close()
    return rate(lap, { count: offsets.length }, latencies(samplesMs))
  },
}

/** Offsets across the whole store, the same in every run. */
function randomOffsets(reads: number, stored: number): number[] {
  let state = 12345
  return Array.from({ length: reads }, () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return Math.floor((state / 2 ** 32) * (stored - READ_RECORDS))
  })
}

async function readAll(
  log: PeerLog,
  offsets: readonly number[],
  samplesMs: Float64Array,
): Promise<void> {
  let bytes = 0
  for (const [index, offset] of offsets.entries()) {
    const start = performance.now()
    const result = log.readFrom(offset, READ_RECORDS, (_key, value) => {
      bytes += value.length
    })
    // Awaiting a number would make a synchronous read look slower than it is.
    const count = typeof result === 'number' ? result : await result
    samplesMs[index] = performance.now() - start
    ensureEqual('records', count, READ_RECORDS)
  }
  if (bytes === 0) throw new Error('no value was read')
}

async function verifyReads(
  log: PeerLog,
  offsets: readonly number[],
  workload: Workload,
): Promise<void> {
  for (const offset of offsets) {
    let next = offset
    await log.readFrom(offset, READ_RECORDS, (key, value) => {
      const { payload } = workload.record(next)
      if (!Buffer.concat([bytesOf(key), value]).equals(payload)) {
        throw new Error(`offset ${next} holds another record`)
      }
      next += 1
    })
    ensureEqual('records', next - offset, READ_RECORDS)
  }
}
