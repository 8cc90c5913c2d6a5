import { getEventListeners } from 'node:events'
import { cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { runCommandLine } from '../../lib/cli/command-line.ts'
import { LineWriter } from '../../lib/cli/line-writer.ts'
import { startOfLast } from '../../lib/cli/dump.ts'
import { liveRecords } from '../../lib/cli/live-records.ts'
import { jsonLine, recordLine } from '../../lib/cli/record-line.ts'
import { timeText } from '../../lib/cli/report.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { LockedError, StorageError } from '../../lib/errors.ts'
import { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'
import { eventually } from '../helpers/eventually.ts'
import { freshDirectory, varve, varveInterrupted } from './run-varve.ts'

/** 2024-01-01T00:00:00Z, where a {@link ManualClock} begins. */
const START_MS = 1_704_067_200_000

/** `orders-0` has 40 records in several segments, 1 s apart, `orders-1` one, `orders-2` none. */
async function filled(): Promise<string> {
  const dir = join(await freshDirectory(), 'data')
  const broker = await Broker.open(dir, { clock: new ManualClock() })
  const orders = await broker.createTopic('orders', { partitions: 3, segmentBytes: 500 })
  for (let id = 0; id < 40; id += 1) {
    await orders.partition(0).append({ value: `order ${id}`, timestamp: START_MS + id * 1000 })
  }
  await orders.partition(1).append({ key: 'k', value: 'other', timestamp: START_MS })
  const consumer = broker.consumer({ groupId: 'billing' })
  await consumer.commit([{ topic: 'orders', partition: 0, offset: 25 }])
  await broker.close()
  return dir
}

/** Changes a byte of the third record of `orders-0`. */
async function damage(dir: string): Promise<string> {
  const path = join(dir, 'orders-0', '00000000000000000000.log')
  const bytes = await readFile(path)
  const at = bytes.indexOf('order 2')
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
  await writeFile(path, bytes)
  return path
}

function jsonLinesOf(stdout: string): unknown[] {
  const lines = stdout.split('\n').filter((line) => line !== '')
  return lines.map((line) => JSON.parse(line) as unknown)
}

function offsetsOf(stdout: string): string[] {
  const records = jsonLinesOf(stdout) as { partition: number; offset: number }[]
  return records.map(({ partition, offset }) => `${partition}:${offset}`)
}

function from0(first: number, end: number): string[] {
  return Array.from({ length: end - first }, (_, slot) => `0:${first + slot}`)
}

async function contentsOf(dir: string): Promise<Map<string, string>> {
  const contents = new Map<string, string>()
  for (const name of await readdir(dir, { recursive: true })) {
    const stats = await stat(join(dir, name))
    if (!stats.isFile()) continue
    contents.set(name, `${stats.mtimeMs} ${(await readFile(join(dir, name))).toString('base64')}`)
  }
  return contents
}

describe('varve inspect', () => {
  it('prints the offsets of topics and the progress of groups', async () => {
    const dir = await filled()
    const { code, stdout, stderr } = await varve(['inspect', dir])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.split('\n')).toEqual([
      `${dir}: 1 topic, 1 group`,
      '',
      expect.stringMatching(/^partition +start +end +segments +size +last record \(UTC\)$/),
      expect.stringMatching(/^orders-0 +0 +40 +\d+ +[\d.]+ KiB +2024-01-01 00:00:39$/),
      expect.stringMatching(/^orders-1 +0 +1 +1 +\d+ B +2024-01-01 00:00:00$/),
      expect.stringMatching(/^orders-2 +0 +0 +1 +0 B +-$/),
      '',
      expect.stringMatching(/^group: partition +committed +lag +oldest in lag \(UTC\)$/),
      expect.stringMatching(/^billing: orders-0 +25 +15 +2024-01-01 00:00:25$/),
      '',
    ])
  })

  it('prints the same as JSON, with the topic configurations and the internal topic', async () => {
    const dir = await filled()
    const { stdout } = await varve(['inspect', dir, '--json'])
    const [all] = jsonLinesOf(stdout) as [Record<string, unknown[]>]
    expect(all).toMatchObject({
      dir,
      offsets: [
        {
          ...{ groupId: 'billing', topic: 'orders', partition: 0, offset: 25, lag: 15 },
          ...{ highWatermark: 40, oldestTimestamp: START_MS + 25_000 },
        },
      ],
    })
    expect(all.topics).toContainEqual(
      expect.objectContaining({
        name: 'orders',
        internal: false,
        config: expect.objectContaining({ segmentBytes: 500 }) as unknown,
      }),
    )
    expect(all.partitions).toContainEqual(
      expect.objectContaining({ topic: '__consumer_offsets', partition: 0, damage: null }),
    )
    expect(all.partitions).toContainEqual(
      expect.objectContaining({
        ...{ topic: 'orders', partition: 0, logStartOffset: 0, highWatermark: 40 },
        lastTimestamp: START_MS + 39_000,
      }),
    )
  })

  it('counts no lag for records that were deleted before they were consumed', async () => {
    const dir = await filled()
    const broker = await Broker.open(dir)
    await broker.topic('orders').partition(0).deleteRecords(30)
    await broker.close()
    const { stdout } = await varve(['inspect', dir])
    expect(stdout).toMatch(/^orders-0 +30 +40 /m)
    expect(stdout).toMatch(/^billing: orders-0 +25 +10 +2024-01-01 00:00:30$/m)
  })

  it('names a segment that the open finds damaged', async () => {
    const dir = await filled()
    const [, second = ''] = (await readdir(join(dir, 'orders-0')))
      .filter((name) => name.endsWith('.log'))
      .sort()
    await writeFile(join(dir, 'orders-0', second), '')
    const { code, stdout } = await varve(['inspect', dir])
    expect(code).toBe(0)
    expect(stdout).toMatch(new RegExp(`^orders-0 is damaged: .*${second}`, 'm'))
  })

  it('replaces the control characters of a group id', async () => {
    const dir = await filled()
    const broker = await Broker.open(dir)
    const consumer = broker.consumer({ groupId: 'a\u001b[2Jb' })
    await consumer.commit([{ topic: 'orders', partition: 0, offset: 1 }])
    await broker.close()
    expect((await varve(['inspect', dir])).stdout).toContain('a\ufffd[2Jb: orders-0')
  })
})

describe('varve dump', () => {
  it.each<[string, string[], string[]]>([
    ['all, one partition after the other', [], [...from0(0, 40), '1:0']],
    ['of one partition', ['--partition', '0'], from0(0, 40)],
    ['from an offset on', ['--from', '38'], from0(38, 40)],
    ['from a time on', ['--from', '2024-01-01T00:00:37.500Z'], from0(38, 40)],
    ['of no time yet', ['--from', '2030-01-01'], []],
    ['from behind the end', ['--from', '41'], []],
    ['the last ones of each partition', ['--last', '2'], [...from0(38, 40), '1:0']],
    ['no more than there are', ['--last', '1000', '--partition', '1'], ['1:0']],
    ['as many as are wanted', ['--limit', '3', '--from', '39'], ['0:39']],
    ['as many as are wanted of all', ['--limit', '41'], [...from0(0, 40), '1:0']],
    ['none behind the limit', ['--limit', '40'], from0(0, 40)],
  ])('writes records: %s', async (_what, options, expected) => {
    const dir = await filled()
    const { code, stdout, stderr } = await varve(['dump', dir, 'orders', ...options])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(offsetsOf(stdout)).toEqual(expected)
  })

  it('starts at the log start offset when records were deleted, and skips gaps', async () => {
    const dir = await filled()
    const broker = await Broker.open(dir)
    const table = await broker.createTopic('table', {
      ...{ cleanupPolicy: 'compact', segmentBytes: 200, minCleanableDirtyRatio: 0 },
    })
    for (let id = 0; id < 30; id += 1) {
      await table.partition(0).append({ key: `k${id % 3}`, value: String(id) })
    }
    await table.partition(0).compact()
    await broker.topic('orders').partition(0).deleteRecords(35)
    const kept = []
    for await (const { offset } of table.partition(0).records({ until: 'end' })) kept.push(offset)
    await broker.close()
    expect(kept.length).toBeLessThan(10)
    const dump = async (...args: string[]): Promise<string[]> =>
      offsetsOf((await varve(['dump', dir, ...args])).stdout)
    expect(await dump('orders', '--from', '2', '--partition', '0')).toEqual(from0(35, 40))
    expect(await dump('table', '--last', '2')).toEqual(kept.slice(-2).map((each) => `0:${each}`))
    expect(await dump('table', '--last', '99')).toEqual(kept.map((each) => `0:${each}`))
  })

  it('writes fields that can be decoded to the same bytes', () => {
    const bytes = fc.option(
      fc.oneof(
        fc.uint8Array().map((each) => Buffer.from(each)),
        fc.string({ unit: 'binary' }).map((each) => Buffer.from(each)),
      ),
    )
    const headers = fc.array(fc.record({ key: fc.string({ unit: 'binary' }), value: bytes }))
    const back = (field: string | { base64: string } | null): Buffer | null => {
      if (field === null) return null
      return typeof field === 'string' ? Buffer.from(field) : Buffer.from(field.base64, 'base64')
    }
    fc.assert(
      fc.property(bytes, bytes, headers, (key, value, given) => {
        const record = { topic: 't', partition: 3, offset: 7, timestamp: 9, key, value }
        const line = recordLine(3, { ...record, headers: given })
        // eslint-disable-next-line no-control-regex -- these are what is looked for
        expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/)
        const read = JSON.parse(line) as {
          key: string | null
          value: string | null
          headers?: { key: string; value: string | null }[]
        }
        expect(read).toMatchObject({ partition: 3, offset: 7, timestamp: 9 })
        expect([back(read.key), back(read.value)]).toEqual([key, value])
        const gotten = (read.headers ?? []).map((each) => ({ ...each, value: back(each.value) }))
        expect(gotten).toEqual(given)
      }),
    )
  })

  it('follows what another process appends, until Ctrl-C', async () => {
    const dir = await filled()
    const broker = await Broker.open(dir)
    onTestFinished(() => broker.close())
    const args = ['dump', dir, 'orders', '--follow', '--from', '39']
    const ended = varveInterrupted(args, 'SIGINT', '"behind"')
    const orders = broker.topic('orders')
    let isOver = false
    void ended.finally(() => (isOver = true))
    // Whenever it begins to read, more records follow.
    for (let id = 0; !isOver; id += 1) {
      await orders.partition(2).append({ value: id < 30 ? 'early' : 'behind' })
    }
    const { code, stdout, stderr } = await ended
    expect({ code, stderr }).toEqual({ code: 130, stderr: '' })
    const [first, ...others] = offsetsOf(stdout)
    expect(first).toBe('0:39')
    // Below the offset at which it begins, in a partition that has not reached it.
    expect(others.every((each) => Number(each.split(':')[1]) >= 39)).toBe(true)
  })

  it('starts at the first record of at least the given time when no such record exists yet', async () => {
    const dir = await filled()
    const broker = await Broker.open(dir)
    onTestFinished(() => broker.close())
    const orders = broker.topic('orders')
    const args = ['dump', dir, 'orders', '--follow', '--from', '2030-01-01T00:00:00Z']
    const dumping = varve([...args, '--limit', '2'])
    let isOver = false
    void dumping.finally(() => (isOver = true))
    const youngMs = Date.UTC(2030, 0, 1)
    for (let id = 0; !isOver; id += 1) {
      await orders.partition(2).append({ value: String(id), timestamp: START_MS })
      if (id === 30) await orders.partition(2).append({ value: 'young', timestamp: youngMs })
    }
    const { code, stdout } = await dumping
    expect(code).toBe(0)
    expect(jsonLinesOf(stdout)).toMatchObject([
      { value: 'young', timestamp: youngMs },
      { value: '31', timestamp: START_MS },
    ])
  })

  it('follows all partitions at once, and ends after as many records as the limit', async () => {
    const dir = await filled()
    const broker = await Broker.open(dir)
    onTestFinished(() => broker.close())
    const dumping = varve(['dump', dir, 'orders', '--follow', '--last', '1', '--limit', '5'])
    let isOver = false
    void dumping.finally(() => (isOver = true))
    const orders = broker.topic('orders')
    for (let id = 0; !isOver; id += 1) {
      await orders.partition(id % 3).append({ value: 'more' })
    }
    const { code, stdout } = await dumping
    expect(code).toBe(0)
    const seen = offsetsOf(stdout)
    expect(seen).toHaveLength(5)
    expect(new Set(seen).size).toBe(5)
  })

  it.each([[[]], [['--limit', '3']]])(
    'writes the records before damage, names it, and continues with the other partitions: %j',
    async (options) => {
      const dir = await filled()
      const path = await damage(dir)
      const { code, stdout, stderr } = await varve(['dump', dir, 'orders', ...options])
      expect(code).toBe(1)
      expect(offsetsOf(stdout)).toEqual([...from0(0, 2), '1:0'])
      expect(stderr).toContain(`of ${path}, offsets from 2 to 2: the CRC is `)
    },
  )

  it.each([[[]], [['--last', '1']], [['--from', '2024-01-01T00:00:00Z']]])(
    'reports a missing segment that the open has found: %j',
    async (options) => {
      const dir = await filled()
      const logs = (await readdir(join(dir, 'orders-0'))).filter((name) => name.endsWith('.log'))
      await rm(join(dir, 'orders-0', logs.sort()[2] ?? ''))
      const { code, stdout, stderr } = await varve(['dump', dir, 'orders', ...options])
      expect(code).toBe(1)
      expect(stdout).toContain('"partition":1')
      expect(stderr).toMatch(/^varve: .*orders-0.*\n$/)
    },
  )

  it('skips records that are deleted meanwhile, and reports their offsets', async () => {
    await using broker = await tempBroker({ fileSystem: new SimulatedFileSystem() })
    const topic = await broker.createTopic('t', { segmentBytes: 150_000 })
    const partition = topic.partition(0)
    // Ten of them are read at once.
    for (let id = 0; id < 40; id += 1) await partition.append({ value: 'x'.repeat(100_000) })
    const deleted: string[] = []
    const seen: number[] = []
    const { signal } = new AbortController()
    const records = liveRecords(partition, { from: 0, until: 39, signal }, (first, last) =>
      deleted.push(`${first} to ${last}`),
    )
    for await (const { offset } of records) {
      seen.push(offset)
      if (offset === 1) await partition.deleteRecords(25)
      if (offset === 26) await partition.deleteRecords(40)
    }
    const before = seen.filter((offset) => offset < 25)
    const behind = seen.filter((offset) => offset >= 25)
    expect(before).toEqual(Array.from(before, (_, offset) => offset))
    expect(behind).toEqual(Array.from(behind, (_, slot) => 25 + slot))
    expect(before.length).toBeLessThan(20)
    expect(behind.length).toBeLessThan(14)
    // What was read before the deletion is delivered.
    expect(deleted).toEqual([`${before.length} to 24`, `${25 + behind.length} to 38`])
  })

  it.each([
    ['the first of those that are left', 25, 25],
    ['the end, if none are left', 40, 40],
  ])(
    'starts the last ones at %s if records are deleted while it counts',
    async (_, below, start) => {
      await using broker = await tempBroker({ fileSystem: new SimulatedFileSystem() })
      const partition = (await broker.createTopic('t')).partition(0)
      for (let id = 0; id < 40; id += 1) await partition.append({ value: String(id) })
      const records = partition.records.bind(partition)
      partition.records = async function* (options) {
        for await (const record of records(options)) {
          if (record.offset === 30) await partition.deleteRecords(below)
          yield record
        }
      }
      const { signal } = new AbortController()
      expect(await startOfLast(partition, 1_000, 40, signal)).toBe(start)
    },
  )

  it('waits for a slow output after each record', async () => {
    const dir = await filled()
    let atOnce = 0
    let mostAtOnce = 0
    let written = 0
    const slow = new Writable({
      highWaterMark: 1,
      write(_chunk, _encoding, done) {
        written += 1
        atOnce = 0
        setImmediate(done)
      },
    })
    const write = slow.write.bind(slow)
    slow.write = (chunk: unknown) => {
      atOnce += 1
      mostAtOnce = Math.max(mostAtOnce, atOnce)
      return write(chunk)
    }
    const streams = { stdin: Readable.from([]), stdout: slow, stderr: slow }
    expect(await runCommandLine(['dump', dir, 'orders'], streams)).toBe(0)
    expect({ written, mostAtOnce }).toEqual({ written: 41, mostAtOnce: 1 })
  })

  it('adds only one listener per event to its output, and removes it when no write waits any more', async () => {
    const stop = new AbortController()
    let takeNext = (): void => undefined
    const output = new Writable({
      highWaterMark: 1,
      write(_chunk, _encoding, done) {
        takeNext = done
      },
    })
    const writer = new LineWriter(output, stop.signal)
    const ended: number[] = []
    const waits = Array.from({ length: 20 }, async (_, slot) => {
      await writer.write('line')
      ended.push(slot)
    })
    expect(['drain', 'close', 'error'].map((event) => output.listenerCount(event))).toEqual([
      1, 1, 1,
    ])
    for (let line = 0; line < 20; line += 1) {
      expect(ended).toEqual([])
      takeNext()
      await new Promise(setImmediate)
    }
    await Promise.all(waits)
    expect(['drain', 'close', 'error'].map((event) => output.listenerCount(event))).toEqual([
      0, 0, 0,
    ])
    const last = writer.write('nobody takes it')
    stop.abort()
    await last
    expect(getEventListeners(stop.signal, 'abort')).toEqual([])
  })

  it('writes a very large value in base64, and throws for a record that is too large for a line', () => {
    const record = { topic: 't', partition: 3, offset: 7, timestamp: 9, key: null, headers: [] }
    const large = Buffer.alloc(64 * 1024 * 1024 + 1)
    expect(recordLine(3, { ...record, value: large })).toContain('"value":{"base64":"AAAA')
    const tooLarge = Buffer.alloc(450 * 1024 * 1024)
    expect(() => recordLine(3, { ...record, value: tooLarge })).toThrow(
      'the record at offset 7 of t-3 is too large for a line',
    )
  })

  it.each([[[]], [['--follow']]])(
    'ends when its output fails because nobody reads it any more: %j',
    async (options) => {
      const dir = await filled()
      let written = 0
      const head = new Writable({
        write(_chunk, _encoding, done) {
          written += 1
          done(written === 3 ? new Error('EPIPE') : null)
        },
      })
      head.on('error', () => undefined)
      const streams = { stdin: Readable.from([]), stdout: head, stderr: head }
      expect(await runCommandLine(['dump', dir, 'orders', ...options], streams)).toBe(0)
      expect(written).toBe(3)
    },
  )
})

