import { performance } from 'node:perf_hooks'
import { Broker } from '../broker.ts'
import { NodeFileSystem } from '../platform/node-file-system.ts'
import type { CommandStreams } from './command-line.ts'
import { CountingFileSystem } from './counting-file-system.ts'
import { digestOfReplay, digestOfResults } from './quickstart-digest.ts'
import {
  GROUP_ID,
  remaining,
  runMember,
  sendAll,
  type QuickstartState,
} from './quickstart-group.ts'
import { jobOf, type Job } from './quickstart-job.ts'
import type { QuickstartOptions } from './quickstart-options.ts'
import { inBytes, Progress, table, thousands } from './report.ts'

const PARTITIONS = 4
const MEMBERS = 2
const PROBLEMS_SHOWN = 20
const CHANGES_SHOWN = 10

/** Exit code of a process that Ctrl-C has ended. */
const INTERRUPTED = 130

/** Runs the quickstart. @returns the exit code of the process. */
export async function quickstart(
  options: QuickstartOptions,
  streams: CommandStreams,
): Promise<number> {
  const job = await jobOf(options, streams.stdin)
  const disk = new CountingFileSystem(new NodeFileSystem())
  const startMs = performance.now()
  const broker = await Broker.open(options.dataDir, { fileSystem: disk })
  const say = (line: string): void => {
    streams.stdout.write(`${line}\n`)
  }
  try {
    say(`varve quickstart: ${options.replay ? 'reading everything again' : job.title}`)
    say(
      `the log lies in ${options.dataDir}, opened in ${(performance.now() - startMs).toFixed(0)} ms`,
    )
    tellRecovery(broker, say)
    await broker.createTopic(job.topic, { partitions: PARTITIONS, ifNotExists: true })
    await broker.createTopic(job.resultTopic, { ifNotExists: true })
    return options.replay
      ? await replay(broker, job, streams, say)
      : await run(broker, job, disk, streams, say)
  } finally {
    await broker.close()
  }
}

async function run(
  broker: Broker,
  job: Job,
  disk: CountingFileSystem,
  streams: CommandStreams,
  say: (line: string) => void,
): Promise<number> {
  const state: QuickstartState = {
    sent: 0,
    done: 0,
    doneBytes: 0,
    unreadable: 0,
    isSent: false,
    isStopped: false,
  }
  const onInterrupt = (): void => {
    state.isStopped = true
  }
  process.once('SIGINT', onInterrupt)
  const before = await tellResumption(broker, job, say)
  const progress = new Progress(
    streams.stdout,
    () =>
      `sent ${thousands(state.sent)}, hashed ${thousands(state.done)} (${inBytes(state.doneBytes)})`,
  )
  const startMs = performance.now()
  let sendMs = 0
  const problems = problemList(progress, streams)
  try {
    const sending = sendAll(broker, job, state, problems.add).finally(() => {
      sendMs = performance.now() - startMs
      state.isSent = true
    })
    const members = Array.from({ length: MEMBERS }, () => runMember(broker, job, state))
    await Promise.all([sending, ...members])
  } finally {
    // Whoever still works must not use the broker when it is closed.
    state.isStopped ||= !state.isSent
    progress.stop()
    process.removeListener('SIGINT', onInterrupt)
  }
  problems.tellRest()
  const allMs = performance.now() - startMs
  tellRates(job, state, { sendMs, allMs }, disk, say)
  await tellPartitions(broker, job, say)
  if (state.isStopped) {
    say(`stopped. Run it again to go on: what is committed is not done again.`)
    return INTERRUPTED
  }
  if (state.sent === 0 && state.done === 0 && before > 0) {
    say(
      `nothing new: all ${thousands(before)} ${job.noun} were hashed before. To read them again: --replay`,
    )
  }
  say(`digest ${(await digestOfResults(broker, job)).hex}`)
  return 0
}

