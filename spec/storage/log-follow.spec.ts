import { describe, expect, it } from 'vitest'
import { OffsetOutOfRangeError } from '../../lib/errors.ts'
import { Log } from '../../lib/storage/log.ts'
import { standaloneContext } from '../../lib/storage/log-options.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { temporaryDirectory } from '../platform/temporary-directory.ts'
import {
  DIR,
  SMALL,
  bytesOf,
  offsetsOf,
  openLog,
  pathOf,
  recordOpenFiles,
  valuesOf,
  valuesUpTo,
} from './log-fixtures.ts'

/** A log that is written, and the same log as another process reads it. */
async function pair(): Promise<{ fs: SimulatedFileSystem; writer: Log; follower: Log }> {
  const fs = new SimulatedFileSystem()
  const writer = await openLog(fs)
  await append(writer, 0, 3)
  return { fs, writer, follower: await openLog(fs, { readOnly: true }) }
}

async function append(log: Log, from: number, until: number): Promise<void> {
  for (let each = from; each < until; each += 1) await log.append([{ value: `v${each}` }])
}

/** Names and contents of everything on the disk, to check that nothing was changed. */
function picture(fs: SimulatedFileSystem): string {
  return [...fs.snapshot()].map(([path, bytes]) => `${path} ${bytes.toString('hex')}`).join('\n')
}