describe('varve verify', () => {
  it('finds no damage in an undamaged directory', async () => {
    const { code, stdout, stderr } = await varve(['verify', await filled()])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^4 partitions, [\d.]+ KiB: no damage found\n$/)
  })

  it('reports the damage of a partition and continues with the others', async () => {
    const dir = await filled()
    const path = await damage(dir)
    const other = join(dir, 'orders-1', '00000000000000000000.log')
    const bytes = await readFile(other)
    await writeFile(other, bytes.fill(0, bytes.indexOf('other')))
    const { code, stdout } = await varve(['verify', dir])
    expect(code).toBe(3)
    expect(stdout).toMatch(/^4 partitions, .*: 2 damaged$/m)
    expect(stdout).toMatch(new RegExp(`^orders-0 is damaged: .*${basename(path)}`, 'm'))
    expect(stdout).toMatch(/^orders-1 is damaged: /m)
    const json = await varve(['verify', dir, 'orders', '--json'])
    expect(json.code).toBe(3)
    expect(jsonLinesOf(json.stdout)).toMatchObject([
      {
        topic: 'orders',
        partition: 0,
        damage: [{ path, lastOffset: expect.any(Number) as number }],
      },
      { topic: 'orders', partition: 1, damage: [{ firstOffset: 0 }] },
      { topic: 'orders', partition: 2, damage: [] },
    ])
  })

  it('does not report a partition as damaged that it could not read, and continues with the others', async () => {
    const dir = await filled()
    const failure = new StorageError('permission denied', { path: dir, outcome: 'not-written' })
    vi.spyOn(Log.prototype, 'verify').mockRejectedValueOnce(failure)
    onTestFinished(() => {
      vi.restoreAllMocks()
    })
    const { code, stdout } = await varve(['verify', dir, 'orders'])
    expect(code).toBe(1)
    expect(stdout).toMatch(/^orders-0 could not be read: permission denied$/m)
    expect(stdout).toMatch(/^3 partitions, .*: 1 could not be read$/m)
    vi.spyOn(Log.prototype, 'verify').mockRejectedValueOnce(failure)
    const bytes = await readFile(join(dir, 'orders-1', '00000000000000000000.log'))
    bytes.fill(0, bytes.indexOf('other'))
    await writeFile(join(dir, 'orders-1', '00000000000000000000.log'), bytes)
    const both = await varve(['verify', dir, 'orders', '--json'])
    expect(both.code).toBe(3)
    expect(jsonLinesOf(both.stdout)).toMatchObject([
      { partition: 0, damage: [], failure: 'permission denied' },
      { partition: 1, damage: [{ firstOffset: 0 }], failure: null },
      { partition: 2, damage: [], failure: null },
    ])
  })

  it('checks only the named topics', async () => {
    const dir = await filled()
    await damage(dir)
    const broker = await Broker.open(dir)
    await broker.createTopic('sound')
    await broker.close()
    expect(await varve(['verify', dir, 'sound'])).toMatchObject({ code: 0 })
    expect(await varve(['verify', dir, 'sound', 'orders'])).toMatchObject({ code: 3 })
    expect(await varve(['verify', dir, 'none'])).toEqual({
      ...{ code: 1, stdout: '' },
      stderr: "varve: there is no topic 'none'\n",
    })
  })
})

