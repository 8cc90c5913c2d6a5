import { spawn } from 'node:child_process'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { compiledLib } from '../helpers/compiled-lib.ts'
import { freshDirectory, varve, varveInterrupted, type Ended } from './run-varve.ts'

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
  it('sends and hashes files, reports what it did, and has nothing to do the second time', async () => {
    const data = await freshDirectory()
    const root = await tree(60)
    const first = await varve(['quickstart', root, '--data', data])
    expect(first).toMatchObject({ code: 0, stderr: '' })
    expect(first.stdout).toContain(`one record per file of ${root}`)
    expect(first.stdout).toMatch(/^sent 60 records in .*each on disk when it was acknowledged$/m)
    expect(first.stdout).toMatch(/^hashed 60 files/m)
    expect(first.stdout).toMatch(
      /^the log took \d+ writes .* \d+ syncs for 60 records and 60 results: [\d.]+ per sync$/m,
    )
    expect(first.stdout).toMatch(/^partition +start +end +committed +lag +bytes +segments$/m)
    const second = await varve(['quickstart', root, '--data', data])
    expect(second.stdout).toContain('resuming: 60 of 60 files')
    expect(second.stdout).toContain('nothing new: all 60 files were hashed before')
    expect(digestOf(second)).toBe(digestOf(first))
    await writeFile(join(root, 'folder1', 'file1'), 'other content')
    await writeFile(join(root, 'new'), 'new')
    const third = await varve(['quickstart', root, '--data', data])
    expect(third.stdout).toMatch(/^sent 1 record in /m)
    const replayed = await varve(['quickstart', '--replay', '--data', data])
    expect(replayed.stdout).toContain('1 file changed on disk since')
    expect(replayed.stdout).toContain(join(root, 'folder1', 'file1'))
    expect(replayed.code).toBe(1)
  })

  it.each(['SIGKILL', 'SIGINT'] as const)(
    'resumes after %s, and comes to the digest of an undisturbed run, as does a replay',
    async (signal) => {
      const data = await freshDirectory()
      const root = await tree(400)
      const args = ['quickstart', root, '--data', data]
      const interrupted = await varveInterrupted(args, signal, "group 'hashers'")
      if (signal === 'SIGINT' && interrupted.code !== 0) {
        expect(interrupted.code).toBe(130)
        expect(interrupted.stdout).toContain('Run it again to continue')
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
      expect(replayed.stdout).toContain('the digest matches that of the group')
      expect(alone.stdout).toMatch(/^hashed 400 files/m)
      expect(digestOf(resumed)).toBe(digestOf(alone))
      expect(digestOf(replayed)).toBe(digestOf(alone))
    },
  )

  it('sends NDJSON, reports the lines that are not JSON, and continues where it stopped', async () => {
    const data = await freshDirectory()
    const file = join(await freshDirectory(), 'lines.ndjson')
    await writeFile(file, '{"id":"a"}\nnot json\n{"id":"b"}\r\n\n[1,2')
    const first = await varve(['quickstart', '--ndjson', file, '--key', 'id', '--data', data])
    expect(first.code).toBe(3)
    expect(first.stderr).toMatch(
      /^line 2 is left out: it is not JSON: .*\nline 5 is left out: it is not JSON: .*\n2 of 4 lines could not be used and were left out \(lines 2 and 5\)\n$/,
    )
    expect(first.stdout).toMatch(/^hashed 2 lines/m)
    await writeFile(file, '{"id":"a"}\n1\n{"id":"b"}\n{"id":"c"}\n')
    const second = await varve(['quickstart', '--ndjson', file, '--data', data])
    // The line that was malformed before is complete now, and the last one is new.
    expect(second.stdout).toMatch(/^sent 2 records/m)
    const piped = await varve(['quickstart', '--ndjson', '-', '--data', data], '5\n6\n')
    expect(piped.stdout).toMatch(/^sent 2 records/m)
    const again = await varve(['quickstart', '--ndjson', '-', '--data', data], '7\n')
    expect(again.stdout).toContain('after the 2 lines of earlier runs')
    expect(again.stdout).toMatch(/^hashed 1 line,/m)
  })

  it('reports what is wrong with its input or arguments, with an exit code for each', async () => {
    const missing = await varve(['quickstart', '/no/such/place', '--data', await freshDirectory()])
    expect(missing).toMatchObject({ code: 1, stdout: '' })
    expect(missing.stderr).toMatch(/^varve: \/no\/such\/place cannot be read: it does not exist\n$/)
    const unknown = await varve(['quickstart', '--bogus'])
    expect(unknown).toMatchObject({ code: 2, stdout: '' })
    expect((await varve(['bogus'])).stderr).toContain("unknown command 'bogus'")
    expect((await varve(['--help'])).stdout).toContain('varve quickstart')
    expect((await varve(['quickstart', '--help'])).stdout).toContain('--ndjson')
  })

  it('reports which process has the directory open', async () => {
    const data = await freshDirectory()
    const broker = await Broker.open(data)
    onTestFinished(() => broker.close())
    const refused = await varve(['quickstart', await tree(1), '--data', data])
    expect(refused).toMatchObject({ code: 1, stdout: '' })
    expect(refused.stderr).toMatch(
      new RegExp(
        `^varve: process ${process.pid} on .* has had the log in ${data} open since .* UTC; only one`,
      ),
    )
    expect(refused.stderr).toContain('--data DIR')
  })
})

