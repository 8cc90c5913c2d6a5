import { describe, expect, it } from 'vitest'
import { CorruptRecordError, OffsetOutOfRangeError } from '../../lib/errors.ts'
import type { Log } from '../../lib/storage/log.ts'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf, DIR, openLog, pathOf, valuesOf, writtenLog } from './log-fixtures.ts'
import { SimulatedFileSystem as Disk } from '../../lib/testing/simulated-file-system.ts'

/** A file system with a log of eight records in several segments, after a crash. */
async function crashed(segmentBytes: number, relaxedTail = 0): Promise<SimulatedFileSystem> {
  const fileSystem = new Disk()
  const config = { segmentBytes, indexIntervalBytes: 32, flushMessages: relaxedTail > 0 ? 1000 : 1 }
  const log = await openLog(fileSystem, { config })
  for (let each = 0; each < 8 - relaxedTail; each += 1) await log.append([{ value: `v${each}` }])
  await log.flush()
  for (let each = 8 - relaxedTail; each < 8; each += 1) await log.append([{ value: `v${each}` }])
  return fileSystem.restart('process')
}

function lastSegment(fileSystem: SimulatedFileSystem): string {
  const logs = [...fileSystem.snapshot().keys()].filter((path) => path.endsWith('.log'))
  return logs.sort().at(-1) ?? ''
}

function change(
  fileSystem: SimulatedFileSystem,
  path: string,
  edit: (bytes: Buffer) => Buffer,
): void {
  fileSystem.writeFile(path, edit(Buffer.from(fileSystem.readFile(path))))
}

const ALL = ['v0', 'v1', 'v2', 'v3', 'v4', 'v5', 'v6', 'v7']

describe.each([150, 300, 5000])('a torn tail with segments of %i bytes', (segmentBytes) => {
  const reopen = (fileSystem: SimulatedFileSystem): Promise<Log> =>
    openLog(fileSystem, { config: { segmentBytes, indexIntervalBytes: 32 } })

  it.each<[string, (bytes: Buffer) => Buffer, number, boolean]>([
    ['nothing', (bytes) => bytes, 0, false],
    ['a few bytes of a header', (bytes) => Buffer.concat([bytes, Buffer.from('torn!')]), 5, true],
    [
      'a header without records',
      (bytes) => Buffer.concat([bytes, bytes.subarray(0, 61)]),
      61,
      true,
    ],
    ['zeros', (bytes) => Buffer.concat([bytes, Buffer.alloc(4096)]), 4096, false],
    ['garbage', (bytes) => Buffer.concat([bytes, Buffer.alloc(700, 0xa7)]), 700, true],
  ])('loses only %s after the last batch', async (_, edit, cutBytes, isKept) => {
    const fileSystem = await crashed(segmentBytes)
    const path = lastSegment(fileSystem)
    const before = fileSystem.readFile(path)
    change(fileSystem, path, edit)
    const log = await reopen(fileSystem)
    expect(await valuesOf(log)).toEqual(ALL)
    expect(log.damage).toBeNull()
    expect(fileSystem.readFile(path)).toEqual(before)
    const [truncation, ...others] = log.recovery.truncations
    expect(others).toEqual([])
    expect(truncation?.sizeBytes ?? 0).toBe(cutBytes)
    expect(truncation?.keptIn ?? null).toBe(isKept ? `${path}.${before.length}.torn` : null)
    if (truncation?.keptIn != null) {
      expect(fileSystem.readFile(truncation.keptIn)).toEqual(edit(before).subarray(before.length))
    }
    await log.append([{ value: 'v8' }])
    expect(await valuesOf(log)).toEqual([...ALL, 'v8'])
    const again = await reopen(fileSystem.restart('process'))
    expect(again.recovery).toEqual({
      truncations: [],
      rebuiltIndexes: [],
      failedSyncOffset: null,
      damage: null,
    })
  })
})

describe('batches that are not durable yet', () => {
  it.each([1, 2, 3])(
    'are truncated from the first damaged one on, if it is number %i from the end',
    async (fromEnd) => {
      const fileSystem = await crashed(5000, 4)
      const path = lastSegment(fileSystem)
      change(fileSystem, path, (bytes) => {
        bytes.writeUInt8(
          bytes.readUInt8(bytes.length - 70 * fromEnd + 65) ^ 1,
          bytes.length - 70 * fromEnd + 65,
        )
        return bytes
      })
      const log = await openLog(fileSystem, { config: { segmentBytes: 5000 } })
      expect(await valuesOf(log)).toEqual(ALL.slice(0, 8 - fromEnd))
      expect(log.recovery.truncations).toMatchObject([{ sizeBytes: 70 * fromEnd }])
    },
  )
})

