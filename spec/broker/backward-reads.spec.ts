import { describe, expect, it } from 'vitest'
import type { Partition } from '../../lib/broker/partition.ts'
import type { RecordsOptions } from '../../lib/broker/partition-records.ts'
import { ClosedError, CorruptRecordError, OffsetOutOfRangeError } from '../../lib/errors.ts'
import { emptyBatch } from '../../lib/record/batch-properties.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { heldSyncs } from '../helpers/held-syncs.ts'
import { appendBatches, openPartition, textsOf } from '../helpers/partitions.ts'
import { bytesOf } from '../storage/log-fixtures.ts'

const CLOSED = new ClosedError('the test is over')
const SMALL = { segmentBytes: 400, indexIntervalBytes: 40 }

async function filled(count: number, fileSystem = new SimulatedFileSystem()): Promise<Partition> {
  const partition = await openPartition({ fileSystem, config: SMALL })
  await fill(partition, 0, count, 'v')
  return partition
}

async function fill(partition: Partition, from: number, until: number, name: string) {
  for (let each = from; each < until; each += 1) await partition.append({ value: `${name}${each}` })
}

/** A disk on which a test can run something in the middle of the next read of a log file. */
function interruptedReads(): {
  fileSystem: SimulatedFileSystem
  duringNextRead: (run: () => Promise<unknown>) => void
} {
  const fileSystem = new SimulatedFileSystem({ completion: 'awaited' })
  let next: (() => Promise<unknown>) | null = null
  const open = fileSystem.open.bind(fileSystem)
  fileSystem.open = async (path, mode) => {
    const file = await open(path, mode)
    const read = file.read.bind(file)
    file.read = async (...args) => {
      const found = await read(...args)
      const run = path.endsWith('.log') ? next : null
      if (run !== null) next = null
      await run?.()
      return found
    }
    return file
  }
  return { fileSystem, duringNextRead: (run) => (next = run) }
}

/** `name` with each number of a range. */
function numbered(name: string, from: number, until: number): string[] {
  return Array.from({ length: until - from }, (_, each) => `${name}${from + each}`)
}

async function offsetsOf(partition: Partition, options: RecordsOptions): Promise<number[]> {
  const offsets: number[] = []
  for await (const record of partition.records(options)) offsets.push(record.offset)
  return offsets
}

