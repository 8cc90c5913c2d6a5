#!/usr/bin/env node
import { runCommandLine } from './command-line.ts'

// The reader of the output may close it early: `varve quickstart | head`.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return
    process.stderr.write(`varve: the output cannot be written: ${error.message}\n`)
    process.exit(1)
  })
}

process.exitCode = await runCommandLine(process.argv.slice(2), process)
