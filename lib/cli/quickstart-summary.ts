import type { Broker } from '../broker.ts'
import type { DiskCounts } from './counting-file-system.ts'
import { GROUP_ID, type QuickstartState } from './quickstart-group.ts'
import type { Job } from './quickstart-job.ts'
import { counted, inBytes, table, thousands } from './report.ts'

/** Reports the speed of a run, and the disk operations it needed. */
export function tellRates(
  job: Job,
  state: QuickstartState,
  { sendMs, allMs }: { sendMs: number; allMs: number },
  disk: DiskCounts,
  say: (line: string) => void,
): void {
  const rate = (count: number, ms: number): string =>
    `${(ms / 1000).toFixed(1)} s (${thousands((count * 1000) / Math.max(1, ms))} per second)`
  if (state.sent > 0) {
    say(
      `sent ${counted(state.sent, 'record')} in ${rate(state.sent, sendMs)}, as fast as the ` +
        `${job.noun}s were found, each on disk when it was acknowledged`,
    )
  }
  if (state.done > 0) {
    say(
      `hashed ${counted(state.done, job.noun)}, ${inBytes(state.doneBytes)}, in ` +
        rate(state.done, allMs) +
        (state.unreadable > 0 ? `; ${thousands(state.unreadable)} could not be read` : ''),
    )
  }
  const records = state.sent + state.done
  if (records === 0) return
  say(
    `the log took ${counted(disk.writes, 'write')} (${inBytes(disk.writtenBytes)}) and ` +
      `${counted(disk.syncs, 'sync')} for ${counted(state.sent, 'record')} and ` +
      `${counted(state.done, 'result')}: ${(records / Math.max(1, disk.syncs)).toFixed(1)} per sync`,
  )
}

/** Reports where each partition starts and ends, and the position of the group. */
export async function tellPartitions(
  broker: Broker,
  job: Job,
  say: (line: string) => void,
): Promise<void> {
  const consumer = broker.consumer({ groupId: GROUP_ID })
  const rows: (string | number)[][] = []
  const topic = broker.describe().topics.find((each) => each.name === job.topic)
  for (const each of topic?.partitions ?? []) {
    const { partition, logStartOffset: start, highWatermark: end, sizeBytes, segmentCount } = each
    const committed = (await consumer.committed({ topic: job.topic, partition }))?.offset ?? start
    rows.push([
      `${job.topic}-${partition}`,
      start,
      end,
      committed,
      end - committed,
      sizeBytes,
      segmentCount,
    ])
  }
  await consumer.close()
  say('')
  say(table(['partition', 'start', 'end', 'committed', 'lag', 'bytes', 'segments'], rows))
  say('')
}
