import { execFileSync } from 'node:child_process'
import {
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import { StorageError } from '../../lib/errors.ts'
import { compiledUrl, startScript } from '../helpers/compiled-lib.ts'
import { LoopDisk, MemoryDisk, scratchDirectory } from './disks.ts'
import { whatIsMissing, type Requirement } from './requirements.ts'

const SMALL = { segmentBytes: 16_384, indexIntervalBytes: 512 }
const VALUE = 'x'.repeat(900)

/** Declares a test with its requirements, and skips it with the reason if the machine lacks one. */
function itWith(needs: readonly Requirement[], title: string, body: () => Promise<void>): void {
  const missing = whatIsMissing(...needs)
  if (missing !== null) console.log(`${title}: skipped, needs ${missing}`)
  it.skipIf(missing !== null)(`${title} (needs ${needs.join(', ')})`, body)
}

/** Appends until an append fails. @returns how many succeeded, and the failure. */
async function fill(partition: Partition): Promise<{ count: number; error: StorageError }> {
  for (let count = 0; count < 100_000; count += 1) {
    try {
      await partition.append({ value: VALUE })
    } catch (error) {
      if (error instanceof StorageError) return { count, error }
      throw error
    }
  }
  throw new Error('the disk took everything')
}

async function countOf(partition: Partition): Promise<number> {
  let count = 0
  for await (const record of partition.records({ until: 'end' })) {
    expect(record.offset).toBe(count)
    expect(record.value?.toString()).toBe(VALUE)
    count += 1
  }
  return count
}

/** Fills the available space, frees some, and continues, with the log open all the time. */
async function fillAndGoOn(path: string, giveRoom: () => Promise<void> | void): Promise<string> {
  const broker = await Broker.open(join(path, 'data'))
  const topic = await broker.createTopic('a', SMALL)
  const partition = topic.partition(0)
  const { count, error } = await fill(partition)
  expect(count).toBeGreaterThan(0)
  expect(error).toMatchObject({ code: 'STORAGE_ERROR', outcome: 'not-written' })
  expect(await countOf(partition)).toBe(count)
  await expect(partition.append({ value: VALUE })).rejects.toMatchObject({ outcome: 'not-written' })
  expect(await countOf(partition)).toBe(count)
  await giveRoom()
  expect(await partition.append({ value: VALUE })).toMatchObject({ baseOffset: count })
  for (let i = 0; i < 40; i += 1) await partition.append({ value: VALUE })
  await broker.close()
  const again = await Broker.open(join(path, 'data'))
  expect(again.recovery).toMatchObject({ cleanShutdown: true, truncations: [], damaged: [] })
  expect(await countOf(again.topic('a').partition(0))).toBe(count + 41)
  await again.close()
  return (error.cause as NodeJS.ErrnoException).code ?? ''
}

function memoryDisk(options: string): MemoryDisk {
  const disk = new MemoryDisk(options)
  onTestFinished(() => disk.remove())
  return disk
}

async function loopDisk(...args: ConstructorParameters<typeof LoopDisk>): Promise<LoopDisk> {
  const disk = new LoopDisk(...args)
  onTestFinished(() => disk.remove())
  await disk.mount()
  return disk
}

describe('resources that run out', () => {
  itWith(
    ['linux', 'root', 'gcc'],
    'a full tmpfs refuses, and takes more once there is room',
    async () => {
      const disk = memoryDisk('size=1m')
      expect(await fillAndGoOn(disk.path, () => disk.resize('size=4m'))).toBe('ENOSPC')
    },
  )

  itWith(
    ['linux', 'root', 'gcc'],
    'a full tmpfs gives room back for what is deleted, in the process that has filled it and in the next',
    async () => {
      const data = join(memoryDisk('size=1m').path, 'data')
      const first = await Broker.open(data)
      const filled = (await first.createTopic('a', SMALL)).partition(0)
      const { count } = await fill(filled)
      expect((await filled.deleteRecords(Math.floor(count / 2))).segments).toBeGreaterThan(2)
      const more = await fill(filled)
      expect(more.count).toBeGreaterThan(count / 3)
      await first.close().catch(() => undefined)
      const next = await Broker.open(data)
      const partition = next.topic('a').partition(0)
      expect(partition.logEndOffset).toBe(count + more.count)
      expect((await partition.deleteRecords(-1)).segments).toBeGreaterThan(2)
      expect(await partition.append({ value: VALUE })).toMatchObject({
        baseOffset: count + more.count,
      })
      await next.close()
    },
  )

  itWith(
    ['linux', 'root', 'gcc'],
    'no inode for the next segment: refused, until there is one',
    async () => {
      const disk = memoryDisk('size=16m,nr_inodes=40')
      expect(await fillAndGoOn(disk.path, () => disk.resize('size=16m,nr_inodes=900'))).toBe(
        'ENOSPC',
      )
    },
  )

  itWith(
    ['linux', 'root', 'gcc', 'loop', 'ext4'],
    'a full ext4 refuses, and takes more once there is room',
    async () => {
      const disk = await loopDisk('ext4', 4 * 1024 * 1024)
      const ballast = join(disk.path, 'ballast')
      writeFileSync(ballast, Buffer.alloc(512 * 1024))
      const code = await fillAndGoOn(disk.path, () => {
        rmSync(ballast)
      })
      expect(code).toBe('ENOSPC')
    },
  )

  itWith(
    ['linux', 'root', 'gcc', 'loop', 'btrfs'],
    'a quota of btrfs refuses, until it is lifted',
    async () => {
      const disk = await loopDisk('btrfs')
      execFileSync('btrfs', ['quota', 'enable', disk.path])
      execFileSync('btrfs', ['qgroup', 'limit', '2M', disk.path])
      // Node.js has no name for this error, so nothing may depend on one.
      const code = await fillAndGoOn(disk.path, () => {
        execFileSync('btrfs', ['qgroup', 'limit', 'none', disk.path])
      })
      expect(['UNKNOWN', 'EDQUOT', 'Unknown system error -122']).toContain(code)
    },
  )

  itWith(
    ['linux'],
    'a limit on the size of files refuses, and does not end the process',
    async () => {
      const dir = scratchDirectory()
      onTestFinished(() => {
        rmSync(dir, { recursive: true, force: true })
      })
      const script = startScript(
        `
      import { execFileSync } from 'node:child_process'
      import { Broker } from ${JSON.stringify(compiledUrl('index.ts'))}
      const broker = await Broker.open(process.argv[1] + '/data')
      const partition = (await broker.createTopic('a')).partition(0)
      execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=65536:unlimited'])
      let [count, failure] = [0, null]
      while (failure === null) {
        await partition.append({ value: 'x'.repeat(900) }).then(() => { count += 1 }, (error) => { failure = error })
      }
      execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=unlimited'])
      const { baseOffset } = await partition.append({ value: 'x' })
      console.log(failure.code, failure.outcome, failure.cause.code, count > 50, baseOffset === count)
      await broker.close()
      `,
        [dir],
      )
      expect(await script.nextLine()).toBe('STORAGE_ERROR not-written EFBIG true true')
      expect(await script.ended).toEqual({ code: 0, signal: null })
    },
  )

  itWith(
    ['linux'],
    'without a descriptor to be had, what is idle gives up its own for new segments and topics',
    async () => {
      const dir = scratchDirectory()
      onTestFinished(() => {
        rmSync(dir, { recursive: true, force: true })
      })
      const script = startScript(
        `
      import { closeSync, openSync } from 'node:fs'
      import { execFileSync } from 'node:child_process'
      import { Broker } from ${JSON.stringify(compiledUrl('index.ts'))}
      const broker = await Broker.open(process.argv[1] + '/data')
      const partition = (await broker.createTopic('a', { segmentBytes: 4000 })).partition(0)
      const value = 'x'.repeat(900)
      await partition.append({ value })
      execFileSync('prlimit', ['--pid', String(process.pid), '--nofile=60:'])
      const held = []
      try { for (;;) held.push(openSync('/dev/null')) } catch {}
      let failure = null
      for (let count = 1; count < 100; count += 1) {
        await partition.append({ value }).catch((error) => { failure ??= error })
      }
      await broker.createTopic('b').catch((error) => { failure ??= error })
      held.forEach(closeSync)
      const { baseOffset } = await partition.append({ value })
      console.log(failure, held.length > 10, partition.log.segments.length > 20, baseOffset)
      await broker.close()
      `,
        [dir],
      )
      expect(await script.nextLine()).toBe('null true true 100')
      expect(await script.ended).toEqual({ code: 0, signal: null })
    },
  )

  itWith(
    ['linux', 'root', 'gcc', 'loop', 'ext4'],
    'a read-only file system opens for reading only',
    async () => {
      const disk = await loopDisk('ext4')
      const data = join(disk.path, 'data')
      const broker = await Broker.open(data)
      await (await broker.createTopic('a')).partition(0).append({ value: VALUE })
      await broker.close()
      await disk.remountReadOnly()
      await expect(Broker.open(data)).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
      const reader = await Broker.open(data, { readOnly: true })
      expect(await countOf(reader.topic('a').partition(0))).toBe(1)
      await reader.close()
    },
  )

  itWith(
    ['linux'],
    'a directory that is removed while it is open ends the writing, and nothing else',
    async () => {
      const dir = scratchDirectory()
      onTestFinished(() => {
        rmSync(dir, { recursive: true, force: true })
      })
      await mkdir(join(dir, 'data'))
      const broker = await Broker.open(join(dir, 'data'))
      const partition = (await broker.createTopic('a', SMALL)).partition(0)
      await partition.append({ value: VALUE })
      rmSync(join(dir, 'data'), { recursive: true })
      let failure: unknown = null
      for (let i = 0; i < 40 && failure === null; i += 1) {
        await partition.append({ value: VALUE }).catch((error: unknown) => {
          failure = error
        })
      }
      expect(failure).toMatchObject({
        outcome: expect.stringMatching(/^(unknown|not-written)$/) as string,
      })
      await broker.close().catch((error: unknown) => {
        expect(error).toMatchObject({ code: expect.any(String) as string })
      })
      const again = await Broker.open(join(dir, 'data'))
      expect(again.topics()).toEqual([])
      await again.close()
    },
  )

  itWith(
    ['linux', 'root', 'gcc', 'loop', 'btrfs'],
    'a block that btrfs cannot read fails its reads, and cuts nothing',
    async () => {
      const disk = await loopDisk('btrfs')
      const data = join(disk.path, 'data')
      const mark = 'a value that is found again in the image of the disk'
      const broker = await Broker.open(data)
      const topic = await broker.createTopic('a', { ...SMALL, partitions: 2 })
      for (let i = 0; i < 8; i += 1) await topic.partition(0).append({ value: VALUE })
      await topic.partition(0).append({ value: mark.padEnd(5000, '.') })
      for (let i = 0; i < 40; i += 1) await topic.partition(0).append({ value: VALUE })
      await topic.partition(1).append({ value: VALUE })
      await broker.close()
      const path = join(data, 'a-0/00000000000000000000.log')
      const { size } = statSync(path)
      await disk.unmount()
      flipAfter(disk.imagePath, mark)
      await disk.mount()
      expect(() => readFileSync(path)).toThrow('EIO')
      const again = await Broker.open(data)
      const partition = again.topic('a').partition(0)
      await expect(partition.read(8)).rejects.toMatchObject({
        code: 'STORAGE_ERROR',
        cause: { code: 'EIO' },
      })
      expect((await partition.read(20)).length).toBeGreaterThan(0)
      expect(await countOf(again.topic('a').partition(1))).toBe(1)
      expect(statSync(path).size).toBe(size)
      await again.close()
    },
  )
})

/** Changes one byte after the only occurrence of `mark` in a file. */
function flipAfter(path: string, mark: string): void {
  const descriptor = openSync(path, 'r+')
  const chunk = Buffer.alloc(4 * 1024 * 1024)
  for (let position = 0; ; position += chunk.length - mark.length) {
    const bytes = readSync(descriptor, chunk, 0, chunk.length, position)
    if (bytes <= mark.length) throw new Error('the mark is not in the image')
    const at = chunk.indexOf(mark)
    if (at < 0) continue
    writeSync(descriptor, Buffer.from('X'), 0, 1, position + at + mark.length)
    return
  }
}