describe('bytes at the recovery point', () => {
  it('are truncated as a torn tail, since only what lies below was durable', async () => {
    const fileSystem = (
      await writtenLog(3, { config: { segmentBytes: 5000 }, close: false })
    ).restart('process')
    const { state } = await openLog(fileSystem, { config: { segmentBytes: 5000 } })
    expect(state.recoveryPoint).toBe(3)
    const crashed = fileSystem.restart('process')
    const torn = bytesOf({ baseOffset: 3 }).subarray(0, 40)
    crashed.writeFile(pathOf(0), Buffer.concat([crashed.readFile(pathOf(0)), torn]))
    const log = await openLog(crashed, { config: { segmentBytes: 5000 } })
    expect(log.damage).toBeNull()
    expect(log.recovery.truncations).toMatchObject([{ sizeBytes: 40 }])
    expect(log.logEndOffset).toBe(3)
  })
})

describe('a single batch that is not durable yet', () => {
  it('is truncated if a power loss changed only its base offset, which no checksum covers', async () => {
    const fileSystem = await crashed(5000)
    const path = lastSegment(fileSystem)
    const last = 7 * 70
    change(fileSystem, path, (bytes) => withBaseOffset(bytes, last, 0))
    const log = await openLog(fileSystem, { config: { segmentBytes: 5000 } })
    expect(log.damage).toBeNull()
    expect(await valuesOf(log)).toEqual(ALL.slice(0, 7))
    expect(log.recovery.truncations).toMatchObject([{ sizeBytes: 70 }])
  })
})

describe('damage to durable records', () => {
  const damages: [string, number, (bytes: Buffer) => Buffer][] = [
    ['a flipped bit in a record', 5000, (bytes) => flipped(bytes, 3 * 70 + 66)],
    ['a flipped bit in the CRC', 5000, (bytes) => flipped(bytes, 3 * 70 + 17)],
    ['a flipped bit in the length', 5000, (bytes) => flipped(bytes, 3 * 70 + 11)],
    ['a length that points past the end', 5000, (bytes) => flipped(bytes, 3 * 70 + 8)],
    ['a base offset that goes back', 5000, (bytes) => withBaseOffset(bytes, 3 * 70, 1)],
    ['another format', 5000, (bytes) => flipped(bytes, 3 * 70 + 16)],
    ['a hole of zeros', 5000, (bytes) => bytes.fill(0, 3 * 70, 4 * 70)],
    ['a batch twice', 5000, (bytes) => copied(bytes, 2 * 70, 3 * 70)],
  ]

  it.each(damages)('is reported and not repaired: %s', async (_, segmentBytes, edit) => {
    const fileSystem = await crashed(segmentBytes)
    const path = pathOf(0)
    change(fileSystem, path, edit)
    const before = fileSystem.readFile(path)
    const log = await openLog(fileSystem, { config: { segmentBytes } })
    expect(log.damage).toBeInstanceOf(CorruptRecordError)
    expect(log.damage).toMatchObject({ path, position: 3 * 70, firstOffset: 3 })
    expect((await log.read(0, 10_000)).map((record) => record.offset)).toEqual([0, 1, 2])
    await expect(log.read(3)).rejects.toBe(log.damage)
    await expect(log.append([{ value: 'x' }])).rejects.toBe(log.damage)
    await expect(log.roll()).rejects.toBe(log.damage)
    await expect(log.truncateTo(1)).rejects.toBe(log.damage)
    await log.close()
    expect(fileSystem.readFile(path)).toEqual(before)
    expect(fileSystem.snapshot().has(`${DIR}/.kafka_cleanshutdown`)).toBe(false)
    expect((await openLog(fileSystem, { config: { segmentBytes } })).damage).toMatchObject({
      position: 210,
    })
  })

  it.each([3, 6])('is reported if the base offset jumps ahead: at batch %i', async (batch) => {
    const fileSystem = await crashed(5000)
    change(fileSystem, pathOf(0), (bytes) => withBaseOffset(bytes, batch * 70, batch + 64))
    const log = await openLog(fileSystem, { config: { segmentBytes: 5000 } })
    expect(log.damage).toMatchObject({ path: pathOf(0), position: batch * 70, firstOffset: batch })
    expect((await log.read(0, 10_000)).map((record) => record.offset)).toHaveLength(batch)
    expect(fileSystem.readFile(pathOf(0))).toHaveLength(8 * 70)
  })

  it.each([
    ['the first', 0],
    ['a middle', 2],
    ['the last but one', -2],
  ])('is reported in %s segment, and no later segment is deleted', async (_, which) => {
    const fileSystem = await crashed(150)
    const paths = [...fileSystem.snapshot().keys()].filter((path) => path.endsWith('.log')).sort()
    const path = paths.at(which) ?? ''
    change(fileSystem, path, (bytes) => flipped(bytes, 66))
    const log = await openLog(fileSystem, { config: { segmentBytes: 150, indexIntervalBytes: 32 } })
    expect(log.damage).toMatchObject({ path, position: 0 })
    expect(
      [...fileSystem.snapshot().keys()].filter((each) => each.endsWith('.log')).sort(),
    ).toEqual(paths)
  })

  it('is reported if the log ends before its recovery point', async () => {
    const fileSystem = new Disk()
    const log = await openLog(fileSystem, { config: { segmentBytes: 5000 } })
    for (const value of ALL) await log.append([{ value }])
    await log.close()
    change(fileSystem, pathOf(0), (bytes) => bytes.subarray(0, 5 * 70))
    const again = await openLog(fileSystem, { config: { segmentBytes: 5000 } })
    expect(again.damage).toMatchObject({
      path: pathOf(0),
      position: 5 * 70,
      firstOffset: 5,
    })
  })

  it('is reported if the last segment is missing', async () => {
    const fileSystem = new Disk()
    const config = { segmentBytes: 150, indexIntervalBytes: 32 }
    const log = await openLog(fileSystem, { config })
    for (const value of ALL) await log.append([{ value }])
    await log.close()
    await fileSystem.unlink(lastSegment(fileSystem))
    expect((await openLog(fileSystem, { config })).damage).toBeInstanceOf(CorruptRecordError)
  })

  it('is reported if all files but the checkpoints are missing', async () => {
    const fileSystem = new Disk()
    const log = await openLog(fileSystem)
    for (const value of ALL) await log.append([{ value }])
    await log.close()
    for (const path of fileSystem.snapshot().keys()) {
      if (!path.includes('checkpoint') && !path.includes('cleanshutdown'))
        await fileSystem.unlink(path)
    }
    const again = await openLog(fileSystem)
    expect(again.damage).toBeInstanceOf(CorruptRecordError)
    await expect(again.append([{ value: 'would get an offset again' }])).rejects.toBe(again.damage)
  })
})