describe('several inputs in one data directory', () => {
  it('each have their own topics, resume on their own, and are replayed together', async () => {
    const data = await freshDirectory()
    const folder = await freshDirectory()
    const files = ['one', 'two'].map((name) => join(folder, `${name}.ndjson`))
    const [one = '', two = ''] = files
    await writeFile(one, '1\n2\n3\n')
    await writeFile(two, '4\n5\n')
    const root = await tree(3)
    const other = await tree(2)
    for (const [args, topic, count] of [
      [['--ndjson', one], 'lines', '3 records'],
      [['--ndjson', two], 'lines2', '2 records'],
      [[root], 'files', '3 records'],
      [[other], 'files2', '2 records'],
    ] as const) {
      const first = await varve(['quickstart', ...args, '--data', data])
      expect(first.stdout).toContain(`topic '${topic}'`)
      expect(first.stdout).toMatch(new RegExp(`^sent ${count} in `, 'm'))
    }
    for (const [args, before] of [
      [['--ndjson', two], 'all 2 lines'],
      [['--ndjson', one], 'all 3 lines'],
      [[other], 'all 2 files'],
    ] as const) {
      const second = await varve(['quickstart', ...args, '--data', data])
      expect(second.stdout).toContain(`nothing new: ${before} were hashed before`)
    }
    const all = await varve(['quickstart', '--replay', '--data', data])
    expect(all.code).toBe(0)
    expect(all.stdout.match(/the digest matches that of the group/g)).toHaveLength(4)
    const replayed = await varve(['quickstart', '--replay', '--ndjson', two, '--data', data])
    expect(replayed.stdout).toContain(`topic 'lines2', sent from ${two}`)
    expect(replayed.stdout).toMatch(/^read 2 records from offset 0/m)
    const unknown = await varve(['quickstart', '--replay', '--ndjson', '/else', '--data', data])
    expect(unknown).toMatchObject({ code: 1 })
    expect(unknown.stderr).toContain(`it has no records of /else, only of ${one}, ${two}, ${root}`)
  })

  it('get other topic names if existing topics have theirs', async () => {
    const data = await freshDirectory()
    const broker = await Broker.open(data)
    await broker.createTopic('file-hashes')
    await broker.close()
    const first = await varve(['quickstart', await tree(1), '--data', data])
    expect(first.stdout).toContain("topic 'files2'")
  })

  it.each([
    ['another line', '{"id":1}\n{"id":9}\n{"id":3}\n', 2],
    ['a line that is none', '{"id":1}\n{"id":2\n{"id":3}\n', 2],
    ['an end before it', '{"id":1}\n{"id":2}\n', 3],
    ['nothing', '', 1],
  ])('are refused when the file has changed: %s', async (_, text, lineNumber) => {
    const data = await freshDirectory()
    const file = join(await freshDirectory(), 'lines')
    const args = ['quickstart', '--ndjson', file, '--data', data]
    await writeFile(file, '{"id":1}\n{"id":2}\n{"id":3}\n')
    expect(await varve(args)).toMatchObject({ code: 0 })
    await writeFile(file, text)
    const refused = await varve(args)
    expect(refused.code).toBe(1)
    expect(refused.stderr).toContain(
      `${file} is not the file that topic 'lines' was loaded from: its line ${lineNumber} was different then`,
    )
    expect(refused.stderr).toContain('--data DIR')
    await writeFile(file, '{"id":1}\n{"id":2}\n{"id":3}\n{"id":4}\n')
    expect((await varve(args)).stdout).toMatch(/^sent 1 record in /m)
  })
})

