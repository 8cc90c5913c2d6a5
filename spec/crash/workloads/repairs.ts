import { SimulatedFileSystem } from '../../../lib/testing/simulated-file-system.ts'
import { bytesOf, DIR, openLog, pathOf, SMALL } from '../../storage/log-fixtures.ts'
import { newTopicLedger, type PartitionLedger } from '../ledger.ts'
import { logWorkload, type Start, type Workload } from '../workload.ts'

/** Repairs of an open, other than of torn tails. */
export const REPAIRS: readonly Workload[] = [
  logFound('open after a sync that failed', {
    files: async (disk) => {
      const log = await openLog(disk)
      for (const value of ['a', 'b', 'c']) await log.append([{ value }])
      disk.failNext('datasync', 'EIO', { path: pathOf(2) })
      await log.append([{ value: 'lost' }]).catch(() => undefined)
    },
    promise: { history: ['a', 'b', 'c'], leastStart: 0, greatestStart: 0 },
  }),
  logFound('open where all that is left was deleted', {
    files: async (disk) => {
      const log = await openLog(disk)
      for (const value of ['a', 'b', 'c']) await log.append([{ value }])
      await disk.unlink(`${DIR}/varve-segments`)
      await disk.syncDirectory(DIR)
      disk.writeFile(`${DIR}/log-start-offset-checkpoint`, Buffer.from('0\n1\norders 0 5\n'))
    },
    promise: { history: Array<null>(5).fill(null), leastStart: 5, greatestStart: 5 },
  }),
  logFound('finish a replacement by two segments', {
    files: async (disk) => {
      // The same records before and after the swap: in either state none may be missing.
      disk.writeFile(pathOf(0), bytesOf({ values: ['a', 'b', 'c'] }))
      disk.writeFile(pathOf(3), bytesOf({ baseOffset: 3, values: ['d', 'e'] }))
      disk.writeFile(pathOf(0, 'log.cleaned'), bytesOf({ values: ['a', 'b'] }))
      disk.writeFile(pathOf(2, 'log.cleaned'), bytesOf({ baseOffset: 2, values: ['c', 'd', 'e'] }))
      disk.writeFile(pathOf(5), bytesOf({ baseOffset: 5, values: ['f'] }))
      await disk.rename(pathOf(2, 'log.cleaned'), pathOf(2, 'log.swap'))
      await disk.syncDirectory(DIR)
      // The process that renamed them was killed before it synced the last one.
      await disk.rename(pathOf(0, 'log.cleaned'), pathOf(0, 'log.swap'))
    },
    promise: { history: ['a', 'b', 'c', 'd', 'e', 'f'], leastStart: 0, greatestStart: 0 },
  }),
  logFound('take back a replacement that was half renamed', {
    files: (disk) => {
      disk.writeFile(pathOf(0), bytesOf({ values: ['a', 'b', 'c'] }))
      disk.writeFile(pathOf(3), bytesOf({ baseOffset: 3, values: ['d', 'e'] }))
      disk.writeFile(pathOf(0, 'log.cleaned'), bytesOf({ values: ['new', 'new', 'new'] }))
      disk.writeFile(pathOf(3, 'log.swap'), bytesOf({ baseOffset: 3, values: ['new', 'new'] }))
    },
    promise: { history: ['a', 'b', 'c', 'd', 'e'], leastStart: 0, greatestStart: 0 },
  }),
]

/** Creates a workload that opens a log with the given files, and appends to it. */
function logFound(
  name: string,
  found: {
    readonly files: (disk: SimulatedFileSystem) => Promise<void> | void
    readonly promise: Pick<PartitionLedger, 'history' | 'leastStart' | 'greatestStart'>
  },
): Workload {
  const { files, promise } = found
  const end = promise.history.length
  return {
    ...logWorkload(name, async (session) => {
      await session.append()
    }),
    start: async (options): Promise<Start> => {
      const disk = new SimulatedFileSystem(options)
      await files(disk)
      const topic = newTopicLedger(1, SMALL.segmentBytes ?? 0)
      const partition = { ...promise, history: [...promise.history], written: end, durable: end }
      const ledger = { topics: { orders: [{ ...topic, partitions: [partition] }] }, commits: {} }
      return { disk: disk.restart('process', { seed: 1 }), ledger }
    },
  }
}
