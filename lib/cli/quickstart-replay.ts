import { readdir } from 'node:fs/promises'
import { performance } from 'node:perf_hooks'
import type { Broker } from '../broker.ts'
import type { CommandStreams } from './command.ts'
import { digestOfReplay, digestOfResults } from './quickstart-digest.ts'
import { knownInputs, recordCount } from './quickstart-inputs.ts'
import { jobOf, type Job } from './quickstart-job.ts'
import { InputError } from './command-arguments.ts'
import type { QuickstartOptions } from './quickstart-options.ts'
import type { Source } from './quickstart-source.ts'
import { counted, printable, Progress } from './report.ts'

const CHANGES_SHOWN = 10

/** @throws InputError if the data directory was never filled: opening would create it. */
export async function ensureFilled(options: QuickstartOptions): Promise<void> {
  const names = await readdir(options.dataDir).catch(() => [])
  if (names.length === 0) throw nothingToReplay(options, 'nothing has been sent there yet')
}

/**
 * Reads the records of one source, or of all, from offset 0 again, and compares the digests.
 *
 * @returns 0 if they are equal, 1 otherwise.
 * @throws InputError if there are no records.
 */
export async function replay(
  broker: Broker,
  source: Source | null,
  options: QuickstartOptions,
  streams: CommandStreams,
): Promise<number> {
  const filled = (await knownInputs(broker)).filter((input) => recordCount(broker, input) > 0)
  const inputs = filled.filter(
    (input) => source === null || (source.kind === input.kind && source.name === input.source),
  )
  if (inputs.length === 0) {
    const names = filled.map((input) => input.source).join(', ')
    throw nothingToReplay(
      options,
      source === null || filled.length === 0
        ? 'nothing has been sent there yet'
        : `it has no records of ${source.name}, only of ${names}`,
    )
  }
  let code = 0
  for (const input of inputs) {
    streams.stdout.write(`topic '${input.topic}', sent from ${printable(input.source)}\n`)
    if (!(await replayOne(broker, jobOf(input), options, streams))) code = 1
  }
  return code
}

/** @returns whether the digests are equal. */
async function replayOne(
  broker: Broker,
  job: Job,
  options: QuickstartOptions,
  streams: CommandStreams,
): Promise<boolean> {
  const say = (line: string): void => {
    streams.stdout.write(`${line}\n`)
  }
  let count = 0
  const startMs = performance.now()
  const progress = new Progress(
    streams.stdout,
    () => `read and hashed ${counted(count, 'record')} again`,
  )
  const replayed = await digestOfReplay(broker, job, () => {
    count += 1
  }).finally(() => {
    progress.stop()
  })
  const seconds = (performance.now() - startMs) / 1000
  const stored = await digestOfResults(broker, job)
  say(
    `read ${counted(count, 'record')} from offset 0 and hashed each ${job.noun} again in ${seconds.toFixed(1)} s`,
  )
  say(`digest ${replayed.hex}`)
  if (replayed.hex === stored.hex) {
    say('the digest matches that of the group')
    return true
  }
  const openCount = [...replayed.results.keys()].filter((key) => !stored.results.has(key)).length
  if (openCount > 0) {
    say(
      `nothing to compare it with yet: the group has not hashed ${counted(openCount, 'record')} of ` +
        `these. Let it finish first: ${options.command}, without --replay`,
    )
    return false
  }
  const changed = [...replayed.results].filter(
    ([key, result]) => stored.results.get(key)?.hash !== result.hash,
  )
  say(
    `the digest differs from that of the group: ${counted(changed.length, job.noun)} changed on disk since, not in the log`,
  )
  for (const [, result] of changed.slice(0, CHANGES_SHOWN)) say(`  ${printable(result.name)}`)
  if (changed.length > CHANGES_SHOWN) {
    say(`  and ${counted(changed.length - CHANGES_SHOWN, 'other')}`)
  }
  return false
}

function nothingToReplay({ dataDir, command }: QuickstartOptions, why: string): InputError {
  return new InputError(
    `there is nothing to replay in ${dataDir}: ${why}. Fill it first: ${command}, without --replay`,
  )
}
