import { setTimeout as sleep } from 'node:timers/promises'
import { latencies, measure } from '../measure.ts'
import type { PeerLog, Visit } from '../peers/peer.ts'
import { ensureEqual, verifyLog } from '../store.ts'
import { Workload } from '../workload.ts'
import type { WorkloadDefinition } from './definition.ts'

/**
 * Enough records that most are handled by compiled code. Of two thousand, at one record per
 * millisecond, most would be handled by the interpreter, as in the first seconds of a process.
 */
const RECORDS = 10_000
/** Records per read; the reader is never this many records behind. */
const READ_RECORDS = 1000

/** The time from an append to its delivery to a waiting reader in the same process. */
export const tail: WorkloadDefinition = {
  name: 'W6',
  title: 'append to delivery',
  text:
    'One record is appended about every millisecond, and a reader in the same process follows ' +
    'the log. The figure is the time from the call to the delivery. Nothing is synced before the ' +
    'close.',
  unit: 'ms',
  valueSizes: [100],
  floor: 'raw',
  run: async (context, { peer, valueBytes }) => {
    const workload = new Workload(valueBytes)
    const count = context.count(RECORDS)
    const openLog = await peer.load()
    const open = (): ReturnType<typeof openLog> =>
      openLog(context.dir, { flush: 'relaxed', valueBytes })
    const log = await open()
    const sentMs = new Float64Array(count)
    const samplesMs = new Float64Array(count)
    let delivered = 0
    const visit: Visit = (_key, value) => {
      samplesMs[delivered] = performance.now() - (sentMs[delivered] ?? NaN)
      const expected = workload.record(delivered).value
      if (!value.subarray(-expected.length).equals(expected)) {
        throw new Error(`record ${delivered} is another one`)
      }
      delivered += 1
    }
    const { cpuMs, maxRssMb } = await measure(async () => {
      const following = log.follow?.(count, visit)
      const readOn = following === undefined ? readerOf(log, visit) : undefined
      const sends: Promise<unknown>[] = []
      for (let index = 0; index < count; index++) {
        await sleep(1)
        sentMs[index] = performance.now()
        const sent = log.append(workload.record(index))
        sends.push(readOn === undefined ? sent : sent.then(readOn))
      }
      await Promise.all([following, ...sends])
    })
    ensureEqual('delivered', delivered, count)
    await log.close()
    await verifyLog(open, workload, count)
    const { p50Ms, ...extra } = latencies(samplesMs)
    return { value: p50Ms, count, cpuMs, maxRssMb, extra }
  },
}

/** Returns a function that reads on from the last position, to call when there may be more. */
function readerOf(log: PeerLog, visit: Visit): () => Promise<void> {
  let next = 0
  let isReading = false
  let isAskedAgain = false
  return async () => {
    isAskedAgain = true
    if (isReading) return
    isReading = true
    while (isAskedAgain) {
      isAskedAgain = false
      const result = log.readFrom(next, READ_RECORDS, visit)
      const count = typeof result === 'number' ? result : await result
      next += count
    }
    isReading = false
  }
}
