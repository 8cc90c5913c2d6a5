import { performance } from 'node:perf_hooks'
import { Broker } from '../broker.ts'
import { InputError } from './command-arguments.ts'
import { FOUND_BAD, type Command, type CommandStreams } from './command.ts'
import { CountingFileSystem, type DiskCounts } from './counting-file-system.ts'
import { digestOfResults } from './quickstart-digest.ts'
import {
  GROUP_ID,
  remaining,
  runMember,
  sendAll,
  type QuickstartState,
} from './quickstart-group.ts'
import { INTERRUPTED, interruptible } from './interruptible.ts'
import { inputOf, KEPT, recordCount } from './quickstart-inputs.ts'
import { jobOf, UNREADABLE, type Job } from './quickstart-job.ts'
import {
  parseQuickstartOptions,
  QUICKSTART_HELP,
  type QuickstartOptions,
} from './quickstart-options.ts'
import { Problems } from './quickstart-problems.ts'
import { recordsOf } from './quickstart-records.ts'
import { ensureFilled, replay } from './quickstart-replay.ts'
import { ensureReadable, sourceOf, type Source } from './quickstart-source.ts'
import { tellPartitions, tellRates } from './quickstart-summary.ts'
import { counted, inBytes, printable, Progress, thousands } from './report.ts'

const PARTITIONS = 4
const MEMBERS = 2

type Say = (line: string) => void

/** Sends records and consumes them. */
export const quickstartCommand: Command = {
  usage: '[INPUT]',
  summary: 'run a demonstration with the files of a directory',
  help: QUICKSTART_HELP,
  run: (args, streams) => quickstart(parseQuickstartOptions(args, streams.env), streams),
}

async function quickstart(options: QuickstartOptions, streams: CommandStreams): Promise<number> {
  const source = await sourceOf(options)
  if (options.replay) await ensureFilled(options)
  else if (source !== null) await ensureReadable(source)
  const disk = new CountingFileSystem()
  const startMs = performance.now()
  // A read-only open may run beside a writer, and creates nothing in a foreign directory.
  const broker = await Broker.open(options.dataDir, { fileSystem: disk, readOnly: options.replay })
  const say: Say = (line) => {
    streams.stdout.write(`${line}\n`)
  }
  try {
    say(`varve quickstart: ${titleOf(options, source)}`)
    say(
      `the log is in ${options.dataDir}, opened in ${(performance.now() - startMs).toFixed(0)} ms`,
    )
    tellRecovery(broker, say)
    if (options.replay || source === null) return await replay(broker, source, options, streams)
    const job = jobOf(await inputOf(broker, source))
    await broker.createTopic(job.topic, { ...KEPT, partitions: PARTITIONS })
    await broker.createTopic(job.resultTopic, KEPT)
    const stop = new AbortController()
    const task = { source, job, options, disk: disk.counts, stop }
    return await interruptible(stop, () => run(broker, task, streams, say))
  } finally {
    await broker.close()
  }
}

interface Task {
  readonly source: Source
  readonly job: Job
  readonly options: QuickstartOptions
  readonly disk: DiskCounts
  /** Aborted by Ctrl-C. */
  readonly stop: AbortController
}

async function run(broker: Broker, task: Task, streams: CommandStreams, say: Say): Promise<number> {
  const { source, job, options } = task
  const state: QuickstartState = {
    sent: 0,
    done: 0,
    doneBytes: 0,
    unreadable: 0,
    isSent: false,
    stop: task.stop,
  }
  const before = await tellResumption(broker, task, say)
  const progress = new Progress(
    streams.stdout,
    () =>
      `sent ${thousands(state.sent)}, hashed ${thousands(state.done)} (${inBytes(state.doneBytes)})`,
  )
  const leftOut = new Problems(streams.stderr, progress)
  const unreadable = new Problems(streams.stderr, progress)
  let foundCount = 0
  const records = recordsOf(source, {
    broker,
    topic: job.topic,
    keyField: options.keyField,
    stdin: streams.stdin,
    signal: state.stop.signal,
    problems: leftOut,
    onFound: () => (foundCount += 1),
  })
  const startMs = performance.now()
  let sendMs = 0
  await untilDone(state, progress, [
    sendAll(broker, job.topic, records, state).finally(() => {
      sendMs = performance.now() - startMs
    }),
    ...Array.from({ length: MEMBERS }, () =>
      runMember(broker, job, state, ({ name, hash }) => {
        unreadable.add(`${printable(name)} cannot be read: ${hash.slice(UNREADABLE.length)}`)
      }),
    ),
  ])
  const isStopped = state.stop.signal.aborted
  if (!isStopped && foundCount === 0 && recordCount(broker, job) === 0) {
    throw nothingIn(source, leftOut)
  }
  tellRates(job, state, { sendMs, allMs: performance.now() - startMs }, task.disk, say)
  await tellPartitions(broker, job, say)
  if (isStopped) {
    say(`stopped. Run it again to continue: committed records are not processed again.`)
    return INTERRUPTED
  }
  if (state.sent === 0 && state.done === 0 && before > 0) {
    say(`nothing new: all ${counted(before, job.noun)} were hashed before`)
  }
  say(`digest ${(await digestOfResults(broker, job)).hex}`)
  tellNext(task, say)
  if (foundCount === 0) throw nothingIn(source, leftOut)
  return tellBad(job, foundCount, leftOut, unreadable, streams)
}

