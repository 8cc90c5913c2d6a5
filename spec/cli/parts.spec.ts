import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable, Writable } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { CountingFileSystem } from '../../lib/cli/counting-file-system.ts'
import { parseDumpOptions } from '../../lib/cli/dump-options.ts'
import { filesBelow } from '../../lib/cli/file-tree.ts'
import { MAX_LINE_BYTES, readNdjson } from '../../lib/cli/ndjson.ts'
import { UsageError } from '../../lib/cli/command-arguments.ts'
import { runMember } from '../../lib/cli/quickstart-group.ts'
import type { Job, JobResult } from '../../lib/cli/quickstart-job.ts'
import { parseQuickstartOptions } from '../../lib/cli/quickstart-options.ts'
import { Problems } from '../../lib/cli/quickstart-problems.ts'
import { recordsOf, type Reading, type SourceRecord } from '../../lib/cli/quickstart-records.ts'
import { STANDARD_INPUT } from '../../lib/cli/quickstart-source.ts'
import { inBytes, Progress, table, thousands } from '../../lib/cli/report.ts'
import { NodeFileSystem } from '../../lib/platform/node-file-system.ts'
import { openFilesOf } from '../../lib/platform/open-files.ts'
import { realPathOf } from '../../lib/platform/real-path.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'
import { temporaryDirectory } from '../platform/temporary-directory.ts'

async function* chunks(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) {
    await Promise.resolve()
    yield bytes.subarray(at, at + size)
  }
}

async function read(
  text: string | Buffer,
  size = 7,
): Promise<{ lines: string[]; malformed: string[] }> {
  const malformed: string[] = []
  const lines: string[] = []
  const input = chunks(Buffer.from(text), size)
  for await (const line of readNdjson(input, ({ lineNumber }) =>
    malformed.push(String(lineNumber)),
  )) {
    lines.push(`${line.lineNumber} ${line.bytes.toString()}`)
  }
  return { lines, malformed }
}

describe('reading NDJSON', () => {
  it('accepts both line ends, empty lines, and a last line without an end', async () => {
    const { lines, malformed } = await read('{"a":1}\n\n[2]\r\n"é€"\n5')
    expect(lines).toEqual(['1 {"a":1}', '3 [2]', '4 "é€"', '5 5'])
    expect(malformed).toEqual([])
  })

  it('returns a last line as it will be once its line end is complete', async () => {
    for (const end of ['', '\r', '\r\n']) {
      expect(await read(`1\r\n5${end}`)).toEqual({ lines: ['1 1', '2 5'], malformed: [] })
    }
  })

  it('reports the number of each line that is not JSON, and continues', async () => {
    const { lines, malformed } = await read(Buffer.from('{"a"\n1\n\xff\n{}\nnope', 'latin1'))
    expect(lines).toEqual(['2 1', '4 {}'])
    expect(malformed).toEqual(['1', '3', '5'])
  })

  it('accepts a byte order mark before the first line only', async () => {
    const { lines, malformed } = await read('\ufeff1\n\ufeff2\n3')
    expect(lines).toEqual(['1 1', '3 3'])
    expect(malformed).toEqual(['2'])
  })

  it('reports a line that is longer than the limit, and continues', async () => {
    const { lines, malformed } = await read(`1\n"${'x'.repeat(MAX_LINE_BYTES)}"\n2\n`, 65_536)
    expect(lines).toEqual(['1 1', '3 2'])
    expect(malformed).toEqual(['2'])
  })

  it('returns the same lines wherever the chunks are split', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.jsonValue(), { maxLength: 8 }),
        fc.integer({ min: 1, max: 40 }),
        async (values, size) => {
          const texts = values.map((value) => JSON.stringify(value))
          const { lines } = await read(texts.join('\n'), size)
          expect(lines).toEqual(texts.map((text, slot) => `${slot + 1} ${text}`))
        },
      ),
      { numRuns: 50 },
    )
  })
})