describe('a replay', () => {
  it('needs only read access, while another process has the directory open', async () => {
    const data = await freshDirectory()
    await varve(['quickstart', '--ndjson', '-', '--data', data], '1\n2\n')
    const owner = await Broker.open(data)
    onTestFinished(() => owner.close())
    const replayed = await varve(['quickstart', '--replay', '--data', data])
    expect(replayed).toMatchObject({ code: 0, stderr: '' })
    expect(replayed.stdout).toContain('the digest matches that of the group')
  })
})

describe('a replay of nothing', () => {
  it.each(['a directory that is not there', 'an empty one', 'one that was never filled'])(
    'is refused: %s',
    async (name) => {
      const parent = await freshDirectory()
      const data = name === 'a directory that is not there' ? join(parent, 'none') : parent
      if (name === 'one that was never filled') await (await Broker.open(data)).close()
      const refused = await varve(['quickstart', '--replay', '--data', data])
      expect(refused.code).toBe(1)
      expect(refused.stderr).toContain(`varve: there is nothing to replay in ${data}: nothing has`)
      if (name !== 'one that was never filled') {
        expect((await readdir(parent)).length, 'what the replay left behind').toBe(0)
      }
    },
  )

  it('leaves a foreign directory unchanged', async () => {
    const data = await freshDirectory()
    await writeFile(join(data, 'thesis.txt'), 'mine')
    const refused = await varve(['quickstart', '--replay', '--data', data])
    expect(refused.code).toBe(1)
    expect(refused.stderr.trimEnd().split('\n')).toHaveLength(1)
    expect(await readdir(data)).toEqual(['thesis.txt'])
  })

  it('is distinguished from a replay of records that are not hashed yet', async () => {
    const data = await freshDirectory()
    const root = await tree(1)
    await varve(['quickstart', root, '--data', data])
    const broker = await Broker.open(data)
    const value = JSON.stringify({ path: '/no/such/file', sizeBytes: 1, modifiedMs: 0 })
    await broker.topic('files').partition(0).append({ value })
    await broker.close()
    const replayed = await varve(['quickstart', '--replay', '--data', data])
    expect(replayed.code).toBe(1)
    expect(replayed.stdout).toContain('the group has not hashed 1 record of these')
    const resumed = await varve(['quickstart', root, '--data', data])
    expect(resumed.code).toBe(3)
    expect(resumed.stderr).toBe(
      '/no/such/file cannot be read: it does not exist\n1 file could not be read\n',
    )
  })
})

const DEEP = `${'['.repeat(100_000)}${']'.repeat(100_000)}`

function isWritable(json: string): boolean {
  try {
    return JSON.stringify(JSON.parse(json)) !== ''
  } catch {
    return false
  }
}

