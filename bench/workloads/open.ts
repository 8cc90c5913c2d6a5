import { measure, median } from '../measure.ts'
import { ensureEqual } from '../store.ts'
import { Workload } from '../workload.ts'
import type { WorkloadDefinition } from './definition.ts'

const STORED = 5_000_000
/** Further opens in the same process, when the code is warm. */
const REOPENS = 10
const CHECKED_RECORDS = 1000

/** The time until a log that was closed cleanly knows its next offset. */
export const open: WorkloadDefinition = {
  name: 'W7',
  title: 'open',
  text:
    'A new process opens a log that was closed cleanly, until it knows its next offset. The code ' +
    'is already loaded, and the files are in the page cache. `againMs` is the median of ' +
    `${REOPENS} more opens in that process; \`openRssMb\` is the memory that the first one took.`,
  unit: 'ms',
  valueSizes: [100],
  floor: 'raw',
  stored: () => STORED,
  run: async (context, { peer, valueBytes }) => {
    const count = context.count(STORED)
    const openLog = await peer.load()
    const settings = { flush: 'relaxed', valueBytes } as const
    const rssBefore = process.memoryUsage.rss()
    const opened: Awaited<ReturnType<typeof openLog>>[] = []
    const { seconds, cpuMs, maxRssMb } = await measure(async () => {
      const log = await openLog(context.dir, settings)
      opened.push(log)
      ensureEqual('next offset', log.nextOffset, count)
    })
    const openRssMb = Math.max(0, process.memoryUsage.rss() - rssBefore) / 1024 / 1024
    for (const log of opened) await log.close()
    const againMs: number[] = []
    for (let round = 0; round < REOPENS; round++) {
      const start = performance.now()
      const log = await openLog(context.dir, settings)
      ensureEqual('next offset', log.nextOffset, count)
      againMs.push(performance.now() - start)
      await log.close()
    }
    // The store was verified when it was filled; here it is enough to check its end.
    const log = await openLog(context.dir, settings)
    let next = Math.max(0, count - CHECKED_RECORDS)
    const workload = new Workload(valueBytes)
    await log.readFrom(next, CHECKED_RECORDS, (_key, value) => {
      const expected = workload.record(next).value
      if (!value.subarray(-expected.length).equals(expected)) {
        throw new Error(`offset ${next} holds another record`)
      }
      next += 1
    })
    ensureEqual('end of what was read', next, count)
    await log.close()
    const extra = { againMs: median(againMs), openRssMb }
    return { value: seconds * 1000, count: 1, cpuMs, maxRssMb, extra }
  },
}
