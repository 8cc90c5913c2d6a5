import { crc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import {
  LAST_OFFSET_DELTA_POSITION,
  MAX_TIMESTAMP_POSITION,
  PRODUCER_ID_POSITION,
  RECORD_COUNT_POSITION,
} from '../../lib/record/batch-layout.ts'
import { writeCrc } from '../../lib/record/record-batch.ts'
import { isUnrepresentable } from '../../lib/storage/unrepresentable.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf, DIR, NOW, offsetsOf, openLog, pathOf, upTo } from './log-fixtures.ts'

const NANOSECONDS = 1_700_000_000_000_000_000n

/** A message as brokers before 0.11 write it: of format 0, or of format 1 with a timestamp. */
function message(magic: 0 | 1, offset: number, value: Buffer | null): Buffer {
  const timestamp = Buffer.alloc(magic === 0 ? 0 : 8)
  if (magic === 1) timestamp.writeBigInt64BE(1_500_000_000_000n)
  const lengths = Buffer.alloc(8)
  lengths.writeInt32BE(-1, 0)
  lengths.writeInt32BE(value?.length ?? -1, 4)
  const attributes = Buffer.alloc(1)
  const body = [Buffer.of(magic), attributes, timestamp, lengths, value ?? Buffer.alloc(0)]
  const covered = Buffer.concat(body)
  const head = Buffer.alloc(16)
  head.writeBigInt64BE(BigInt(offset), 0)
  head.writeInt32BE(covered.length + 4, 8)
  head.writeUInt32BE(crc32(covered), 12)
  return Buffer.concat([head, covered])
}

/** A batch whose checksum is valid after the change. */
function batch(baseOffset: number, change: (bytes: Buffer) => void): Buffer {
  const bytes = bytesOf({ baseOffset, values: ['v'] })
  change(bytes)
  writeCrc(bytes)
  return bytes
}

const inNanoseconds = (bytes: Buffer): void => {
  bytes.writeBigInt64BE(NANOSECONDS, MAX_TIMESTAMP_POSITION)
}

const farProducer = (bytes: Buffer): void => {
  bytes.writeBigInt64BE(2n ** 53n, PRODUCER_ID_POSITION)
}

const LARGE = Buffer.alloc(2_500_000, 'old')

describe('isUnrepresentable', () => {
  async function isFound(bytes: Buffer, end = bytes.length): Promise<boolean> {
    const fs = new SimulatedFileSystem()
    const before = Buffer.alloc(7, 1)
    fs.writeFile('/f', Buffer.concat([before, bytes]))
    const file = await fs.open('/f', 'read')
    return isUnrepresentable(file, before.length, before.length + end)
  }

  it.each<[string, Buffer]>([
    ['a message of format 0', message(0, 5, Buffer.from('old'))],
    ['the shortest message of all', message(0, 5, null)],
    ['a message of format 1', message(1, 5, Buffer.from('old'))],
    ['a large message', message(1, 5, LARGE)],
    ['a timestamp in nanoseconds', batch(5, inNanoseconds)],
    ['a producer beyond 2^53', batch(5, farProducer)],
    ['a timestamp below none', batch(5, (each) => each.writeInt32BE(-5, MAX_TIMESTAMP_POSITION))],
    ['a count below 0', batch(5, (each) => each.writeInt32BE(-1, RECORD_COUNT_POSITION))],
    [
      'a last offset before the first',
      batch(5, (each) => each.writeInt32BE(-1, LAST_OFFSET_DELTA_POSITION)),
    ],
  ])(
    'returns true for %s, and false if its end is missing or a bit is flipped',
    async (_, bytes) => {
      expect(await isFound(bytes)).toBe(true)
      expect(await isFound(Buffer.concat([bytes, Buffer.alloc(100)]))).toBe(true)
      expect(await isFound(bytes, bytes.length - 1), 'one byte short').toBe(false)
      expect(await isFound(bytes.subarray(0, -1), bytes.length), 'shorter than told').toBe(false)
      const flipped = Buffer.from(bytes)
      flipped.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1)
      expect(await isFound(flipped), 'a bit flipped').toBe(false)
    },
  )

  it.each<[string, Buffer]>([
    ['nothing', Buffer.alloc(0)],
    ['a few bytes', Buffer.alloc(16)],
    ['zeros', Buffer.alloc(100)],
    ['a batch that can be read, whatever its offset', bytesOf({ baseOffset: 0 })],
    ['an unknown format', bytesOf().fill(3, 16, 17)],
    ['a size below that of any message', Buffer.alloc(40).fill(13, 11, 12)],
    ['a size below that of any batch', bytesOf().fill(48, 11, 12)],
    ['a negative size', message(1, 5, Buffer.from('old')).fill(0xff, 8, 9)],
  ])('returns false for %s', async (_, bytes) => {
    expect(await isFound(bytes)).toBe(false)
  })
})