function flipped(bytes: Buffer, position: number): Buffer {
  bytes.writeUInt8(bytes.readUInt8(position) ^ 0x40, position)
  return bytes
}

function withBaseOffset(bytes: Buffer, position: number, baseOffset: number): Buffer {
  bytes.writeUInt32BE(baseOffset, position + 4)
  return bytes
}

function copied(bytes: Buffer, from: number, to: number): Buffer {
  bytes.copyWithin(to, from, from + 70)
  return bytes
}

describe('a batch with a damaged last offset', () => {
  it('makes a read at any of its offsets reject instead of hiding records', async () => {
    const fileSystem = new Disk()
    const log = await openLog(fileSystem, { config: { segmentBytes: 5000 } })
    await log.append(['v0', 'v1', 'v2'].map((value) => ({ value })))
    await log.append([{ value: 'v3' }])
    await log.roll()
    await log.append([{ value: 'v4' }])
    await log.close()
    // The last byte of the field at 23: two records fewer than the batch holds.
    change(fileSystem, pathOf(0), (bytes) => {
      bytes.writeUInt8(0, 26)
      return bytes
    })
    const again = await openLog(fileSystem, { config: { segmentBytes: 5000 } })
    for (const offset of [0, 1, 2]) {
      await expect(again.read(offset), `offset ${offset}`).rejects.toThrow(CorruptRecordError)
    }
    expect(await again.read(3)).toMatchObject([{ offset: 3 }])
  })
})

describe('a damaged log that ends below its log start offset', () => {
  it('returns none of the deleted records', async () => {
    const fileSystem = new Disk()
    const log = await openLog(fileSystem, { config: { segmentBytes: 5000 } })
    for (const value of ALL) await log.append([{ value }])
    await log.advanceLogStartOffset(5)
    await log.close()
    change(fileSystem, pathOf(0), (bytes) => bytes.subarray(0, 3 * 70))
    const again = await openLog(fileSystem, { config: { segmentBytes: 5000 } })
    expect([again.logStartOffset, again.logEndOffset]).toEqual([5, 5])
    await expect(again.read(0)).rejects.toThrow(OffsetOutOfRangeError)
    await expect(again.read(5)).rejects.toBe(again.damage)
    await again.close()
    expect(fileSystem.readFile(pathOf(0))).toHaveLength(3 * 70)
  })
})
