import type { Readable, Writable } from 'node:stream'
import { LockedError, VarveError } from '../errors.ts'
import { InputError, UsageError } from './command-arguments.ts'
import { parseQuickstartOptions, QUICKSTART_HELP } from './quickstart-options.ts'
import { quickstart } from './quickstart.ts'

/** Where a command reads from and writes to: the process, or a test. */
export interface CommandStreams {
  readonly stdin: Readable
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number }
  readonly stderr: Writable
  /** Variables of the process, none by default. */
  readonly env?: Readonly<Record<string, string | undefined>>
}

const HELP = `varve: an embedded log with Kafka's model

  varve quickstart [DIR]   see it work; varve quickstart --help tells more
  varve --help             this text
`

/**
 * Carries out a command line. What the user did wrong, and what the library says, is told in one
 * line; everything else is thrown.
 *
 * @returns the exit code: 0, 1 when it could not be done, 2 when the command line makes no sense,
 * and those that the help of a command names.
 */
export async function runCommandLine(
  args: readonly string[],
  streams: CommandStreams,
): Promise<number> {
  try {
    return await runCommand(args, streams)
  } catch (error) {
    const isKnown =
      error instanceof UsageError || error instanceof InputError || error instanceof VarveError
    if (!isKnown) throw error
    const message = error instanceof LockedError ? lockedMessage(error) : error.message
    streams.stderr.write(`varve: ${message}\n`)
    return error instanceof UsageError ? 2 : 1
  }
}

async function runCommand(args: readonly string[], streams: CommandStreams): Promise<number> {
  const [command, ...rest] = args
  if (command === '--help' || command === '-h') {
    streams.stdout.write(HELP)
    return 0
  }
  if (command !== 'quickstart') {
    const what = command === undefined ? 'a command is missing' : `there is no command '${command}'`
    throw new UsageError(`${what}; varve --help names those there are`)
  }
  const options = parseQuickstartOptions(rest, streams.env)
  if (options === null) {
    streams.stdout.write(QUICKSTART_HELP)
    return 0
  }
  return quickstart(options, streams)
}

function lockedMessage({ dir, pid, host, since }: LockedError): string {
  const owner = pid === null ? 'another program' : `process ${pid}`
  const where = host === null ? '' : ` on ${host}`
  const when =
    since === null ? '' : ` since ${since.toISOString().slice(0, 19).replace('T', ' ')} UTC`
  return (
    `${owner}${where} has had the log in ${dir} open${when}, and only one at a time may write to it.\n` +
    `Let that one end or stop it, or give this one a log of its own: --data DIR`
  )
}
