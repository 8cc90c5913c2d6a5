import { measureWithLoop, rate } from '../measure.ts'
import { sizeOnDisk, verifyLog } from '../store.ts'
import { Workload } from '../workload.ts'
import { perSize, type WorkloadDefinition } from './definition.ts'

const countOf = perSize(1_000_000)

/** Records per second that one caller appends in bulk. */
export const bulkAppend: WorkloadDefinition = {
  name: 'W1',
  title: 'bulk append',
  text:
    'One caller appends records as fast as it can, in batches or transactions. Nothing is synced ' +
    'before the log is closed. Also reported: the size on disk after the close, processor time, ' +
    'and the delay of the event loop.',
  unit: '/s',
  valueSizes: [100, 1024],
  floor: 'raw',
  isRepeated: true,
  run: async (context, { peer, valueBytes, share }) => {
    const workload = new Workload(valueBytes)
    const count = context.count(countOf(valueBytes) * share)
    const openLog = await peer.load()
    const open = (): ReturnType<typeof openLog> =>
      openLog(context.dir, { flush: 'relaxed', valueBytes })
    const log = await open()
    const { lap, loop } = await measureWithLoop(log.bulk(workload, count))
    const start = performance.now()
    await log.close()
    const closeMs = performance.now() - start
    const bytesPerRecord = sizeOnDisk(context.dir) / count
    await verifyLog(open, workload, count)
    const bytes = count * workload.recordBytes
    return rate(lap, { count, bytes }, { ...loop, bytesPerRecord, closeMs })
  },
}
