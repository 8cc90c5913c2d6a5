import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { onTestFinished } from 'vitest'
import { runCommandLine } from '../../lib/cli/command-line.ts'
import { compiledLib } from '../helpers/compiled-lib.ts'

/** How a command ended. */
export interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs `varve` with these arguments in this process. */
export async function varve(
  args: readonly string[],
  input: string | Buffer = '',
  env: Record<string, string> = {},
): Promise<Ended> {
  const output = { stdout: '', stderr: '' }
  const collect = (name: 'stdout' | 'stderr'): Writable =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        output[name] += chunk.toString()
        done()
      },
    })
  const code = await runCommandLine(args, {
    stdin: Readable.from([Buffer.from(input)]),
    stdout: collect('stdout'),
    stderr: collect('stderr'),
    env,
  })
  return { code, ...output }
}

/** Runs `varve` in a separate process, and sends it a signal when it has printed `line`. */
export function varveInterrupted(
  args: readonly string[],
  signal: NodeJS.Signals,
  line: string,
): Promise<Ended> {
  const child = spawn(process.execPath, [join(compiledLib(), 'cli/main.js'), ...args])
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  let isSent = false
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString()
    // A second Ctrl-C ends the process at once.
    if (!isSent && stdout.includes(line)) isSent = child.kill(signal)
  })
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  return new Promise((resolve) => {
    child.once('close', (code) => {
      resolve({ code, stdout, stderr })
    })
  })
}

/** Creates a directory that is removed with the test. */
export async function freshDirectory(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'varve-cli-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return dir
}