describe('a partition that was copied from a Kafka broker', () => {
  const OLD = Buffer.from('old '.repeat(20))

  it.each<[string, Buffer[], number[]]>([
    ['messages of format 1', [0, 1, 2].map((each) => message(1, each, OLD)), []],
    ['a short message of format 0', [message(0, 0, null)], []],
    [
      'a timestamp in nanoseconds',
      [bytesOf({ baseOffset: 0 }), batch(1, inNanoseconds), bytesOf({ baseOffset: 2 })],
      [0],
    ],
    [
      'a producer beyond 2^53',
      [bytesOf({ baseOffset: 0 }), batch(1, farProducer), bytesOf({ baseOffset: 2 })],
      [0],
    ],
  ])('is reported as damaged and not truncated if it contains %s', async (_, batches, readable) => {
    const fs = new SimulatedFileSystem({ seed: 1 })
    const bytes = Buffer.concat(batches)
    fs.writeFile(pathOf(0), bytes)
    const log = await openLog(fs)
    expect(fs.readFile(pathOf(0))).toEqual(bytes)
    expect(log.recovery.truncations).toEqual([])
    const firstOffset = readable.length
    expect(log.damage).toMatchObject({ path: pathOf(0), firstOffset, lastOffset: null })
    expect(log.damage?.reason).toContain('; its own checksum matches')
    expect((await log.read(0).catch(() => [])).map(({ offset }) => offset)).toEqual(readable)
    await expect(log.append([{ value: 'x' }])).rejects.toBe(log.damage)
    await log.close()
    expect(fs.readFile(pathOf(0))).toEqual(bytes)
  })

  it('loses a last batch that was copied without its end', async () => {
    const fs = new SimulatedFileSystem({ seed: 1 })
    const whole = bytesOf({ baseOffset: 0 })
    fs.writeFile(pathOf(0), Buffer.concat([whole, batch(1, inNanoseconds).subarray(0, -1)]))
    const log = await openLog(fs)
    expect(log.damage).toBeNull()
    expect(await offsetsOf(log)).toEqual([0])
    expect(fs.readFile(pathOf(0))).toEqual(whole)
  })
})

