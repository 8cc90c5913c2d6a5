import { DELETE_RETENTION_MS, KeyedSession } from '../keyed-session.ts'
import { brokerWorkload, logWorkload, type Workload } from '../workload.ts'

/** Compaction of a log. */
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
  brokerWorkload({
    name: 'tombstones that are met, and go in a later pass',
    run: async (session) => {
      await session.open()
      const table = new KeyedSession(session)
      await table.create()
      await table.put('a', 'b')
      await table.put('-a')
      await table.compact()
      await session.clock.advance(DELETE_RETENTION_MS)
      await table.compact()
      await table.put('a')
    },
  }),
  brokerWorkload({
    name: 'compaction and retention of one topic',
    run: async (session) => {
      await session.open()
      const table = new KeyedSession(session)
      await table.create({
        cleanupPolicy: 'compact,delete',
        retentionBytes: 300,
        segmentBytes: 150,
      })
      await table.put('a')
      await table.put('b', '-a', 'c')
      await table.compact()
      await table.put('d')
      await table.enforceRetention()
    },
  }),
]