describe('refresh', () => {
  it('shows what was appended since, also across rolls', async () => {
    const { fs, writer, follower } = await pair()
    await append(writer, 3, 4)
    expect(follower.logEndOffset).toBe(3)
    await follower.refresh()
    expect([await valuesOf(follower), follower.logEndOffset]).toEqual([valuesUpTo(4), 4])
    await append(writer, 4, 11)
    const before = picture(fs)
    await follower.refresh()
    expect(await valuesOf(follower)).toEqual(valuesUpTo(11))
    expect(follower.segments).toEqual(writer.segments)
    await follower.refresh()
    expect(picture(fs)).toBe(before)
    expect(await follower.offsetForTimestamp(0)).toMatchObject({ offset: 0 })
  })

  it('detects a truncation even if the first refresh after it failed', async () => {
    for (let size = 10; size < 320; size += 10) {
      const fs = new SimulatedFileSystem()
      const config = { segmentBytes: 400 }
      const writer = await openLog(fs, { config })
      const follower = await openLog(fs, { config, readOnly: true })
      await append(writer, 0, 20)
      await follower.refresh()
      await writer.truncateTo(7)
      await writer.append([{ value: 'new'.padEnd(size, '.') }])
      fs.observe(({ kind, path }) => {
        if (kind !== 'open' || !path.includes('leader-epoch')) return
        fs.observe(null)
        fs.failNext('list', 'EMFILE')
      })
      await expect(follower.refresh()).rejects.toThrow('EMFILE')
      for (let looks = 0; looks < 3; looks += 1) await follower.refresh()
      expect(follower.logEndOffset, `with ${size} bytes`).toBe(8)
      expect(await valuesOf(follower)).toEqual(await valuesOf(writer))
    }
  })

  it('keeps few files open, however often the writer rolls', async () => {
    const { fs, writer, follower } = await pair()
    const openPaths = recordOpenFiles(fs)
    for (let count = 4; count <= 120; count += 1) {
      await append(writer, count - 1, count)
      await follower.refresh()
      await follower.read(count - 1)
    }
    await writer.close()
    // The last one, and 32 of the earlier ones.
    expect(openPaths().length).toBeLessThanOrEqual(33)
    await follower.close()
    expect(openPaths()).toEqual([])
  })

  it('drops the segments and records that the writer has deleted', async () => {
    const { writer, follower } = await pair()
    await append(writer, 3, 9)
    await follower.refresh()
    await writer.advanceLogStartOffset(5)
    await follower.refresh()
    expect(follower.logStartOffset).toBe(5)
    expect(follower.segments).toEqual(writer.segments)
    expect(await offsetsOf(follower)).toEqual([5, 6, 7, 8])
    await expect(follower.read(4)).rejects.toThrow(OffsetOutOfRangeError)
  })

  it('ignores an incomplete batch until it is complete', async () => {
    const { fs, follower } = await pair()
    const bytes = bytesOf({ baseOffset: 3, values: ['v3'] })
    const file = await fs.open(pathOf(2), 'update')
    const { sizeBytes } = await file.stat()
    for (const length of [10, 61, bytes.length - 1]) {
      await file.write([bytes.subarray(0, length)], sizeBytes)
      await follower.refresh()
      expect([follower.logEndOffset, follower.damage]).toEqual([3, null])
    }
    await file.write([bytes], sizeBytes)
    await follower.refresh()
    expect(await valuesOf(follower)).toEqual(valuesUpTo(4))
  })

  it('drops the records that the writer has truncated', async () => {
    const { writer, follower } = await pair()
    await append(writer, 3, 8)
    await follower.refresh()
    await writer.truncateTo(2)
    await follower.refresh()
    expect([await valuesOf(follower), follower.logEndOffset]).toEqual([valuesUpTo(2), 2])
    await writer.append([{ value: 'other' }])
    await append(writer, 3, 6)
    await follower.refresh()
    expect(await valuesOf(follower)).toEqual(['v0', 'v1', 'other', 'v3', 'v4', 'v5'])
  })

  it('follows the log end to a truncation inside a batch, which removes the whole batch', async () => {
    const { writer, follower } = await pair()
    await writer.truncateTo(0)
    await writer.append(valuesUpTo(5).map((value) => ({ value })))
    const cuts = [
      () => writer.truncateTo(3),
      () => append(writer, 3, 4),
      () => writer.truncateTo(3),
    ]
    for (const change of [...cuts, () => writer.truncateTo(0), () => append(writer, 0, 2)]) {
      await change()
      await follower.refresh()
      expect(follower.logEndOffset).toBe(writer.logEndOffset)
      expect(follower.segments).toEqual(writer.segments)
    }
    expect(await valuesOf(follower)).toEqual(valuesUpTo(2))
  })

  it('shows the records that have replaced truncated ones', async () => {
    const { writer, follower } = await pair()
    await writer.truncateTo(2)
    await writer.append([{ value: 'longer than before' }])
    await follower.refresh()
    expect(await valuesOf(follower)).toEqual(['v0', 'v1', 'longer than before'])
  })

  it('reads only the header of the last batch, however large, if nothing was appended', async () => {
    const fs = new SimulatedFileSystem()
    const writer = await openLog(fs, { config: {} })
    const follower = await openLog(fs, { config: {}, readOnly: true })
    await writer.append([{ value: 'x'.repeat(100_000) }])
    await follower.refresh()
    const reads: (string | undefined)[] = []
    fs.observe(({ kind, path, detail }) => {
      if (kind === 'read' && path.endsWith('.log')) reads.push(detail)
    })
    await follower.refresh()
    expect([follower.logEndOffset, reads]).toEqual([1, ['@0 +61']])
  })

  it('reads a segment that was replaced by a smaller one', async () => {
    const { fs, writer, follower } = await pair()
    await append(writer, 3, 6)
    await follower.refresh()
    await follower.read(0)
    // A writer of this library would have it on record.
    await fs.unlink(`${DIR}/varve-segments`)
    fs.writeFile(pathOf(0), bytesOf({ baseOffset: 1, values: ['v1'] }))
    await follower.refresh()
    expect((await follower.read(0, 1)).map(({ offset }) => offset)).toEqual([1])
  })

  it('reads what is appended to a new file that has replaced the old one of the same name', async () => {
    const fs = new SimulatedFileSystem()
    const writer = await openLog(fs)
    const follower = await openLog(fs, { readOnly: true })
    await follower.refresh()
    await writer.close()
    fs.writeFile(`${pathOf(0)}.new`, Buffer.alloc(0))
    await fs.rename(`${pathOf(0)}.new`, pathOf(0))
    await append(await openLog(fs), 0, 2)
    await follower.refresh()
    expect(await valuesOf(follower)).toEqual(valuesUpTo(2))
  })

  it('reads the first segment of a directory that had none', async () => {
    const fs = new SimulatedFileSystem()
    await fs.createDirectory(DIR)
    const follower = await openLog(fs, { readOnly: true })
    await follower.refresh()
    expect(follower.logEndOffset).toBe(0)
    const writer = await openLog(fs)
    await append(writer, 0, 3)
    await follower.refresh()
    expect(await valuesOf(follower)).toEqual(valuesUpTo(3))
  })

  it('keeps its end if a file vanishes, rejects if a read fails, and catches up in the next call', async () => {
    const { fs, writer, follower } = await pair()
    await append(writer, 3, 6)
    fs.failNext('open', 'ENOENT', { path: /log$/ })
    await follower.refresh()
    expect(follower.logEndOffset).toBe(3)
    fs.failNext('read', 'EIO', { path: /log$/ })
    await expect(follower.refresh()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    await follower.refresh()
    expect(await valuesOf(follower)).toEqual(valuesUpTo(6))
    expect(await valuesOf(follower)).toEqual(valuesUpTo(6))
  })

  it('does nothing on a log that this process writes', async () => {
    const { fs, writer } = await pair()
    const { operationCount } = fs
    await writer.refresh()
    expect(fs.operationCount).toBe(operationCount)
  })

  it('does nothing on a damaged log', async () => {
    const { fs, writer } = await pair()
    await append(writer, 3, 6)
    fs.flipBit(pathOf(2), 65, 0)
    const follower = await openLog(fs, { readOnly: true })
    expect(follower.damage).not.toBeNull()
    const { logEndOffset } = follower
    await append(writer, 6, 9)
    await follower.refresh()
    expect(follower.logEndOffset).toBe(logEndOffset)
  })
})

describe('refresh of a directory that another topic may have taken over', () => {
  const [ID, OTHER_ID] = ['A'.repeat(21) + 'B', 'C'.repeat(22)]
  const METADATA = `${DIR}/partition.metadata`

  function nameTopic(fs: SimulatedFileSystem, id: string): void {
    fs.writeFile(METADATA, Buffer.from(`version: 0\ntopic_id: ${id}`))
  }

  /** A log of the offsets 5 to 8, and a follower that expects the topic with {@link ID}. */
  async function ofTopic(): Promise<{ fs: SimulatedFileSystem; writer: Log; follower: Log }> {
    const { fs, writer } = await pair()
    await append(writer, 3, 9)
    await writer.advanceLogStartOffset(5)
    nameTopic(fs, ID)
    const options = { fileSystem: fs, config: SMALL, readOnly: true }
    const context = { ...(await standaloneContext(DIR, options)), topicId: ID }
    return { fs, writer, follower: await Log.load(DIR, context) }
  }

  /** Leaves the first record of a later topic, whose first segment has a new name. */
  function giveToOther(fs: SimulatedFileSystem): void {
    nameTopic(fs, OTHER_ID)
    fs.writeFile(pathOf(0), bytesOf({ values: ['of another topic'] }))
  }

  it('shows nothing of the other topic', async () => {
    const { fs, writer, follower } = await ofTopic()
    const before = follower.segments
    giveToOther(fs)
    await append(writer, 9, 10)
    await follower.refresh()
    expect(follower.segments).toEqual(before)
    await expect(follower.read(5)).rejects.toThrow('it now belongs to another topic')
  })

  it('shows nothing of the other topic if it takes over in the middle of a refresh', async () => {
    const { fs, follower } = await ofTopic()
    const before = follower.segments
    fs.observe(({ kind }) => {
      if (kind === 'list') giveToOther(fs)
    })
    await follower.refresh()
    expect(follower.segments).toEqual(before)
  })

  it('continues if the directory names no topic, or names it in a damaged file', async () => {
    const { fs, writer, follower } = await ofTopic()
    await fs.unlink(METADATA)
    await append(writer, 9, 12)
    await follower.refresh()
    expect(await offsetsOf(follower)).toEqual([5, 6, 7, 8, 9, 10, 11])
    fs.writeFile(METADATA, Buffer.from('rot'))
    await append(writer, 12, 15)
    await follower.refresh()
    expect(follower.logEndOffset).toBe(15)
    fs.failNext('read', 'EIO', { path: METADATA })
    await expect(follower.refresh()).rejects.toMatchObject({ cause: { code: 'EIO' } })
  })
})

describe('a read of a log that another process writes', () => {
  it('refreshes and rejects with OffsetOutOfRangeError if its segment is gone', async () => {
    const { writer, follower } = await pair()
    await append(writer, 3, 8)
    await follower.refresh()
    await writer.advanceLogStartOffset(7)
    await expect(follower.read(1)).rejects.toThrow(OffsetOutOfRangeError)
    expect(follower.logStartOffset).toBe(7)
    expect(await offsetsOf(follower)).toEqual([7])
  })

  it('rejects with a storage error, instead of retrying forever, if a file stays missing', async () => {
    const { fs, writer, follower } = await pair()
    await append(writer, 3, 8)
    await follower.refresh()
    fs.failNext('open', 'ENOENT', { path: pathOf(4), persistent: true })
    await expect(follower.read(4)).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
  })
})

it('a read-only log follows its writer on the real disk', async () => {
  const dir = `${await temporaryDirectory()}/orders-0`
  const writer = await Log.open(dir, { config: SMALL })
  const follower = await Log.open(dir, { config: SMALL, readOnly: true })
  for (let round = 0; round < 5; round += 1) {
    await append(writer, 3 * round, 3 * round + 3)
    await follower.refresh()
    expect(await valuesOf(follower)).toEqual(valuesUpTo(3 * round + 3))
  }
  await writer.advanceLogStartOffset(9)
  await follower.refresh()
  expect(await offsetsOf(follower)).toEqual([9, 10, 11, 12, 13, 14])
  await follower.close()
  await writer.close()
})
