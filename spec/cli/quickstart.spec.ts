import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { runCommandLine } from '../../lib/cli/command-line.ts'
import { compiledLib } from '../helpers/compiled-lib.ts'

interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs `varve` with these arguments in this process. */
async function varve(args: readonly string[], input = ''): Promise<Ended> {
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
  })
  return { code, ...output }
}

/** Runs `varve` in a process of its own, and sends it a signal when it has said `line`. */
function varveInterrupted(
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

async function freshDirectory(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'varve-quickstart-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return dir
}

async function tree(files: number): Promise<string> {
  const root = join(await freshDirectory(), 'tree')
  for (let folder = 0; folder < 5; folder += 1)
    await mkdir(join(root, `folder${folder}`), { recursive: true })
  await Promise.all(
    Array.from({ length: files }, (_, each) =>
      writeFile(join(root, `folder${each % 5}`, `file${each}`), `content ${each}`),
    ),
  )
  return root
}

function digestOf({ stdout }: Ended): string {
  return /^digest ([0-9a-f]{64})$/m.exec(stdout)?.[1] ?? `no digest in ${stdout}`
}

describe('the quickstart', () => {
  it('sends, hashes, says how, and has nothing left to do the second time', async () => {
    const data = await freshDirectory()
    const root = await tree(60)
    const first = await varve(['quickstart', root, '--data', data])
    expect(first).toMatchObject({ code: 0, stderr: '' })
    expect(first.stdout).toContain(`one record per file of ${root}`)
    expect(first.stdout).toMatch(/^sent 60 records in .*each on disk when it was acknowledged$/m)
    expect(first.stdout).toMatch(/^hashed 60 files/m)
    expect(first.stdout).toMatch(/^the disk saw \d+ writes .* syncs for 120 acknowledged records$/m)
    expect(first.stdout).toMatch(/^partition +start +end +committed +lag +bytes +segments$/m)
    const second = await varve(['quickstart', root, '--data', data])
    expect(second.stdout).toContain('resuming: 60 of 60 files')
    expect(second.stdout).toContain('nothing new: all 60 files were hashed before')
    expect(digestOf(second)).toBe(digestOf(first))
    await writeFile(join(root, 'folder1', 'file1'), 'other content')
    await writeFile(join(root, 'new'), 'new')
    const third = await varve(['quickstart', root, '--data', data])
    expect(third.stdout).toMatch(/^sent 1 records/m)
    const replayed = await varve(['quickstart', '--replay', '--data', data])
    expect(replayed.stdout).toContain('1 files have changed since')
    expect(replayed.stdout).toContain(join(root, 'folder1', 'file1'))
  })

  it.each(['SIGKILL', 'SIGINT'] as const)(
    'goes on after %s and comes to the digest of a run that was left alone',
    async (signal) => {
      const data = await freshDirectory()
      const root = await tree(400)
      const args = ['quickstart', root, '--data', data]
      const interrupted = await varveInterrupted(args, signal, 'partitions, group')
      if (signal === 'SIGINT' && interrupted.code !== 0) {
        expect(interrupted.code).toBe(130)
        expect(interrupted.stdout).toContain('Run it again to go on')
      }
      const resumed = await varve(['quickstart', root, '--data', data])
      expect(resumed).toMatchObject({ code: 0, stderr: '' })
      const alone = await varve(['quickstart', root, '--data', await freshDirectory()])
      const broker = await Broker.open(data)
      onTestFinished(() => broker.close())
      const { partitions } = broker.topic('files')
      expect(partitions.reduce((sum, partition) => sum + partition.highWatermark, 0)).toBe(400)
      const replayed = await broker
        .close()
        .then(() => varve(['quickstart', '--replay', '--data', data]))
      expect(replayed.stdout).toContain('the same digest as that of the group')
      expect(alone.stdout).toMatch(/^hashed 400 files/m)
      expect(digestOf(replayed)).toBe(digestOf(resumed))
    },
  )

  it('takes NDJSON, names the lines that are none, and goes on where it stopped', async () => {
    const data = await freshDirectory()
    const file = join(await freshDirectory(), 'lines.ndjson')
    await writeFile(file, '{"id":"a"}\nnot json\n{"id":"b"}\r\n\n[1,2')
    const first = await varve(['quickstart', '--ndjson', file, '--key', 'id', '--data', data])
    expect(first.code).toBe(0)
    expect(first.stderr).toMatch(/^line 2 is no JSON: .*\nline 5 is no JSON: /)
    expect(first.stdout).toMatch(/^hashed 2 lines/m)
    await writeFile(file, '{"id":"a"}\n1\n{"id":"b"}\n{"id":"c"}\n')
    const second = await varve(['quickstart', '--ndjson', file, '--data', data])
    // The line that was malformed before is whole now, and the last one is new.
    expect(second.stdout).toMatch(/^sent 2 records/m)
    const piped = await varve(['quickstart', '--ndjson', '-', '--data', data], '5\n6\n')
    expect(piped.stdout).toMatch(/^sent 2 records/m)
  })

  it('says what is wrong with its input, and in which way it ended', async () => {
    const missing = await varve(['quickstart', '/no/such/place', '--data', await freshDirectory()])
    expect(missing).toMatchObject({ code: 1, stdout: '' })
    expect(missing.stderr).toMatch(/^varve: \/no\/such\/place cannot be read: ENOENT/)
    const unknown = await varve(['quickstart', '--bogus'])
    expect(unknown).toMatchObject({ code: 2, stdout: '' })
    expect((await varve(['bogus'])).stderr).toContain("there is no command 'bogus'")
    expect((await varve(['--help'])).stdout).toContain('varve quickstart')
    expect((await varve(['quickstart', '--help'])).stdout).toContain('--ndjson')
  })

  it('says who has the directory open', async () => {
    const data = await freshDirectory()
    const broker = await Broker.open(data)
    onTestFinished(() => broker.close())
    const refused = await varve(['quickstart', await tree(1), '--data', data])
    expect(refused.code).toBe(1)
    expect(refused.stderr).toContain(`is in use by process ${process.pid}`)
  })
})