describe('the quickstart with unusable input', () => {
  it.each([
    ['no line that can be used', 'a\nb\n\n{\n', /none of the 3 lines of .* \(lines 1-2 and 4\)\n$/],
    [
      'rubbish',
      Buffer.from([0, 27, 255, 254, 10, 200]),
      /none of the 2 lines of .* \(lines 1-2\)\n$/,
    ],
    ['an empty file', '', /nothing to send: .* has no lines\n$/],
    ['empty lines', '\n\r\n', /nothing to send: .* has no lines\n$/],
  ])('exits with 1 if there is nothing to send: %s', async (_, content, message) => {
    const file = join(await freshDirectory(), 'lines')
    await writeFile(file, content)
    for (const [path, stdin] of [
      [file, ''],
      ['-', content],
    ] as const) {
      const data = await freshDirectory()
      const ended = await varve(['quickstart', '--ndjson', path, '--data', data], stdin)
      expect(ended.code).toBe(1)
      expect(ended.stderr).toMatch(message)
      // No control character reaches the terminal.
      expect(ended.stderr).not.toMatch(/[^\P{Cc}\n]/u)
      expect(ended.stdout).not.toContain('digest')
    }
  })

  it('exits with 3 if some lines are left out, and reports how many and which', async () => {
    const long = `"${'x'.repeat(5 * 1024 * 1024)}"`
    const bad = Array.from({ length: 30 }, (_, each) => `no\n${each}`).join('\n')
    const text = `\ufeff{"a":1}\r\n${long}\r\n2\n${bad}`
    const data = await freshDirectory()
    const ended = await varve(['quickstart', '--ndjson', '-', '--data', data], text)
    expect(ended.code).toBe(3)
    expect(ended.stderr).toContain('line 2 is left out: it is longer than 1,000,000 bytes')
    expect(ended.stderr).toMatch(
      /31 of 63 lines could not be used and were left out \(lines 2, 4, 6, .*, 40 and 11 more\)\n$/,
    )
    expect(ended.stderr.match(/is left out/g)).toHaveLength(10)
    const replayed = await varve(['quickstart', '--replay', '--data', data])
    expect(replayed).toMatchObject({ code: 0 })
    const broker = await Broker.open(data)
    onTestFinished(() => broker.close())
    const values: string[] = []
    for (const partition of broker.topic('lines').partitions) {
      for await (const { value } of partition.records({ until: 'end' })) {
        values.push(String(value))
      }
    }
    expect(values).toHaveLength(32)
    expect(values).toContain('{"a":1}')
  })

  it('leaves out a line whose key makes it too large for a record', async () => {
    const id = 'k'.repeat(600_000)
    const ended = await varve(
      ['quickstart', '--ndjson', '-', '--key', 'id', '--data', await freshDirectory()],
      `{"id":"${id}"}\n{"id":"a"}\n`,
    )
    expect(ended.code).toBe(3)
    expect(ended.stderr).toContain('line 1 is left out: it is, with its key, longer than')
  })

  // A Node.js that writes JSON as deep as it reads it has no such key.
  it.skipIf(isWritable(DEEP))(
    'leaves out a line whose key is nested deeper than JSON can be written',
    async () => {
      const id = DEEP
      const data = await freshDirectory()
      const running = varve(
        ['quickstart', '--ndjson', '-', '--key', 'id', '--data', data],
        `{"id":"a"}\n{"id":${id}}\n{"id":{"b":1}}\n`,
      )
      const problem = 'line 2 is left out: it has a key that is nested too deeply'
      await expect(running).resolves.toMatchObject({
        code: 3,
        stderr: expect.stringContaining(problem) as string,
      })
      const broker = await Broker.open(data)
      onTestFinished(() => broker.close())
      const keys: string[] = []
      for (const partition of broker.topic('lines').partitions) {
        for await (const { key } of partition.records({ until: 'end' })) keys.push(String(key))
      }
      expect(keys.sort()).toEqual(['a', '{"b":1}'])
    },
  )

  it('reports errors that say what to do', async () => {
    const folder = await freshDirectory()
    const file = join(folder, 'file')
    await writeFile(file, '1\n')
    const empty = join(folder, 'empty')
    await mkdir(empty)
    const data = ['--data', join(folder, 'data')]
    for (const [args, code, message] of [
      [
        [file],
        1,
        `${file} is a file, not a directory; to send the lines of an NDJSON file: --ndjson`,
      ],
      [['--ndjson', empty], 1, `${empty} is a directory, but --ndjson takes a file`],
      [['--ndjson', join(file, 'x')], 1, 'cannot be read: a part of the path is no directory'],
      [[empty], 1, `there is nothing to send: ${empty} has no files`],
      [['--bogus'], 2, "Unknown option '--bogus'; varve quickstart --help lists"],
      [[''], 2, 'INPUT is empty'],
    ] as const) {
      const ended = await varve(['quickstart', ...args, ...data])
      expect(ended.code, message).toBe(code)
      expect(ended.stderr).toContain(`varve: `)
      expect(ended.stderr).toContain(message)
    }
    expect((await varve(['quickstart', empty, '--data', ''])).stderr).toContain('data is empty')
  })

  it('does not send the files of its own log if that lies in the tree', async () => {
    const root = await tree(4)
    const args = ['quickstart', root, '--data', join(root, 'varve-data')]
    for (const count of ['sent 4 records', 'nothing new: all 4 files']) {
      expect((await varve(args)).stdout).toContain(count)
    }
  })
})

