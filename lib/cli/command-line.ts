import { LockedError, VarveError } from '../errors.ts'
import type { Command, CommandStreams } from './command.ts'
import { InputError, UsageError } from './command-arguments.ts'
import { dumpCommand } from './dump.ts'
import { inspectCommand } from './inspect.ts'
import { quickstartCommand } from './quickstart.ts'
import { printable } from './report.ts'
import { salvageCommand } from './salvage.ts'
import { verifyCommand } from './verify.ts'

const COMMANDS: ReadonlyMap<string, Command> = new Map([
  ['inspect', inspectCommand],
  ['dump', dumpCommand],
  ['verify', verifyCommand],
  ['salvage', salvageCommand],
  ['quickstart', quickstartCommand],
])

const DIRECTORIES = `DIR is a data directory, which a program has passed to Broker.open. INPUT is any directory; the
quickstart has a data directory of its own.`

/**
 * Runs a command line. User errors and errors of the library are reported in one line. All other
 * errors are thrown.
 *
 * @returns the exit code: 0; 1 if the command failed; 2 if the command line is invalid; and those
 * in the help of a command.
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
    streams.stderr.write(`varve: ${printableLines(message)}\n`)
    return error instanceof UsageError ? 2 : 1
  }
}

async function runCommand(args: readonly string[], streams: CommandStreams): Promise<number> {
  const [name, ...rest] = args
  if (name === '--help' || name === '-h') {
    streams.stdout.write(helpOfAll())
    return 0
  }
  const command = COMMANDS.get(name ?? '')
  if (command === undefined) {
    const what = name === undefined ? 'a command is missing' : `unknown command '${name}'`
    throw new UsageError(`${what}; varve --help lists the commands`)
  }
  if (isHelpWanted(rest)) {
    streams.stdout.write(command.help)
    return 0
  }
  return command.run(rest, streams)
}

/** After `--`, arguments are names. */
function isHelpWanted(args: readonly string[]): boolean {
  const end = args.indexOf('--')
  const options = end < 0 ? args : args.slice(0, end)
  return options.includes('--help') || options.includes('-h')
}

function helpOfAll(): string {
  const calls = [...COMMANDS].map(([name, { usage, summary }]) => [`${name} ${usage}`, summary])
  calls.push(['COMMAND --help', 'show the help of a command'])
  const width = Math.max(...calls.map(([call = '']) => call.length))
  const lines = calls.map(
    ([call = '', summary = '']) => `  varve ${call.padEnd(width)}  ${summary}`,
  )
  return `varve: an embedded log with Kafka's model\n\n${lines.join('\n')}\n\n${DIRECTORIES}\n`
}

/** Escapes a message, which may have text from a foreign directory, except for its line breaks. */
function printableLines(message: string): string {
  return message.split('\n').map(printable).join('\n')
}

function lockedMessage({ dir, pid, host, since }: LockedError): string {
  const owner = pid === null ? 'another program' : `process ${pid}`
  const where = host === null ? '' : ` on ${printable(host)}`
  const when =
    since === null ? '' : ` since ${since.toISOString().slice(0, 19).replace('T', ' ')} UTC`
  return (
    `${owner}${where} has had the log in ${printable(dir)} open${when}; only one process at a time can write to it.\n` +
    `Wait for it to end or stop it, or use another log: --data DIR`
  )
}
