import { describe, expect, it } from 'vitest'
import { OffsetIndex } from '../../lib/storage/offset-index.ts'
import { TimeIndex } from '../../lib/storage/time-index.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const PATH = '/d/00000000000000000000.index'
const ENTRIES = 2000

type Kind = 'offset' | 'time'
type Index = OffsetIndex | TimeIndex

function indexIn(fileSystem: SimulatedFileSystem, kind: Kind): Index {
  const options = { fileSystem, path: PATH, baseOffset: 0, maxIndexBytes: 2 ** 20 }
  return kind === 'offset' ? new OffsetIndex(options) : new TimeIndex(options)
}

function add(index: Index, slot: number): void {
  if (index instanceof OffsetIndex) index.append(1 + slot, 10 + slot)
  else index.maybeAppend(100 + slot, 1 + slot)
}

/** A file that is larger than the part of its end that is read. */
async function written(kind: Kind): Promise<{ fs: SimulatedFileSystem; whole: Index }> {
  const fs = new SimulatedFileSystem()
  await fs.createDirectory('/d')
  const whole = indexIn(fs, kind)
  for (let slot = 0; slot < ENTRIES; slot += 1) add(whole, slot)
  await whole.write()
  return { fs, whole }
}

describe.each<Kind>(['offset', 'time'])('the end of the %s index', (kind) => {
  it('is read in one block from a file of any length, and the number of entries is known', async () => {
    const { fs, whole } = await written(kind)
    const index = indexIn(fs, kind)
    const before = fs.operationCount
    expect(await index.loadEnd()).toBe(true)
    expect(fs.operations.slice(before).map((line) => line.split(' ')[1])).toEqual([
      ...['open', 'stat', 'read', 'close'],
    ])
    expect([index.count, index.isComplete, index.isWritten]).toEqual([ENTRIES, false, true])
    expect(index.memoryBytes).toBeLessThanOrEqual(96)
    expect(index.lastEntry).toEqual(whole.lastEntry)
  })

  it('is the whole index if the file is short', async () => {
    const fs = new SimulatedFileSystem()
    await fs.createDirectory('/d')
    const short = indexIn(fs, kind)
    add(short, 0)
    await short.write()
    const index = indexIn(fs, kind)
    expect(await index.loadEnd()).toBe(true)
    expect([index.count, index.isComplete, await index.complete()]).toEqual([1, true, true])
  })

  it('is completed with the entries before it, even if one is added meanwhile', async () => {
    const { fs, whole } = await written(kind)
    const index = indexIn(fs, kind)
    await index.loadEnd()
    const completing = index.complete()
    for (const each of [whole, index]) add(each, ENTRIES)
    expect(await completing).toBe(true)
    expect([index.count, index.isComplete]).toEqual([ENTRIES + 1, true])
    for (const slot of [0, 1, 777, ENTRIES - 1, ENTRIES]) {
      expect(index.entry(slot)).toEqual(whole.entry(slot))
    }
  })

  it('is extended in the file without loading the entries before it', async () => {
    const { fs, whole } = await written(kind)
    const index = indexIn(fs, kind)
    await index.loadEnd()
    for (let slot = ENTRIES; slot < 2 * ENTRIES; slot += 1) {
      for (const each of [whole, index]) add(each, slot)
    }
    const before = fs.operationCount
    await index.write()
    const sizeBytes = whole.sizeBytes / 2
    expect(fs.operations.slice(before).join('\n')).toContain(`@${sizeBytes} +${sizeBytes}`)
    const again = indexIn(fs, kind)
    expect(await again.load()).toBe(true)
    expect(again.count).toBe(2 * ENTRIES)
  })

  it('is written again after a failed sync, and the entries before it are kept', async () => {
    const { fs } = await written(kind)
    const index = indexIn(fs, kind)
    await index.loadEnd()
    add(index, ENTRIES)
    fs.failNext('datasync', 'EIO')
    await expect(index.write()).rejects.toMatchObject({ code: 'EIO' })
    expect(index.isWritten).toBe(false)
    await index.write()
    const again = indexIn(fs, kind)
    expect(await again.load()).toBe(true)
    expect(again.count).toBe(ENTRIES + 1)
  })

  it('keeps the entries before it in the file while it is written again', async () => {
    const { fs, whole } = await written(kind)
    add(whole, ENTRIES)
    fs.failNext('datasync', 'EIO')
    await expect(whole.write()).rejects.toMatchObject({ code: 'EIO' })
    const counts: number[] = []
    fs.observe(() => counts.push(fs.readFile(PATH).length))
    await whole.write()
    fs.observe(null)
    const sizeBytes = fs.readFile(PATH).length
    expect(counts).toEqual(counts.map(() => sizeBytes))
  })

  it.each([
    ['are in disorder', (bytes: Buffer) => bytes.fill(0x7f, 800, 816)],
    ['do not lie before it', (bytes: Buffer) => bytes.fill(0x7f, 0, 12)],
  ])('is left unchanged if the entries before it %s', async (_, damage) => {
    const { fs, whole } = await written(kind)
    const bytes = fs.readFile(PATH)
    damage(bytes)
    fs.writeFile(PATH, bytes)
    const index = indexIn(fs, kind)
    expect(await index.loadEnd()).toBe(true)
    expect(await index.complete()).toBe(false)
    expect([index.isComplete, index.lastEntry]).toEqual([false, whole.lastEntry])
  })

  it('is left unchanged if the file was truncated or deleted meanwhile', async () => {
    const { fs, whole } = await written(kind)
    const index = indexIn(fs, kind)
    await index.loadEnd()
    fs.writeFile(PATH, Buffer.alloc(12))
    expect(await index.complete()).toBe(false)
    await fs.unlink(PATH)
    expect(await index.complete()).toBe(false)
    expect(index.lastEntry).toEqual(whole.lastEntry)
  })

  it('is reported as missing if there is no file', async () => {
    const index = indexIn(new SimulatedFileSystem(), kind)
    expect(await index.loadEnd()).toBe(false)
    expect(index.count).toBe(0)
  })

  it.each(['open', 'read'] as const)('cannot be loaded if the disk fails: %s', async (call) => {
    const { fs } = await written(kind)
    fs.failNext(call, 'EIO')
    await expect(indexIn(fs, kind).loadEnd()).rejects.toMatchObject({ code: 'EIO' })
  })

  it('is found before the trailing zeros of a file that a broker has preallocated', async () => {
    const { fs, whole } = await written(kind)
    fs.writeFile(PATH, Buffer.concat([fs.readFile(PATH), Buffer.alloc(24_000)]))
    const index = indexIn(fs, kind)
    expect(await index.loadEnd()).toBe(true)
    expect([index.count, index.isComplete]).toEqual([ENTRIES, true])
    expect(index.lastEntry).toEqual(whole.lastEntry)
  })

  it.each([
    ['is no whole number of entries long', (bytes: Buffer) => bytes.subarray(1)],
    ['ends in disorder', (bytes: Buffer) => bytes.fill(0xee, bytes.length - 100)],
    ['would be too large', () => Buffer.alloc(24 * 2 ** 20)],
  ])('is reported as corrupt if the file %s', async (_, change) => {
    const { fs } = await written(kind)
    fs.writeFile(PATH, change(fs.readFile(PATH)))
    const index = indexIn(fs, kind)
    expect(await index.loadEnd()).toBe(false)
    expect(index.count).toBe(0)
  })
})

describe.each<Kind>(['offset', 'time'])(
  'an entry that is added while the %s index is written',
  (kind) => {
    it('is left to the next write, and stays out of the file if it is dropped before that', async () => {
      const { fs, whole } = await written(kind)
      add(whole, ENTRIES)
      const open = fs.open.bind(fs)
      fs.open = (path, mode) => {
        for (const slot of [1, 2]) add(whole, ENTRIES + slot)
        fs.open = open
        return open(path, mode)
      }
      await whole.write()
      expect(whole.isWritten).toBe(false)
      const sizeBytes = fs.readFile(PATH).length
      whole.truncateTo(1 + ENTRIES)
      await whole.write()
      expect([fs.readFile(PATH).length, whole.isWritten]).toEqual([whole.sizeBytes, true])
      expect(sizeBytes - whole.sizeBytes).toBe(whole.sizeBytes / ENTRIES)
    })
  },
)