describe('readLast', () => {
  it('returns the last records in offset order, or all records if there are fewer', async () => {
    const partition = await filled(12)
    expect(textsOf(await partition.readLast(3))).toEqual(['v9', 'v10', 'v11'])
    expect(await partition.readLast(100)).toHaveLength(12)
    expect(await partition.readLast(0)).toEqual([])
    await partition.deleteRecords(10)
    expect(textsOf(await partition.readLast(100))).toEqual(['v10', 'v11'])
    await partition.deleteRecords(-1)
    expect(await partition.readLast(1)).toEqual([])
    await partition.close(CLOSED)
  })

  it('returns no record twice if a batch holds more records than are needed', async () => {
    const partition = await openPartition({ config: SMALL })
    await partition.append([{ value: 'a' }, { value: 'b' }, { value: 'c' }])
    await partition.append([{ value: 'd' }, { value: 'e' }])
    expect(textsOf(await partition.readLast(4))).toEqual(['b', 'c', 'd', 'e'])
    await partition.deleteRecords(1)
    expect(textsOf(await partition.readLast(9))).toEqual(['b', 'c', 'd', 'e'])
    await partition.close(CLOSED)
  })

  it('returns only records below the high watermark', async () => {
    const { fileSystem, hold } = heldSyncs()
    const partition = await openPartition({ fileSystem, config: SMALL })
    await partition.append([{ value: 'a' }, { value: 'b' }])
    const release = hold()
    await partition.append({ value: 'c' }, { acks: 1 })
    expect([partition.logEndOffset, partition.highWatermark]).toEqual([3, 2])
    expect(textsOf(await partition.readLast(2))).toEqual(['a', 'b'])
    release()
    await partition.close(CLOSED)
  })

  it('reads at most maxBytes, but at least one batch', async () => {
    const partition = await filled(12)
    expect(textsOf(await partition.readLast(10, { maxBytes: 1 }))).toEqual(['v11'])
    const sizeBytes = partition.log.size / 12
    const found = await partition.readLast(10, { maxBytes: Math.ceil(3.1 * sizeBytes) })
    expect(textsOf(found)).toEqual(['v9', 'v10', 'v11'])
    await partition.close(CLOSED)
  })

  it('returns the last record however small maxBytes is, even if the last batch is empty', async () => {
    const config = { ...SMALL, cleanupPolicy: 'compact' as const, deleteRetentionMs: 0 }
    const partition = await openPartition({ config })
    await partition.append({ key: 'a', value: 'stays' })
    await partition.append({ key: 'b', value: null })
    const left = emptyBatch({ baseOffset: 2, lastOffset: 4, maxTimestamp: 0 })
    await appendBatches(partition, [left])
    const last = await partition.readLast(1, { maxBytes: 1 })
    expect(last.map(({ offset }) => offset)).toEqual([1])
    await partition.close(CLOSED)
  })

  it('rejects an invalid count, unknown options, and a read of a closed partition', async () => {
    const partition = await filled(1)
    await expect(partition.readLast(-1)).rejects.toThrow(RangeError)
    await expect(partition.readLast(1.5)).rejects.toThrow(RangeError)
    await expect(partition.readLast(1, { maxBytes: 0 })).rejects.toThrow(RangeError)
    await expect(partition.readLast(1, { maxRecords: 1 } as never)).rejects.toThrow(TypeError)
    await partition.close(CLOSED)
    await expect(partition.readLast(1)).rejects.toThrow(CLOSED)
  })

  it('checks for new records of the owner in a read-only broker', async () => {
    const fileSystem = new SimulatedFileSystem()
    const owner = await filled(3, fileSystem)
    const reader = await openPartition({ fileSystem, config: SMALL, readOnly: true })
    await owner.append({ value: 'later' })
    expect(textsOf(await reader.readLast(2))).toEqual(['v2', 'later'])
    await reader.close(CLOSED)
    await owner.close(CLOSED)
  })

  it.each<[string, (partition: Partition) => Promise<unknown>, string[]]>([
    ['truncated', ({ log }) => log.truncateTo(20), numbered('v', 0, 20)],
    [
      'truncated and replaced',
      async (partition) => {
        await partition.log.truncateTo(20)
        await fill(partition, 20, 50, 'new')
      },
      [...numbered('v', 10, 20), ...numbered('new', 20, 50)],
    ],
    ['deleted', (partition) => partition.deleteRecords(30), numbered('v', 30, 40)],
  ])(
    'returns the records that are there at its end if others are %s while it reads',
    async (_, change, left) => {
      const { fileSystem, duringNextRead } = interruptedReads()
      const onDisk = { recentBytes: 0, readCacheBytes: 0 }
      const partition = await openPartition({ fileSystem, config: SMALL, ...onDisk })
      await fill(partition, 0, 40, 'v')
      let isChanged = false
      duringNextRead(async () => {
        await change(partition)
        isChanged = true
      })
      const found = textsOf(await partition.readLast(40))
      expect([isChanged, found]).toEqual([true, left])
      await partition.close(CLOSED)
    },
  )
})

