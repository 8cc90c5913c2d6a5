#!/usr/bin/env node
import { VarveError } from '../errors.ts'
import { quickstart } from './quickstart.ts'
import {
  InputError,
  parseQuickstartOptions,
  QUICKSTART_HELP,
  UsageError,
} from './quickstart-options.ts'

const HELP = `varve: an embedded log with Kafka's model

  varve quickstart [DIR]   see it work; varve quickstart --help tells more
  varve --help             this text
`

/** Carries out a command line. @returns the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const [command, ...rest] = args
  if (command === '--help' || command === '-h') {
    process.stdout.write(HELP)
    return 0
  }
  if (command !== 'quickstart') {
    const what = command === undefined ? 'a command is missing' : `there is no command '${command}'`
    throw new UsageError(`${what}; varve --help names those there are`)
  }
  const options = parseQuickstartOptions(rest)
  if (options === null) {
    process.stdout.write(QUICKSTART_HELP)
    return 0
  }
  return quickstart(options)
}

// Whoever reads the output may have seen enough: `varve quickstart | head`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (error instanceof UsageError) {
    process.stderr.write(`varve: ${error.message}\n`)
    process.exitCode = 2
  } else if (error instanceof VarveError || error instanceof InputError) {
    process.stderr.write(`varve: ${error.message}\n`)
    process.exitCode = 1
  } else {
    throw error
  }
}
