import { measureWithLoop, rate } from '../measure.ts'
import { ensureEqual, verifyReplay } from '../store.ts'
import { Workload } from '../workload.ts'
import { perSize, type WorkloadDefinition } from './definition.ts'

const storedCount = perSize(1_000_000)

/** How many records a second are read in order. */
export const replay: WorkloadDefinition = {
  name: 'W4',
  title: 'sequential replay',
  text:
    'One caller reads a closed log from its first record to its last, with the files in the page ' +
    'cache, and looks at the first and the last byte of every value. With it: processor time, and ' +
    'how late the event loop was.',
  unit: '/s',
  valueSizes: [100, 1024],
  floor: 'raw',
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
    // Once more with a look at every byte, which is not part of what is measured.
    await verifyReplay(log, workload, count)
    await log.close()
    return rate(lap, { count, bytes }, { ...loop })
  },
}