describe('varve salvage', () => {
  it('saves the undamaged records, reports the lost offsets, and creates a log without damage', async () => {
    const dir = await filled()
    const path = await damage(dir)
    const target = join(await freshDirectory(), 'saved')
    const { code, stdout } = await varve(['salvage', join(dir, 'orders-0'), target])
    expect(code).toBe(3)
    expect(stdout).toMatch(/^saved 39 records in 39 batches, offsets from 0 to 39$/m)
    expect(stdout).toMatch(
      new RegExp(`^lost: offsets (\\d+) to \\1, at position \\d+ of ${path}: `, 'm'),
    )
    const again = await varve(['salvage', target, join(await freshDirectory(), 'twice')])
    expect(again).toMatchObject({ code: 0, stderr: '' })
    expect(again.stdout).toMatch(/nothing is lost\n$/)
  })

  it('prints its report as JSON', async () => {
    const dir = await filled()
    const target = join(await freshDirectory(), 'saved')
    const { stdout } = await varve(['salvage', join(dir, 'orders-1'), target, '--json'])
    expect(jsonLinesOf(stdout)).toEqual([
      { batchCount: 1, recordCount: 1, logStartOffset: 0, logEndOffset: 1, lost: [] },
    ])
  })

  it.each(['what is no partition', 'a target that holds something'])('refuses %s', async (what) => {
    const dir = await filled()
    const isSource = what.startsWith('what')
    const source = isSource ? dir : join(dir, 'orders-0')
    const target = isSource ? join(await freshDirectory(), 'saved') : join(dir, 'orders-1')
    const { code, stdout, stderr } = await varve(['salvage', source, target])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain(isSource ? source : target)
  })

  it.each([
    ['orders-1', 'is in a data directory, whose next open would treat it as a partition'],
    ['orders-7', 'is in a data directory, whose next open would treat it as a partition'],
    ['orders-0/saved', 'which must not be changed'],
    ['orders-0', 'which must not be changed'],
  ])('refuses the target %s in the data directory that it reads', async (name, message) => {
    const dir = await filled()
    const before = await contentsOf(dir)
    const { code, stdout, stderr } = await varve([
      ...['salvage', join(dir, 'orders-0')],
      join(dir, name),
    ])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain(message)
    expect(await contentsOf(dir)).toEqual(before)
  })
})