describe('records in reverse order', () => {
  it('reads the range that was visible at the call, and waits for nothing', async () => {
    const partition = await filled(9)
    const records = partition.records({ reverse: true, from: 2, until: 1000 })
    await partition.append({ value: 'later' })
    const offsets: number[] = []
    for await (const { offset } of records) offsets.push(offset)
    expect(offsets).toEqual([8, 7, 6, 5, 4, 3, 2])
    expect(await offsetsOf(partition, { reverse: true, until: 'end', from: 8 })).toEqual([9, 8])
    expect(await offsetsOf(partition, { reverse: true, from: 10 })).toEqual([])
    await partition.close(CLOSED)
  })

  it('rejects if the next records were deleted or truncated meanwhile', async () => {
    for (const change of ['cut', 'cut and written anew', 'delete'] as const) {
      const partition = await filled(20)
      const records = partition.records({ reverse: true })
      expect((await records.next()).value?.offset).toBe(19)
      if (change === 'delete') await partition.deleteRecords(15)
      else await partition.log.truncateTo(4)
      if (change === 'cut and written anew') await fill(partition, 4, 24, 'new')
      const rest = async (): Promise<void> => {
        for (let each = 0; each < 20; each += 1) await records.next()
      }
      await expect(rest()).rejects.toThrow(OffsetOutOfRangeError)
      expect(await records.next()).toMatchObject({ done: true })
      await partition.close(CLOSED)
    }
  })

  it('rejects if the next records were deleted meanwhile and those above them compacted away', async () => {
    const fileSystem = new SimulatedFileSystem()
    await fileSystem.createDirectory('/data/orders-0')
    // Nothing is left from offset 4 to offset 9, which end the first segment.
    for (const [start, offsets] of [
      [0, [0, 1, 2, 3]],
      [10, [10]],
    ] as const) {
      const batches = offsets.map((baseOffset) => bytesOf({ baseOffset }))
      const path = `/data/orders-0/${String(start).padStart(20, '0')}.log`
      fileSystem.writeFile(path, Buffer.concat(batches))
    }
    const partition = await openPartition({ fileSystem })
    for (const [deletedBelow, readBefore] of [
      [2, [10, 3, 2]],
      [6, [10]],
      [7, [10]],
    ] as const) {
      const records = partition.records({ reverse: true })
      const offsets = [(await records.next()).value?.offset]
      await partition.deleteRecords(deletedBelow)
      const rest = async (): Promise<void> => {
        for await (const { offset } of records) offsets.push(offset)
      }
      await expect(rest(), `deleted below ${deletedBelow}`).rejects.toThrow(OffsetOutOfRangeError)
      expect(offsets).toEqual(readBefore)
    }
    expect(await offsetsOf(partition, { reverse: true })).toEqual([10])
    await partition.close(CLOSED)
  })

  it('continues if only records that it has already returned are truncated and replaced', async () => {
    const partition = await filled(20)
    const { baseOffset: cut = 0 } = partition.log.segments.at(-2) ?? {}
    const records = partition.records({ reverse: true })
    const values: string[] = []
    for await (const { offset, value } of records) {
      values.push(String(value))
      if (offset !== cut) continue
      await partition.log.truncateTo(cut)
      await fill(partition, cut, 24, 'new')
    }
    expect(values).toEqual(Array.from({ length: 20 }, (_, each) => `v${19 - each}`))
    await partition.close(CLOSED)
  })

  it.each(['none', 'gzip'] as const)(
    'returns no record below a log start offset that moves into a batch meanwhile (compression: %s)',
    async (codec) => {
      const compressionType = codec === 'none' ? 'uncompressed' : codec
      for (const count of [1, 4]) {
        const partition = await openPartition({ config: { ...SMALL, compressionType } })
        const ten = Array.from({ length: 10 }, (_, each) => ({ value: `v${each}` }))
        for (let each = 0; each < count; each += 1) await partition.append(ten)
        const records = partition.records({ reverse: true })
        if (count > 1) expect((await records.next()).value?.offset).toBe(10 * count - 1)
        await partition.deleteRecords(5)
        const offsets: number[] = []
        const rest = async (): Promise<void> => {
          for await (const { offset } of records) offsets.push(offset)
        }
        // A read that has not begun yet begins at the current start.
        if (count > 1) await expect(rest()).rejects.toThrow(OffsetOutOfRangeError)
        else await rest()
        expect(offsets.at(-1)).toBe(5)
        await partition.close(CLOSED)
      }
    },
  )

  it('rejects if the start offset is not in the log', async () => {
    const partition = await filled(5)
    await partition.deleteRecords(2)
    for (const from of [1, 6]) {
      const read = offsetsOf(partition, { reverse: true, from })
      await expect(read).rejects.toThrow(OffsetOutOfRangeError)
    }
    await partition.close(CLOSED)
  })

  it('rejects with the reason of its signal, and ends when the loop is left', async () => {
    const partition = await filled(5)
    const controller = new AbortController()
    const records = partition.records({ reverse: true, signal: controller.signal })
    expect((await records.next()).value?.offset).toBe(4)
    controller.abort(new Error('enough'))
    await expect(records.next()).rejects.toThrow('enough')
    for await (const { offset } of partition.records({ reverse: true })) {
      expect(offset).toBe(4)
      break
    }
    await partition.close(CLOSED)
  })

  it('throws for a start at the end, a range that ends before it starts, and a non-boolean reverse', async () => {
    const partition = await filled(1)
    expect(() => partition.records({ reverse: true, from: 'latest' } as never)).toThrow(RangeError)
    expect(() => partition.records({ reverse: 1 } as never)).toThrow(TypeError)
    expect(() => partition.records({ reverse: true, from: 1, until: 0 })).toThrow(RangeError)
    expect(await offsetsOf(partition, { reverse: false, until: 'end' })).toEqual([0])
    await partition.close(CLOSED)
  })

  it('returns the records above the damage, then rejects with the damage', async () => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await filled(12, fileSystem)
    const { path = '', baseOffset = 0 } = partition.log.segments[1] ?? {}
    await partition.close(CLOSED)
    const bytes = Buffer.from(fileSystem.snapshot().get(path) ?? [])
    bytes[66] = (bytes[66] ?? 0) ^ 1
    fileSystem.writeFile(path, bytes)
    const again = await openPartition({ fileSystem, config: SMALL, isClean: true })
    const seen: number[] = []
    const read = async (): Promise<void> => {
      for await (const { offset } of again.records({ reverse: true })) seen.push(offset)
    }
    await expect(read()).rejects.toThrow(CorruptRecordError)
    expect(seen.at(-1)).toBe(baseOffset + 1)
    await expect(again.readLast(12)).rejects.toThrow(CorruptRecordError)
    await again.close(CLOSED)
  })

  it.each([1, 2])('returns the records above a base offset that is %d too high', async (shift) => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await openPartition({ fileSystem })
    const { path = '' } = partition.log.segments[0] ?? {}
    let position = 0
    for (let each = 0; each < 20; each += 1) {
      if (each === 10) position = partition.log.size
      await partition.append([{ value: `a${each}` }, { value: `b${each}` }])
    }
    await partition.log.roll()
    await partition.append({ value: 'last' })
    await partition.close(CLOSED)
    const bytes = Buffer.from(fileSystem.snapshot().get(path) ?? [])
    bytes.writeBigInt64BE(BigInt(20 + shift), position)
    fileSystem.writeFile(path, bytes)
    const again = await openPartition({ fileSystem, isClean: true })
    expect((await again.readLast(10)).map(({ offset }) => offset)).toEqual(
      Array.from({ length: 10 }, (_, each) => 31 + each),
    )
    await again.close(CLOSED)
  })
})

