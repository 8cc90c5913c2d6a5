import { VarveError } from '../errors.ts'
import { UsageError } from './command-arguments.ts'
import { interruptible } from './interruptible.ts'
import { LOAD_EXAMPLE_HELP, loadExample, parseLoadExample } from './load-example.ts'

// The reader of the output may close it early.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })
}

const stop = new AbortController()

try {
  const options = parseLoadExample(process.argv.slice(2))
  if (options === null) process.stdout.write(LOAD_EXAMPLE_HELP)
  else {
    process.exitCode = await interruptible(stop, () => loadExample(options, process, stop.signal))
  }
} catch (error) {
  if (!(error instanceof UsageError) && !(error instanceof VarveError)) throw error
  process.stderr.write(`example:load: ${error.message}\n`)
  process.exitCode = error instanceof UsageError ? 2 : 1
}
