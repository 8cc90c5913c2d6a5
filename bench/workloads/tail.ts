import { setTimeout as sleep } from 'node:timers/promises'
import { latencies, measure } from '../measure.ts'
import type { PeerLog, Visit } from '../peers/peer.ts'
import { ensureEqual, verifyLog } from '../store.ts'
import { Workload } from '../workload.ts'
import type { WorkloadDefinition } from './definition.ts'

/**
 * So many that most of them find their way compiled: of two thousand, a record a millisecond, most are
 * interpreted, as in the first seconds of a process.
 */
const RECORDS = 10_000
/** More never wait to be read on. */
const READ_RECORDS = 1000

/** How long after an append a waiting reader of the same process has the record. */
export const tail: WorkloadDefinition = {
  name: 'W6',
  title: 'append to delivery',
  text:
    'One record is appended about every millisecond, and a reader in the same process follows the ' +
    'log: the time from the call to the delivery. Nothing is synced before the log is closed.',
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

/** Reads on from where it is, whenever it is told that there may be more. */
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