describe('reading lines to send that is ended by Ctrl-C within a line', () => {
  async function readingOf(stdin: Readable) {
    const broker = await tempBroker({ fileSystem: new SimulatedFileSystem() })
    onTestFinished(() => broker.close())
    const topic = await broker.createTopic('lines')
    const shown = { text: '' }
    const output = new Writable({
      write(chunk: Buffer, _encoding, done) {
        shown.text += chunk.toString()
        done()
      },
    })
    const problems = new Problems(output, { giveWay: () => undefined })
    const stop = new AbortController()
    const { signal } = stop
    const base = { broker, topic: 'lines', keyField: null, stdin, signal, problems }
    const onFound = (): void => {
      stop.abort()
    }
    const reading: Reading = { ...base, onFound }
    return { topic, reading, shown, problems }
  }

  it('does not take the rest of a file that is in the log for changed', async () => {
    // A chunk of the file ends within the second line.
    const lines = ['a', 'b'].map((each) => JSON.stringify(each.repeat(50_000)))
    const path = join(await temporaryDirectory(), 'lines.ndjson')
    await writeFile(path, lines.map((line) => `${line}\n`).join(''))
    const { topic, reading, problems } = await readingOf(Readable.from([]))
    const stored = lines.map((value, at) => ({ value, headers: { line: String(at + 1) } }))
    await topic.partition(0).append(stored)
    const records: SourceRecord[] = []
    const source = { kind: 'lines', name: path, isStream: false } as const
    for await (const record of recordsOf(source, reading)) records.push(record)
    expect(records).toEqual([])
    expect(problems.count).toBe(0)
  })

  it('does not report the beginning of a line as one that is left out', async () => {
    const stdin = new PassThrough()
    stdin.write('{"a":1}\n{"b"')
    const { reading, shown } = await readingOf(stdin)
    const records: SourceRecord[] = []
    for await (const record of recordsOf(STANDARD_INPUT, reading)) records.push(record)
    expect(records.map(({ value }) => value.toString())).toEqual(['{"a":1}'])
    expect(shown.text).toBe('')
  })
})

it('the members of the quickstart keep their partitions, however long the work takes', async () => {
  const clock = new ManualClock()
  const broker = await tempBroker({ fileSystem: new SimulatedFileSystem(), clock })
  const topic = await broker.createTopic('files', { partitions: 2 })
  await broker.createTopic('results')
  for (const partition of topic.partitions) await partition.append([{ value: 'a' }, { value: 'b' }])
  let release = (): void => undefined
  const held = new Promise<void>((resolve) => (release = resolve))
  let works = 0
  const work = async (): Promise<JobResult> => {
    works += 1
    await held
    return { name: 'f', hash: '0', sizeBytes: 1 }
  }
  const job = { kind: 'files', noun: 'file', topic: 'files', resultTopic: 'results', work } as const
  const counts = { sent: 4, done: 0, doneBytes: 0, unreadable: 0, isSent: true }
  const state = { ...counts, stop: new AbortController() }
  const members = Promise.allSettled(
    [0, 1].map(() => runMember(broker, job as unknown as Job, state, () => undefined)),
  )
  for (let minute = 0; minute < 60; minute += 1) await clock.advance(60_000)
  release()
  for (let step = 0; step < 100; step += 1) await clock.advance(20)
  expect(works).toBe(4)
  expect(state.done).toBe(4)
  state.stop.abort()
  await clock.advance(1000)
  expect(await members).toMatchObject([{ status: 'fulfilled' }, { status: 'fulfilled' }])
  await broker.close()
})

describe('walking a tree', () => {
  it('finds regular files in order, and follows no symbolic link', async () => {
    const root = await mkdtemp(join(tmpdir(), 'varve-tree-'))
    onTestFinished(() => rm(root, { recursive: true, force: true }))
    await mkdir(join(root, 'b'))
    for (const name of ['c', 'b/y', 'b/x', 'a']) await writeFile(join(root, name), name)
    await symlink(root, join(root, 'loop'))
    const found: string[] = []
    for await (const file of filesBelow(root, expect.unreachable)) {
      found.push(`${file.path.slice(root.length + 1)} ${file.sizeBytes}`)
    }
    expect(found).toEqual(['a 1', 'b/x 3', 'b/y 3', 'c 1'])
  })

  it('reports a directory that it cannot read', async () => {
    const skipped: string[] = []
    for await (const file of filesBelow('/no/such/place', (path) => skipped.push(path))) {
      expect.unreachable(file.path)
    }
    expect(skipped).toEqual(['/no/such/place'])
  })
})

