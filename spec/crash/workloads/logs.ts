import { logWorkload, type Workload } from '../workload.ts'

async function appendEach(session: { append: () => Promise<void> }, count: number): Promise<void> {
  for (let each = 0; each < count; each += 1) await session.append()
}

/** A log without a broker: calls that no broker makes, and a broker's calls without its syncs. */
export const LOGS: readonly Workload[] = [
  logWorkload('append and roll', async (session) => {
    await appendEach(session, 5)
    await session.append(3)
  }),
  logWorkload('close and open again', async (session) => {
    await session.append()
    await session.append(2)
    await session.close()
    await session.open()
    await session.append()
    await session.log.checkpoint()
    await session.append()
    await session.close()
  }),
  logWorkload('truncate over segments', async (session) => {
    await appendEach(session, 5)
    await session.log.checkpoint()
    await session.truncateTo(1)
    await session.append()
    await session.truncateTo(2)
    await session.append()
  }),
  logWorkload('truncate into a batch', async (session) => {
    await session.append()
    await session.append(3)
    await session.truncateTo(3, 1)
    await session.append()
  }),
  logWorkload('advance the start', async (session) => {
    await appendEach(session, 5)
    await session.deleteBefore(3)
    await session.append()
    await session.deleteBefore(6)
    await session.append()
  }),
  logWorkload('write without syncs', async (session) => {
    await session.write()
    await session.write(3)
    await session.flush()
    await session.write(5)
    await session.log.checkpoint()
    await session.write()
    await session.flush()
    await session.write(3)
  }),
  logWorkload('append beside a checkpoint', async (session) => {
    await session.append()
    await session.write()
    await Promise.all([session.log.checkpoint(), session.append()])
    await Promise.all([session.log.checkpoint(), appendEach(session, 3)])
    await session.append()
  }),
  logWorkload('roll by hand', async (session) => {
    await session.log.roll()
    await session.append()
    await session.log.roll()
    await session.append()
    await session.log.roll()
    await session.close()
    await session.open()
    await session.append()
  }),
]