describe('a partition that a Kafka broker has closed cleanly', () => {
  const OLD = Buffer.from('old '.repeat(20))
  const LARGEST = entry(NOW, 2)

  /** An entry of a time index. */
  function entry(timestamp: number | bigint, relativeOffset: number): Buffer {
    const bytes = Buffer.alloc(12)
    bytes.writeBigInt64BE(BigInt(timestamp), 0)
    bytes.writeInt32BE(relativeOffset, 8)
    return bytes
  }

  /** A first segment of three offsets, and two that can be read in any case. */
  function copied(first: readonly Buffer[], timeIndex = LARGEST): SimulatedFileSystem {
    const fs = new SimulatedFileSystem({ seed: 1 })
    fs.writeFile(pathOf(0), Buffer.concat(first))
    fs.writeFile(pathOf(0, 'timeindex'), timeIndex)
    for (const baseOffset of [3, 4]) fs.writeFile(pathOf(baseOffset), bytesOf({ baseOffset }))
    for (const baseOffset of [3, 4]) fs.writeFile(pathOf(baseOffset, 'timeindex'), entry(NOW, 0))
    for (const baseOffset of [0, 3, 4]) fs.writeFile(pathOf(baseOffset, 'index'), Buffer.alloc(0))
    fs.writeFile(`${DIR}/leader-epoch-checkpoint`, Buffer.from('0\n1\n0 0\n'))
    fs.writeFile(`${DIR}/recovery-point-offset-checkpoint`, Buffer.from('0\n1\norders 0 5\n'))
    fs.writeFile(`${DIR}/.kafka_cleanshutdown`, Buffer.from('{"version":0,"brokerEpoch":1}'))
    return fs
  }

  /** The segments' files, and the record that they were verified. */
  function segmentsOf(fs: SimulatedFileSystem): [string, Buffer][] {
    return [...fs.snapshot()].filter(([path]) => /\/(\d{20}\..*|varve-segments)$/.test(path))
  }

  const sound = [0, 1, 2].map((baseOffset) => bytesOf({ baseOffset }))
  const nanosecondsInside = [
    bytesOf({ baseOffset: 0 }),
    batch(1, inNanoseconds),
    bytesOf({ baseOffset: 2 }),
  ]
  const cases: [string, () => SimulatedFileSystem, number[]][] = [
    ['messages of format 1', () => copied([0, 1, 2].map((each) => message(1, each, OLD))), []],
    ['messages of format 0', () => copied([0, 1, 2].map((each) => message(0, each, OLD))), []],
    [
      'older messages that newer batches follow in the same file',
      () => copied([message(1, 0, OLD), bytesOf({ baseOffset: 1 }), bytesOf({ baseOffset: 2 })]),
      [],
    ],
    [
      'a timestamp in nanoseconds in the middle of a file',
      () => copied(nanosecondsInside, entry(NANOSECONDS, 1)),
      [0],
    ],
  ]

  it.each(cases)(
    'is reported as damaged and not changed if it contains %s',
    async (_, make, readable) => {
      for (const readOnly of [false, true]) {
        for (const isClosed of [true, false]) {
          const fs = make()
          if (!isClosed) await fs.unlink(`${DIR}/.kafka_cleanshutdown`)
          const before = segmentsOf(fs)
          const log = await openLog(fs, { readOnly })
          const firstOffset = readable.length
          expect(log.damage).toMatchObject({ path: pathOf(0), firstOffset, lastOffset: 4 })
          expect(log.damage?.reason).toContain('; its own checksum matches')
          expect(log.logEndOffset).toBe(firstOffset)
          expect((await log.read(0).catch(() => [])).map(({ offset }) => offset)).toEqual(readable)
          await expect(log.append([{ value: 'x' }])).rejects.toThrow()
          await log.close()
          expect(segmentsOf(fs)).toEqual(before)
          const again = await openLog(fs, { readOnly })
          expect(again.damage).toEqual(log.damage)
          await again.close()
        }
      }
    },
  )

  it('opens if all that cannot be read is below the log start offset', async () => {
    const fs = copied([0, 1, 2].map((each) => message(1, each, OLD)))
    fs.writeFile(`${DIR}/log-start-offset-checkpoint`, Buffer.from('0\n1\norders 0 3\n'))
    const log = await openLog(fs)
    expect([log.damage, await offsetsOf(log)]).toEqual([null, [3, 4]])
  })

  it('opens and rebuilds the time index if only that contains a timestamp in nanoseconds', async () => {
    const fs = copied(sound, entry(NANOSECONDS, 1))
    const log = await openLog(fs)
    expect([log.damage, log.recovery.rebuiltIndexes]).toEqual([null, [pathOf(0)]])
    expect(await offsetsOf(log)).toEqual(upTo(5))
    expect(await log.offsetForTimestamp(NOW)).toMatchObject({ offset: 0 })
    await log.append([{ value: 'x' }])
    await log.close()
  })

  it('is searched for what cannot be read only at the first open', async () => {
    const fs = copied(sound)
    const lookedAt = async (): Promise<string[]> => {
      const paths: string[] = []
      const open = fs.open.bind(fs)
      fs.open = (path, mode) => {
        if (path.startsWith(pathOf(0, ''))) paths.push(path)
        return open(path, mode)
      }
      const log = await openLog(fs)
      fs.open = open
      await log.close()
      return paths
    }
    expect(await lookedAt()).toEqual([pathOf(0), pathOf(0, 'timeindex')])
    expect(await lookedAt()).toEqual([])
  })
})