describe('text for people', () => {
  it('has grouped digits in numbers, and units in sizes', () => {
    expect([0, 999, 1000, 1_234_567.4].map(thousands)).toEqual(['0', '999', '1,000', '1,234,567'])
    expect([0, 1023, 1024, 1_610_612_736].map(inBytes)).toEqual([
      '0 B',
      '1023 B',
      '1.0 KiB',
      '1.5 GiB',
    ])
  })

  it('has aligned columns in tables', () => {
    expect(
      table(
        ['name', 'count'],
        [
          ['a', 5],
          ['bcdef', 12_000],
        ],
      ),
    ).toBe('name    count\na           5\nbcdef  12,000')
  })

  it('shows progress in place on a terminal, and line by line elsewhere', () => {
    vi.useFakeTimers()
    onTestFinished(() => {
      vi.useRealTimers()
    })
    const outputs = [true, false].map((isTTY) => {
      let text = ''
      const output = new Writable({
        write(chunk: Buffer, _encoding, done) {
          text += chunk.toString()
          done()
        },
      })
      const progress = new Progress(
        Object.assign(output, { isTTY, columns: 10 }),
        () => 'a long line',
      )
      vi.advanceTimersByTime(1000)
      progress.giveWay()
      progress.stop()
      vi.advanceTimersByTime(5000)
      return text
    })
    expect(outputs[0]).toBe('a long li\r\u001b[2K'.repeat(10))
    expect(outputs[1]).toBe('a long line\n')
  })
})

describe('the options of the quickstart', () => {
  it('are parsed into what to send and where', () => {
    expect(parseQuickstartOptions(['/a', '--data', '/d'])).toEqual({
      tree: '/a',
      ndjson: null,
      keyField: null,
      dataDir: '/d',
      replay: false,
      command: 'varve quickstart --data /d',
    })
    expect(parseQuickstartOptions(['--ndjson', '-', '--key', 'id', '--replay'])).toMatchObject({
      tree: null,
      ndjson: '-',
      keyField: 'id',
      replay: true,
    })
    expect(parseQuickstartOptions([]).tree).toMatch(/node_modules$/)
    expect(parseQuickstartOptions(['--replay'])).toMatchObject({ tree: null, ndjson: null })
  })

  it.each([[['a', 'b']], [['a', '--ndjson', 'f']], [['--key', 'x']], [['--nope']], [['--data']]])(
    'throw UsageError when they are invalid: %j',
    (args) => {
      expect(() => parseQuickstartOptions(args)).toThrow(UsageError)
    },
  )
})

describe('the options of a dump', () => {
  it.each([
    ['2026-11-30', 'Asia/Tokyo', '2026-11-29T15:00:00Z'],
    ['2026-11-30T00:00', 'Asia/Tokyo', '2026-11-29T15:00:00Z'],
    ['2026-11-30', 'America/New_York', '2026-11-30T05:00:00Z'],
    ['2026-11-30T00:00', 'America/New_York', '2026-11-30T05:00:00Z'],
    ['2026-11-30T00:00Z', 'America/New_York', '2026-11-30T00:00:00Z'],
    ['2026-11-30T00:00+02:00', 'Asia/Tokyo', '2026-11-29T22:00:00Z'],
    ['1970-01-01', 'Asia/Tokyo', '1970-01-01T00:00:00Z'],
  ])('parse the time %s in the time zone %s as %s', (from, zone, expected) => {
    vi.stubEnv('TZ', zone)
    onTestFinished(() => void vi.unstubAllEnvs())
    const { from: start } = parseDumpOptions(['data', 'orders', '--from', from])
    expect(start).toEqual({ timestamp: Date.parse(expected) })
  })
})

describe('a counting file system', () => {
  it('behaves like the real one, and counts writes and syncs', async () => {
    const dir = join(await temporaryDirectory(), 'd')
    const disk = new CountingFileSystem()
    expect(await disk.createDirectory(dir)).toEqual([dir])
    const file = await disk.open(join(dir, 'f'), 'create')
    expect(file.path).toBe(join(dir, 'f'))
    await file.write([Buffer.from('abc'), Buffer.from('de')], 0)
    await file.datasync()
    await file.sync()
    await file.truncate(4)
    const read = Buffer.alloc(9)
    expect(await file.read(read, 0)).toBe(4)
    expect((await file.stat()).sizeBytes).toBe(4)
    await file.close()
    await disk.syncDirectory(dir)
    expect(disk.counts).toEqual({ writes: 1, writtenBytes: 5, syncs: 3 })
  })

  it('resolves a symbolic link, and shares the limit of open files with other file systems', async () => {
    const dir = await temporaryDirectory()
    const disk = new CountingFileSystem()
    const target = join(dir, 'target')
    await disk.createDirectory(target)
    await symlink(target, join(dir, 'link'), 'dir')
    expect(await realPathOf(disk, join(dir, 'link'))).toBe(target)
    expect(openFilesOf(disk)).toBe(openFilesOf(new NodeFileSystem()))
  })
})