describe('every command', () => {
  it('changes nothing in a directory that another process has open, and needs no lock', async () => {
    const dir = await filled()
    const broker = await Broker.open(dir)
    onTestFinished(() => broker.close())
    await broker.topic('orders').partition(0).append({ value: 'before' })
    const before = await contentsOf(dir)
    for (const [name, ...args] of [
      ['inspect'],
      ['dump', 'orders'],
      ['dump', 'orders', '--last', '1'],
      ['verify'],
    ] as const) {
      expect(await varve([name, dir, ...args])).toMatchObject({ code: 0, stderr: '' })
    }
    const target = join(await freshDirectory(), 'copy')
    await cp(dir, target, { recursive: true })
    await varve(['salvage', join(target, 'orders-0'), `${target}-saved`])
    // The lock is renewed meanwhile.
    const withoutLock = (files: Map<string, string>): [string, string][] =>
      [...files].filter(([file]) => !file.includes('lock'))
    expect(withoutLock(await contentsOf(dir))).toEqual(withoutLock(before))
    expect(withoutLock(await contentsOf(target)).map(([file]) => file)).toEqual(
      withoutLock(before).map(([file]) => file),
    )
  })

  it.each<[string[], number, string]>([
    [['inspect'], 2, "inspect takes one directory, got ''"],
    [['inspect', ''], 2, "inspect takes one directory, got ''"],
    [['inspect', 'a', 'b'], 2, "inspect takes one directory, got 'a b'"],
    [['inspect', '--bogus'], 2, "Unknown option '--bogus'; varve inspect --help lists the options"],
    [['verify'], 2, 'verify takes a directory and optionally topics'],
    [['salvage', 'a'], 2, 'salvage takes the directory of a partition and a new one, got'],
    [['salvage', 'a', 'b', 'c'], 2, 'salvage takes the directory of a partition and a new one'],
    [['dump', 'a'], 2, "dump takes a directory and a topic, got 'a'"],
    [['dump', '', 't'], 2, 'DIR is empty'],
    [['dump', 'a', 't', 'u'], 2, "dump takes a directory and a topic, got 'a t u'"],
    [['dump', 'a', 't', '--from', 'x'], 2, '--from must be an offset or a time such as 2026-'],
    [['dump', 'a', 't', '--from', '1e3'], 2, "got '1e3'"],
    [['dump', 'a', 't', '--from=-5'], 2, "got '-5'"],
    [['dump', 'a', 't', '--from', 'end-10'], 2, "got 'end-10'"],
    [['dump', 'a', 't', '--from', '2024-13-01'], 2, "got '2024-13-01'"],
    [['dump', 'a', 't', '--from', '2026-02-31'], 2, "got '2026-02-31'"],
    [['dump', 'a', 't', '--from', '2026-02-28T25:00'], 2, "got '2026-02-28T25:00'"],
    [['dump', 'a', 't', '--from', '99999999999999999'], 2, '--from must be a whole number'],
    [
      ['dump', 'a', 't', '--from', '1', '--last', '1'],
      2,
      '--from and --last are mutually exclusive',
    ],
    [['dump', 'a', 't', '--last', '0'], 2, '--last must be a whole number of at least 1'],
    [['dump', 'a', 't', '--limit', '-1'], 2, '--limit'],
    [['dump', 'a', 't', '--partition', 'x'], 2, '--partition must be a whole number of at least 0'],
    [['dumb'], 2, "unknown command 'dumb'; varve --help lists the commands"],
    [[], 2, 'a command is missing'],
  ])('reports invalid arguments: %j', async (args, expected, message) => {
    const { code, stdout, stderr } = await varve(args)
    expect({ code, stdout }).toEqual({ code: expected, stdout: '' })
    expect(stderr).toContain(`varve: `)
    expect(stderr).toContain(message)
    expect(stderr.trimEnd()).not.toContain('\n')
  })

  it.each(['inspect', 'dump', 'verify'])(
    '%s reports a directory that is not a data directory',
    async (name) => {
      const dir = join(await freshDirectory(), 'files')
      await mkdir(dir)
      await writeFile(join(dir, 'notes.txt'), 'mine')
      const args = name === 'dump' ? ['t'] : []
      expect(await varve([name, dir, ...args])).toEqual({
        ...{ code: 1, stdout: '' },
        stderr: `varve: ${dir} is not a data directory: it has no meta.properties\n`,
      })
      const { code, stderr } = await varve([name, join(dir, 'none'), ...args])
      expect(code).toBe(1)
      expect(stderr).toContain('there is no such directory')
      expect(await readdir(dir)).toEqual(['notes.txt'])
    },
  )

  it.each(['inspect', 'dump', 'verify', 'quickstart'])(
    '%s replaces control characters in its error about a foreign directory',
    async (name) => {
      const dir = await freshDirectory()
      await writeFile(
        join(dir, 'meta.properties'),
        'version=\u001b]0;owned\u0007\u001b[2J\u009b31mall is well\n',
        'latin1',
      )
      const args = { dump: [dir, 't'], quickstart: [dir, '--data', dir] }[name] ?? [dir]
      const { code, stdout, stderr } = await varve([name, ...args])
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
      expect(stderr).toContain('\ufffd[2J\ufffd31mall is well')
      expect(stderr).toMatch(/^\P{Cc}+\n$/u)
    },
  )

  it.each(['inspect', 'verify'])('%s continues when topics are deleted meanwhile', async (name) => {
    const dir = await filled()
    const owner = await Broker.open(dir)
    onTestFinished(() => owner.close())
    await owner.createTopic('inventory')
    await owner.createTopic('zoo')
    // As soon as one is read, the owner deletes two after it, and the command's broker notices.
    const open = Broker.open.bind(Broker)
    vi.spyOn(Broker, 'open').mockImplementationOnce(async (...args) => {
      const broker = await open(...args)
      const later = ['orders', 'zoo'].map((topic) => broker.topic(topic).partition(0))
      const first = broker.topic('inventory').partition(0)
      const readLast = first.readLast.bind(first)
      const verify = first.log.verify.bind(first.log)
      const deleteThem = async (): Promise<void> => {
        for (const topic of ['orders', 'zoo']) await owner.deleteTopic(topic)
        await eventually(() => {
          expect(later.every(({ isClosed }) => isClosed)).toBe(true)
        })
      }
      vi.spyOn(first, 'readLast').mockImplementationOnce(async (count) => {
        await deleteThem()
        return readLast(count)
      })
      vi.spyOn(first.log, 'verify').mockImplementationOnce(async () => {
        await deleteThem()
        return verify()
      })
      return broker
    })
    onTestFinished(() => void vi.restoreAllMocks())
    const { code, stdout, stderr } = await varve([name, dir, '--json'])
    expect(code).toBe(0)
    // Except for the progress of a long command.
    expect(stderr).toMatch(/^(\d partitions? of 6 read\n)*$/)
    expect(stdout).toContain('"inventory","partition":0')
    // What was described of it is printed anyway.
    expect(stdout.includes('"orders","partition":0')).toBe(name === 'inspect')
  })

  it('replaces control characters in the host name of a lock owner', async () => {
    const dir = await freshDirectory()
    const host = 'a\nvarve: all is well\u001b[2J\u202e'
    const owner = new LockedError(dir, { pid: 1, host, sinceMs: null })
    vi.spyOn(Broker, 'open').mockRejectedValueOnce(owner)
    onTestFinished(() => void vi.restoreAllMocks())
    const { stderr } = await varve(['quickstart', dir, '--data', dir])
    expect(stderr.split('\n')).toEqual([
      `varve: process 1 on a\ufffdvarve: all is well\ufffd[2J\ufffd has had the log in ${dir} open; only one process at a time can write to it.`,
      expect.stringContaining('--data DIR'),
      '',
    ])
  })

  it.each(['inspect', 'dump', 'verify', 'salvage', 'quickstart'])(
    '%s prints its help',
    async (name) => {
      const all = await varve(['--help'])
      expect(all.stdout).toContain(`varve ${name} `)
      for (const option of ['--help', '-h']) {
        const { code, stdout } = await varve([name, 'x', option])
        expect(code).toBe(0)
        expect(stdout).toMatch(new RegExp(`^varve ${name} `))
        expect(stdout).toContain('Exit codes: 0 ')
        expect(stdout.split('\n').every((line) => line.length <= 100)).toBe(true)
      }
    },
  )

  it('the overview of the commands tells a data directory from the input of the quickstart', async () => {
    const { code, stdout } = await varve(['--help'])
    expect(code).toBe(0)
    expect(stdout).toMatch(/^ {2}varve inspect DIR /m)
    expect(stdout).toMatch(/^ {2}varve quickstart \[INPUT\] /m)
    expect(stdout).toContain('DIR is a data directory, which a program has passed to Broker.open.')
    expect(stdout.split('\n').every((line) => line.length <= 100)).toBe(true)
  })
})