async function replay(
  broker: Broker,
  job: Job,
  streams: CommandStreams,
  say: (line: string) => void,
): Promise<number> {
  let count = 0
  const startMs = performance.now()
  const progress = new Progress(streams.stdout, () => `read and hashed ${thousands(count)}`)
  const replayed = await digestOfReplay(broker, job, () => {
    count += 1
  })
  progress.stop()
  const seconds = (performance.now() - startMs) / 1000
  const stored = await digestOfResults(broker, job)
  say(`read ${thousands(count)} records from offset 0 in ${seconds.toFixed(1)} s`)
  say(`digest ${replayed.hex}`)
  if (replayed.hex === stored.hex) {
    say('the same digest as that of the group')
    return 0
  }
  const open = [...replayed.results.keys()].filter((key) => !stored.results.has(key))
  if (open.length > 0) {
    say(
      `${thousands(open.length)} records are not hashed by the group yet: run it without --replay first`,
    )
    return 1
  }
  const changed = [...replayed.results].filter(
    ([key, result]) => stored.results.get(key)?.hash !== result.hash,
  )
  say(
    `another digest than that of the group: ${thousands(changed.length)} ${job.noun} have changed since`,
  )
  for (const [, result] of changed.slice(0, CHANGES_SHOWN)) say(`  ${result.name}`)
  return changed.length > 0 ? 0 : 1
}

function tellRecovery(broker: Broker, say: (line: string) => void): void {
  const { cleanShutdown, truncations, durationMs } = broker.recovery
  if (cleanShutdown) return
  const cutBytes = truncations.reduce((sum, each) => sum + each.sizeBytes, 0)
  const cut =
    cutBytes === 0 ? 'nothing was torn' : `${inBytes(cutBytes)} of a torn write were cut off`
  say(`the last run was cut off: checked in ${durationMs.toFixed(0)} ms, ${cut}`)
}

/** @returns how many records the group had done before this run. */
async function tellResumption(
  broker: Broker,
  job: Job,
  say: (line: string) => void,
): Promise<number> {
  const consumer = broker.consumer({ groupId: GROUP_ID })
  const total = broker
    .topic(job.topic)
    .partitions.reduce(
      (sum, { highWatermark, logStartOffset }) => sum + highWatermark - logStartOffset,
      0,
    )
  const done = total - (await remaining(broker, consumer, job))
  await consumer.close()
  say(
    total === 0
      ? `topic '${job.topic}' with ${PARTITIONS} partitions, group '${GROUP_ID}' with ${MEMBERS} members`
      : `resuming: ${thousands(done)} of ${thousands(total)} ${job.noun} in the log are hashed and committed`,
  )
  return done
}

function problemList(
  progress: Progress,
  streams: CommandStreams,
): { add: (problem: string) => void; tellRest: () => void } {
  let count = 0
  return {
    add: (problem) => {
      count += 1
      if (count > PROBLEMS_SHOWN) return
      progress.giveWay()
      streams.stderr.write(`${problem}\n`)
    },
    tellRest: () => {
      if (count > PROBLEMS_SHOWN) {
        streams.stderr.write(`and ${thousands(count - PROBLEMS_SHOWN)} more of this kind\n`)
      }
    },
  }
}

function tellRates(
  job: Job,
  state: QuickstartState,
  { sendMs, allMs }: { sendMs: number; allMs: number },
  disk: CountingFileSystem,
  say: (line: string) => void,
): void {
  const perSecond = (count: number, ms: number): string =>
    thousands((count * 1000) / Math.max(1, ms))
  if (state.sent > 0) {
    say(
      `sent ${thousands(state.sent)} records in ${(sendMs / 1000).toFixed(1)} s, ` +
        `${perSecond(state.sent, sendMs)} a second, each on disk when it was acknowledged`,
    )
  }
  if (state.done > 0) {
    say(
      `hashed ${thousands(state.done)} ${job.noun}, ${inBytes(state.doneBytes)}, in ` +
        `${(allMs / 1000).toFixed(1)} s, ${perSecond(state.done, allMs)} a second` +
        (state.unreadable > 0 ? `; ${thousands(state.unreadable)} could not be read` : ''),
    )
  }
  const { writes, syncs, writtenBytes } = disk.counts
  say(
    `the disk saw ${thousands(writes)} writes (${inBytes(writtenBytes)}) and ${thousands(syncs)} syncs ` +
      `for ${thousands(state.sent + state.done)} acknowledged records`,
  )
}

async function tellPartitions(
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
