import { measureWithLoop, rate } from '../measure.ts'
import { ensureEqual, verifyReplay } from '../store.ts'
import { Workload } from '../workload.ts'
import { perSize, type WorkloadDefinition } from './definition.ts'

const storedCount = perSize(1_000_000)

/** Records per second that are read in order. */
export const replay: WorkloadDefinition = {
  name: 'W4',
  title: 'sequential replay',
  text:
    'One caller reads a stored log from its first record to its last, with the files in the page ' +
    'cache, and touches the first and the last byte of every value. Also reported: processor ' +
    'time, and the delay of the event loop.',
  unit: '/s',
  valueSizes: [100, 1024],
  floor: 'raw',
  isRepeated: true,
  stored: storedCount,
  run: async (context, { peer, valueBytes, share }) => {
    const workload = new Workload(valueBytes)
    const count = context.count(storedCount(valueBytes) * share)
    const open = await peer.load()
    const log = await open(context.dir, { flush: 'relaxed', valueBytes })
    let seen = 0
    let bytes = 0
    let touched = 0
    const { lap, loop } = await measureWithLoop(() =>
      log.replay((key, value) => {
        seen += 1
        bytes += value.length + (key === null ? 0 : key.length)
        touched = (touched + (value[0] ?? 0) + (value[value.length - 1] ?? 0)) | 0
      }),
    )
    ensureEqual('count', seen, count)
    ensureEqual('bytes', bytes, count * workload.recordBytes)
    if (touched === 0) throw new Error('no value was touched')
    // A second replay verifies every byte. It is not part of the measurement.
    await verifyReplay(log, workload, count)
    await log.close()
    return rate(lap, { count, bytes }, { ...loop })
  },
}