it('the varve commands in the guide succeed as they are written there', async () => {
  const dir = await filled()
  const saved = join(await freshDirectory(), 'saved')
  const guide = await readFile(new URL('../../docs/GUIDE.md', import.meta.url), 'utf8')
  const calls = [...guide.matchAll(/^npx varve (.+?) +#/gm)].map(([, call = '']) => call.split(' '))
  expect(calls.map(([name]) => name)).toEqual(['inspect', 'dump', 'verify', 'salvage'])
  for (const call of calls) {
    const args = call.map((arg) => arg.replace(/^data/, dir).replace(/^saved/, saved))
    const { code, stdout, stderr } = await varve(args)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).not.toBe('')
  }
})

describe('output formats', () => {
  it.each<[number | null, string]>([
    [null, '-'],
    [-1, '-'],
    [0, '1970-01-01 00:00:00'],
    [START_MS + 999, '2024-01-01 00:00:00'],
    [8.64e15, '+275760-09-13 00:00:00'],
    [8.64e15 + 2, '8640000000000002'],
  ])('shows the timestamp %s as %s', (timestampMs, expected) => {
    expect(timeText(timestampMs)).toBe(expected)
  })

  it('escapes control characters in JSON', () => {
    expect(jsonLine({ a: '\u009b2J\u007f\u001b' })).toBe('{"a":"\\u009b2J\\u007f\\u001b"}')
  })
})

it('a line of JSON escapes text direction marks and line separators, and says the same', () => {
  const value = { a: '\u202e\u2066\u2028' }
  expect(jsonLine(value)).toBe('{"a":"\\u202e\\u2066\\u2028"}')
  expect(JSON.parse(jsonLine(value))).toEqual(value)
})