describe('the quickstart run by npm', () => {
  const npm = { npm_lifecycle_event: 'quickstart' }

  it('prints the next command as a user of npm types it', async () => {
    const data = await freshDirectory()
    const { stdout } = await varve(['quickstart', await tree(1), '--data', data], '', npm)
    expect(stdout).toContain(`  npm run quickstart -- --data ${data} --replay\n`)
  })

  it('quotes a directory so that a shell reads it as one word', async () => {
    const data = join(await freshDirectory(), "it's my data")
    const { stdout } = await varve(['quickstart', '--ndjson', '-', '--data', data], '1\n')
    const shown = `'${data.replace("'", String.raw`'\''`)}'`
    expect(stdout).toContain(`  varve quickstart --data ${shown} --replay\n`)
  })

  it.each(['replay', 'data'])(
    'explains the two dashes when npm has taken --%s for itself',
    async (name) => {
      const refused = await varve(['quickstart'], '', { ...npm, [`npm_config_${name}`]: 'true' })
      expect(refused).toMatchObject({ code: 2, stdout: '' })
      expect(refused.stderr).toContain(`npm run quickstart -- --${name}`)
    },
  )
})

describe('the quickstart while its input neither sends nor ends', () => {
  it('ends on Ctrl-C', async () => {
    const data = await freshDirectory()
    const args = ['quickstart', '--ndjson', '-', '--data', data]
    // Nobody writes to its standard input, and nobody closes it.
    const ended = await varveInterrupted(args, 'SIGINT', "group 'hashers'")
    expect(ended).toMatchObject({ code: 130, stderr: '' })
    expect(ended.stdout).toContain('Run it again to continue')
  })
})

it('the quickstart runs to its end when nobody reads its error output any more', async () => {
  const data = await freshDirectory()
  const args = ['quickstart', '--ndjson', '-', '--data', data]
  const child = spawn(process.execPath, [join(compiledLib(), 'cli/main.js'), ...args])
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  child.stderr.once('data', () => child.stderr.destroy())
  child.stdin.on('error', () => undefined)
  child.stdin.end(`${'not json\n'.repeat(5000)}{"a":1}\n`)
  child.stdout.resume()
  const code = await new Promise((resolve) => child.once('close', resolve))
  expect(code).toBe(3)
  const broker = await Broker.open(data)
  expect(broker.recovery.cleanShutdown).toBe(true)
  await broker.close()
})
