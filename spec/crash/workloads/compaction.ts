import { logWorkload, type Workload } from '../workload.ts'

/** What compaction does to a log. */
export const COMPACTION: readonly Workload[] = [
  logWorkload('compact several segments into one', async (session) => {
    await session.appendKeys('a', 'b', 'a', 'a', 'b')
    await session.compact()
    await session.append()
  }),
  logWorkload('compact to several segments, and close', async (session) => {
    await session.appendKeys('a', 'b', 'c', 'a', 'd', 'e')
    await session.compact()
    await session.close()
  }),
  logWorkload('compact again what was compacted', async (session) => {
    await session.appendKeys('a', 'b', 'a')
    await session.compact()
    await session.appendKeys('b', 'c')
    await session.compact()
    await session.log.checkpoint()
  }),
  logWorkload('delete from what was compacted', async (session) => {
    await session.appendKeys('a', 'b', 'a', 'c', 'b', 'd')
    await session.compact()
    await session.deleteBefore(2)
    await session.append()
  }),
]