describe('the end of a log that ends because of damage', () => {
  /** A partition whose open has found damage behind two records. */
  async function endingInDamage(readOnly: boolean): Promise<Partition> {
    const fileSystem = new SimulatedFileSystem()
    const partition = await openPartition({ fileSystem })
    const { path = '' } = partition.log.segments[0] ?? {}
    await fill(partition, 0, 2, 'v')
    const position = partition.log.size
    await fill(partition, 2, 5, 'v')
    await partition.close(CLOSED)
    const bytes = Buffer.from(fileSystem.snapshot().get(path) ?? [])
    bytes[position + 66] = (bytes[position + 66] ?? 0) ^ 1
    fileSystem.writeFile(path, bytes)
    return openPartition({ fileSystem, readOnly })
  }

  it.each([false, true])(
    'is rejected by an iteration after the last record, readOnly: %s',
    async (readOnly) => {
      const partition = await endingInDamage(readOnly)
      const { damage } = partition.log
      expect([damage?.constructor, partition.highWatermark]).toEqual([CorruptRecordError, 2])
      const seen: number[] = []
      const read = async (): Promise<void> => {
        for await (const { offset } of partition.records({ until: 'end' })) seen.push(offset)
      }
      await expect(read()).rejects.toBe(damage)
      expect(seen).toEqual([0, 1])
      await expect(offsetsOf(partition, { from: 'latest', until: 'end' })).rejects.toBe(damage)
      await expect(offsetsOf(partition, { reverse: true })).rejects.toBe(damage)
      await expect(partition.readLast(1)).rejects.toBe(damage)
      await partition.close(CLOSED)
    },
  )

  it('is not asked for by an iteration up to an offset', async () => {
    const partition = await endingInDamage(false)
    const until = partition.highWatermark
    expect(await offsetsOf(partition, { until })).toEqual([0, 1])
    expect(await offsetsOf(partition, { reverse: true, until })).toEqual([1, 0])
    expect(await partition.readLast(0)).toEqual([])
    await partition.close(CLOSED)
  })

  it.each([false, true])(
    'is reported backwards from an offset above it, readOnly: %s',
    async (readOnly) => {
      const partition = await endingInDamage(readOnly)
      const until = partition.highWatermark + 1
      for (const reverse of [true, false]) {
        const reading = offsetsOf(partition, { reverse, until })
        await expect(reading).rejects.toThrow(CorruptRecordError)
      }
      await partition.close(CLOSED)
    },
  )
})