/** Waits for all tasks. If one fails, the others are stopped before its error is thrown. */
async function untilDone(
  { stop }: QuickstartState,
  progress: Progress,
  tasks: readonly Promise<void>[],
): Promise<void> {
  try {
    await Promise.all(tasks)
  } catch (error) {
    stop.abort()
    await Promise.allSettled(tasks)
    throw error
  } finally {
    progress.stop()
  }
}

function titleOf({ replay: isReplay }: QuickstartOptions, source: Source | null): string {
  if (isReplay) return 'reading everything in the log again'
  const { kind, name } = source ?? { kind: 'files', name: '' }
  return kind === 'files'
    ? `one record per file of ${printable(name)}; a consumer group hashes the files`
    : `one record per line of ${printable(name)}; a consumer group hashes the lines`
}

function tellRecovery(broker: Broker, say: Say): void {
  const { cleanShutdown, truncations, durationMs } = broker.recovery
  if (cleanShutdown) return
  const cutBytes = truncations.reduce((sum, each) => sum + each.sizeBytes, 0)
  const cut =
    cutBytes === 0 ? 'no write was torn' : `${inBytes(cutBytes)} of a torn write were removed`
  say(`the last run did not end cleanly: opened in ${durationMs.toFixed(0)} ms, ${cut}`)
}

/** @returns how many records the group had processed before this run. */
async function tellResumption(
  broker: Broker,
  { source, job, options }: Task,
  say: Say,
): Promise<number> {
  const consumer = broker.consumer({ groupId: GROUP_ID })
  const total = recordCount(broker, job)
  const done = total - (await remaining(broker, consumer, job))
  await consumer.close()
  const key = options.keyField === null ? '' : `, keyed by '${printable(options.keyField)}'`
  say(
    `topic '${job.topic}' with ${PARTITIONS} partitions${source.kind === 'files' ? ', keyed by folder' : key}; ` +
      `group '${GROUP_ID}' with ${MEMBERS} members`,
  )
  if (source.isStream) {
    say(
      'a stream cannot be read again: everything that arrives is sent' +
        (total === 0 ? '' : `, after the ${counted(total, job.noun)} of earlier runs`),
    )
  }
  if (total > 0) {
    say(
      `resuming: ${thousands(done)} of ${counted(total, job.noun)} in the log are hashed and committed`,
    )
  }
  return done
}

function tellNext({ source, options }: Task, say: Say): void {
  if (!source.isStream) say('next: run it again, and nothing is done twice; or verify the digest:')
  else say('next: verify the digest:')
  say(`  ${options.command} --replay`)
}

/** @returns the exit code. */
function tellBad(
  job: Job,
  foundCount: number,
  leftOut: Problems,
  unreadable: Problems,
  streams: CommandStreams,
): number {
  if (leftOut.count > 0) {
    const all = job.kind === 'files' ? '' : ` of ${counted(foundCount + leftOut.count, job.noun)}`
    streams.stderr.write(
      `${thousands(leftOut.count)}${all} could not be used and ${leftOut.count === 1 ? 'was' : 'were'} left out${leftOut.lines()}\n`,
    )
  }
  if (unreadable.count > 0) {
    streams.stderr.write(`${counted(unreadable.count, job.noun)} could not be read\n`)
  }
  return leftOut.count + unreadable.count > 0 ? FOUND_BAD : 0
}

function nothingIn({ kind, name }: Source, leftOut: Problems): InputError {
  const path = printable(name)
  if (leftOut.count === 0) {
    return new InputError(`there is nothing to send: ${path} has no ${kind}`)
  }
  return kind === 'lines'
    ? new InputError(
        `there is nothing to send: none of the ${counted(leftOut.count, 'line')} of ${path} is JSON of a legal size${leftOut.lines()}`,
      )
    : new InputError(`there is nothing to send: nothing in ${path} can be read`)
}
