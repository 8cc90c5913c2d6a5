import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { StorageError } from '../../lib/errors.ts'
import { writeCrc } from '../../lib/record/record-batch.ts'
import { Log } from '../../lib/storage/log.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { temporaryDirectory } from '../platform/temporary-directory.ts'
import {
  DIR,
  NOW,
  SMALL,
  bytesOf,
  offsetsOf,
  openLog,
  pathOf,
  readAll,
  upTo,
  valuesOf,
  valuesUpTo,
  writtenLog,
} from './log-fixtures.ts'

const SIZE = bytesOf({ values: ['v0'] }).length
const COUNT = 10

/** The log files of {@link DIR} by base offset, and the active one. */
function logFilesOf(fs: SimulatedFileSystem): { path: string; base: number; count: number }[] {
  return [...fs.snapshot()]
    .filter(([path]) => path.endsWith('.log'))
    .map(([path, bytes]) => ({
      path,
      base: Number(path.slice(-24, -4)),
      count: bytes.length / SIZE,
    }))
}

function lastOf(fs: SimulatedFileSystem): { path: string; base: number; count: number } {
  const last = logFilesOf(fs).at(-1)
  if (last === undefined) throw new Error('there is no log file')
  return last
}

function edit(fs: SimulatedFileSystem, path: string, change: (bytes: Buffer) => Buffer): void {
  fs.writeFile(path, change(fs.readFile(path)))
}

/** What becomes of a log of {@link COUNT} records without a checkpoint when its end is damaged. */
interface Row {
  readonly name: string
  readonly corrupt: (fs: SimulatedFileSystem) => void
  /** How many records are lost from the end of the whole log. */
  readonly lost: number
  readonly kept: boolean
}

const TORN: Row[] = [
  {
    name: 'garbage behind the last batch',
    corrupt: (fs) => {
      edit(fs, lastOf(fs).path, (bytes) => Buffer.concat([bytes, Buffer.alloc(33, 0xab)]))
    },
    lost: 0,
    kept: true,
  },
  {
    name: 'zeros behind the last batch',
    corrupt: (fs) => {
      edit(fs, lastOf(fs).path, (bytes) => Buffer.concat([bytes, Buffer.alloc(4096)]))
    },
    lost: 0,
    kept: false,
  },
  {
    name: 'the start of a header behind the last batch',
    corrupt: (fs) => {
      edit(fs, lastOf(fs).path, (bytes) =>
        Buffer.concat([bytes, bytesOf({ baseOffset: COUNT }).subarray(0, 40)]),
      )
    },
    lost: 0,
    kept: true,
  },
  {
    name: 'the last byte missing',
    corrupt: (fs) => {
      edit(fs, lastOf(fs).path, (bytes) => bytes.subarray(0, -1))
    },
    lost: 1,
    kept: true,
  },
  {
    name: 'a flipped bit in the last record',
    corrupt: (fs) => {
      const { path, count } = lastOf(fs)
      fs.flipBit(path, count * SIZE - 2, 0)
    },
    lost: 1,
    kept: true,
  },
  {
    name: 'the last batch turned to zeros',
    corrupt: (fs) => {
      edit(fs, lastOf(fs).path, (bytes) => bytes.fill(0, bytes.length - SIZE))
    },
    lost: 1,
    kept: false,
  },
  {
    name: 'an empty next segment',
    corrupt: (fs) => {
      fs.writeFile(pathOf(COUNT), Buffer.alloc(0))
    },
    lost: 0,
    kept: false,
  },
  {
    name: 'garbage in a next segment',
    corrupt: (fs) => {
      fs.writeFile(pathOf(COUNT), Buffer.alloc(70, 7))
    },
    lost: 0,
    kept: true,
  },
]

/** A log that was not closed and has no checkpoint of how much is durable. */
async function unclosedLog(
  segmentBytes: number,
  corrupt: Row['corrupt'],
): Promise<SimulatedFileSystem> {
  const written = await writtenLog(COUNT, { config: { segmentBytes }, close: false })
  const fs = written.restart('process')
  fs.writeFile(`${DIR}/recovery-point-offset-checkpoint`, Buffer.from('0\n0\n'))
  // Only the log file can tell what was durable, as in a directory of a Kafka broker.
  await fs.unlink(`${DIR}/varve-segments`)
  corrupt(fs)
  return fs
}

describe.each([SIZE, 2 * SIZE, 3 * SIZE + 5, 100_000])(
  'an unclean open with segments of %i bytes',
  (segmentBytes) => {
    const config = { ...SMALL, segmentBytes: Math.max(100, segmentBytes) }

    it.each(TORN)('recovers from $name', async ({ corrupt, lost, kept }) => {
      const fs = await unclosedLog(config.segmentBytes, corrupt)
      const log = await openLog(fs, { config })
      expect(log.damage).toBeNull()
      expect(await valuesOf(log)).toEqual(valuesUpTo(COUNT - lost))
      expect(log.recovery.truncations.map(({ keptIn }) => keptIn !== null)).toEqual(
        log.recovery.truncations.map(() => kept),
      )
      for (const { keptIn, sizeBytes } of log.recovery.truncations) {
        if (keptIn !== null) expect(fs.readFile(keptIn)).toHaveLength(sizeBytes)
      }
      await log.append([{ value: 'next' }])
      expect((await readAll(log)).at(-1)).toMatchObject({ offset: COUNT - lost })
      await log.close()
      const again = await openLog(fs, { config })
      expect(again.recovery).toEqual({
        truncations: [],
        rebuiltIndexes: [],
        failedSyncOffset: null,
        damage: null,
      })
      expect(await offsetsOf(again)).toEqual(upTo(COUNT - lost + 1))
    })

    it('reports damage in what the next batch proves was durable, and truncates nothing', async () => {
      const fs = await unclosedLog(config.segmentBytes, (damaged) => {
        damaged.flipBit(pathOf(0), SIZE - 2, 0)
      })
      const before = fs.snapshot()
      const log = await openLog(fs, { config })
      expect(log.damage).toMatchObject({
        path: pathOf(0),
        position: 0,
        firstOffset: 0,
        lastOffset: (logFilesOf(fs)[1]?.base ?? COUNT - 1) - 1,
      })
      expect(log.isWritable).toBe(false)
      await expect(log.append([{ value: 'x' }])).rejects.toBe(log.damage)
      await expect(log.read(0)).rejects.toBe(log.damage)
      await log.close()
      // An unclean open leaves no mark of a clean shutdown, so only that may have changed.
      expect(fs.snapshot()).toEqual(before)
    })
  },
)

describe('an unclean open', () => {
  it('reports damage below the recovery point, and truncates nothing', async () => {
    const fs = await unclosedLog(100_000, (damaged) => {
      damaged.flipBit(pathOf(0), COUNT * SIZE - 2, 0)
      const text = `0\n1\norders 0 ${COUNT}\n`
      damaged.writeFile(`${DIR}/recovery-point-offset-checkpoint`, Buffer.from(text))
    })
    const log = await openLog(fs)
    expect(log.damage).toMatchObject({ firstOffset: COUNT - 1, lastOffset: COUNT - 1 })
    expect((await log.read(0)).map(({ value }) => String(value))).toEqual(valuesUpTo(COUNT - 1))
  })

  it('reads only segments above the recovery point', async () => {
    const written = await writtenLog(COUNT, { config: { segmentBytes: 2 * SIZE }, close: false })
    const fs = written.restart('process')
    const text = '0\n1\norders 0 8\n'
    fs.writeFile(`${DIR}/recovery-point-offset-checkpoint`, Buffer.from(text))
    fs.flipBit(pathOf(2), SIZE - 2, 0)
    const log = await openLog(fs)
    expect(log.damage).toBeNull()
    expect(log.logEndOffset).toBe(COUNT)
    const read = fs.operations.filter((line) => line.includes(' read ') && line.includes('.log'))
    expect(read.every((line) => line.includes(pathOf(8)))).toBe(true)
    await expect(log.read(2)).rejects.toMatchObject({ code: 'CORRUPT_MESSAGE', firstOffset: 2 })
  })

  it('raises the leader epoch each time', async () => {
    let fs = await writtenLog(2, { close: false })
    for (const epoch of [1, 2]) {
      fs = fs.restart('process')
      const log = await openLog(fs)
      expect(log.leaderEpoch).toBe(epoch)
      const { baseOffset } = await log.append([{ value: 'x' }])
      const [batch] = await log.reader.readBatches(baseOffset, { maxBytes: 1 })
      expect(batch?.partitionLeaderEpoch).toBe(epoch)
    }
    expect(fs.readFile(`${DIR}/leader-epoch-checkpoint`).toString()).toBe('0\n3\n0 0\n1 2\n2 3\n')
  })

  it('rebuilds the leader epochs if their file is damaged', async () => {
    const fs = (await writtenLog(3, { close: false })).restart('process')
    fs.writeFile(`${DIR}/leader-epoch-checkpoint`, Buffer.from('rubbish'))
    const log = await openLog(fs)
    expect(log.leaderEpoch).toBe(1)
    await log.append([{ value: 'x' }])
    expect(fs.readFile(`${DIR}/leader-epoch-checkpoint`).toString()).toBe('0\n2\n0 0\n1 3\n')
  })

  it('succeeds on a full disk, and appends succeed once there is room', async () => {
    const fs = await unclosedLog(2 * SIZE, (damaged) => {
      edit(damaged, lastOf(damaged).path, (bytes) => Buffer.concat([bytes, Buffer.alloc(33, 1)]))
    })
    fs.capacityBytes = 0
    const log = await openLog(fs)
    expect(log.recovery.truncations).toMatchObject([{ keptIn: null, sizeBytes: 33 }])
    expect(await valuesOf(log)).toEqual(valuesUpTo(COUNT))
    await expect(log.append([{ value: 'x' }])).rejects.toMatchObject({ outcome: 'not-written' })
    fs.capacityBytes = Infinity
    await log.append([{ value: 'x' }])
    expect(log.logEndOffset).toBe(COUNT + 1)
  })

  it('rejects if the disk cannot be read, and changes nothing', async () => {
    const fs = await unclosedLog(2 * SIZE, () => undefined)
    const before = fs.snapshot()
    fs.failNext('read', 'EIO', { path: /log$/ })
    const error = await openLog(fs).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(StorageError)
    expect(error).toMatchObject({ outcome: 'not-written', cause: { code: 'EIO' } })
    expect(fs.snapshot()).toEqual(before)
  })

  it('recovers a prefix of the log, whatever its end is overwritten with', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 2 * SIZE - 1 }),
        fc.uint8Array({ minLength: 1, maxLength: 2 * SIZE }),
        async (back, bytes) => {
          const fs = await unclosedLog(100_000, (damaged) => {
            edit(damaged, pathOf(0), (content) => {
              Buffer.from(bytes).copy(content, content.length - back)
              return content
            })
          })
          const log = await openLog(fs)
          const values = (await log.read(0, 10_000)).map(({ value }) => String(value))
          expect(values).toEqual(valuesUpTo(values.length))
          expect(values.length).toBeGreaterThanOrEqual(COUNT - 2)
        },
      ),
      { numRuns: 60 },
    )
  })
})

describe('an open after a clean close', () => {
  it('finds all records, with and without index files', async () => {
    for (const pattern of [/nothing/, /\.index$/, /\.timeindex$/, /index$/]) {
      const fs = await writtenLog(COUNT)
      for (const path of fs.snapshot().keys()) if (pattern.test(path)) await fs.unlink(path)
      const log = await openLog(fs)
      expect(await valuesOf(log)).toEqual(valuesUpTo(COUNT))
      expect(await log.offsetForTimestamp(NOW + 4)).toEqual({ offset: 4, timestamp: NOW + 4 })
      expect(log.leaderEpoch).toBe(0)
      const rebuilt = pattern.source === 'nothing' ? 0 : logFilesOf(fs).length
      expect(log.recovery.rebuiltIndexes).toHaveLength(rebuilt)
      await log.close()
      expect((await openLog(fs)).recovery.rebuiltIndexes).toHaveLength(0)
    }
  })

  it('lists a segment without an index file again until its records have been read', async () => {
    const fs = await writtenLog(COUNT)
    await fs.unlink(pathOf(0, 'index'))
    for (let each = 0; each < 2; each += 1) {
      const log = await openLog(fs)
      expect(log.recovery.rebuiltIndexes).toEqual([pathOf(0)])
      if (each > 0) await log.read(0)
      await log.close()
    }
    expect((await openLog(fs)).recovery.rebuiltIndexes).toEqual([])
  })

  it('checks the end again if it has bytes that a clean close does not leave', async () => {
    const fs = await writtenLog(COUNT)
    edit(fs, lastOf(fs).path, (bytes) => Buffer.concat([bytes, Buffer.alloc(5, 1)]))
    const log = await openLog(fs)
    expect(log.recovery.truncations).toMatchObject([{ sizeBytes: 5 }])
    expect(await valuesOf(log)).toEqual(valuesUpTo(COUNT))
  })

  it.each<[string, (fs: SimulatedFileSystem) => unknown]>([
    [
      'ends too early',
      (fs: SimulatedFileSystem) => {
        edit(fs, lastOf(fs).path, (bytes) => bytes.subarray(0, -SIZE))
      },
    ],
    [
      'ends too late',
      (fs: SimulatedFileSystem) => {
        const { path, count } = lastOf(fs)
        fs.flipBit(path, (count - 1) * SIZE + 7, 6)
      },
    ],
    ['has lost its last segment', (fs: SimulatedFileSystem) => fs.unlink(lastOf(fs).path)],
    [
      'has lost all segments',
      async (fs: SimulatedFileSystem) => {
        for (const { path } of logFilesOf(fs)) await fs.unlink(path)
      },
    ],
    [
      'ends before it starts',
      async (fs: SimulatedFileSystem) => {
        await fs.unlink(`${DIR}/varve-segments`)
        const text = '0\n1\norders 0 99\n'
        fs.writeFile(`${DIR}/log-start-offset-checkpoint`, Buffer.from(text))
      },
    ],
  ])(
    'reports damage in a log that %s, and rejects appends and reads at its end',
    async (_, change) => {
      const fs = await writtenLog(COUNT)
      await change(fs)
      const log = await openLog(fs)
      expect(log.damage).not.toBeNull()
      expect(log.isWritable).toBe(false)
      await expect(log.read(log.logEndOffset)).rejects.toBe(log.damage)
      await expect(log.append([{ value: 'x' }])).rejects.toBe(log.damage)
    },
  )

  it('consumes the clean-shutdown mark, so that a later crash is noticed', async () => {
    const fs = await writtenLog(COUNT)
    await openLog(fs)
    expect((await openLog(fs.restart('process'))).leaderEpoch).toBe(1)
  })
})

describe('a log with deleted records', () => {
  it('removes segments below the log start offset that have come back', async () => {
    const fs = await writtenLog(COUNT)
    await fs.unlink(`${DIR}/varve-segments`)
    const text = '0\n1\norders 0 5\n'
    fs.writeFile(`${DIR}/log-start-offset-checkpoint`, Buffer.from(text))
    const log = await openLog(fs)
    expect(await offsetsOf(log)).toEqual([5, 6, 7, 8, 9])
    expect(log.segments[0]?.baseOffset).toBe(4)
    expect(logFilesOf(fs)[0]?.base).toBe(4)
    expect(
      [...fs.snapshot().keys()].filter((path) => path.includes('0000000000000000002.')),
    ).toEqual([])
  })

  it('starts empty at its log start offset if a power loss took everything above it', async () => {
    const fs = (await writtenLog(3, { close: false })).restart('process')
    await fs.unlink(`${DIR}/varve-segments`)
    const text = '0\n1\norders 0 50\n'
    fs.writeFile(`${DIR}/log-start-offset-checkpoint`, Buffer.from(text))
    const before = fs.snapshot()
    const readOnly = await openLog(fs, { readOnly: true })
    expect([readOnly.logStartOffset, readOnly.logEndOffset]).toEqual([50, 50])
    expect(fs.snapshot()).toEqual(before)
    const log = await openLog(fs)
    expect([log.logStartOffset, log.logEndOffset]).toEqual([50, 50])
    expect(logFilesOf(fs).map(({ base }) => base)).toEqual([50])
    expect((await log.append([{ value: 'x' }])).baseOffset).toBe(50)
  })
})

describe('an unexpected file in the directory', () => {
  const STRANGE = [
    '.DS_Store',
    'foo.log',
    '0.log',
    '00000000000000000000.log.bak',
    'x.index',
    '99999999999999999999.log',
  ]

  it('is left alone if its name is unknown', async () => {
    const fs = await writtenLog(COUNT)
    for (const name of STRANGE) fs.writeFile(`${DIR}/${name}`, Buffer.from(name))
    const log = await openLog(fs)
    await log.advanceLogStartOffset(5)
    await log.truncateTo(7)
    await log.close()
    for (const name of STRANGE) expect(fs.readFile(`${DIR}/${name}`).toString()).toBe(name)
  })

  it('is removed if it is an index without a log file', async () => {
    const fs = await writtenLog(2)
    fs.writeFile(pathOf(77, 'index'), Buffer.alloc(8))
    fs.writeFile(pathOf(77, 'txnindex'), Buffer.alloc(34))
    const before = fs.snapshot()
    await openLog(fs, { readOnly: true })
    expect(fs.snapshot()).toEqual(before)
    await openLog(fs)
    expect([...fs.snapshot().keys()].filter((path) => path.includes('77.'))).toEqual([])
  })

  it('is removed if it is a producer snapshot of no segment, except the one at the log end', async () => {
    const fs = await writtenLog(COUNT)
    for (const offset of [1, 3, 4, 10, 11])
      fs.writeFile(pathOf(offset, 'snapshot'), Buffer.alloc(0))
    await openLog(fs)
    const snapshots = [...fs.snapshot().keys()].filter((path) => path.endsWith('.snapshot'))
    expect(snapshots).toEqual([2, 4, 6, 8, 10].map((offset) => pathOf(offset, 'snapshot')))
  })
})

describe('a directory left by a Kafka broker', () => {
  /** Three batches with indexes as Kafka preallocates them, without any checkpoint. */
  function kafkaDirectory(): SimulatedFileSystem {
    const fs = new SimulatedFileSystem()
    const batches = [0, 1, 2].map((baseOffset) =>
      bytesOf({ baseOffset, epoch: 4, producerId: 9, producerEpoch: 0, baseSequence: baseOffset }),
    )
    fs.writeFile(pathOf(0), Buffer.concat(batches))
    fs.writeFile(pathOf(0, 'index'), Buffer.alloc(10_485_760))
    fs.writeFile(pathOf(0, 'timeindex'), Buffer.alloc(10_485_756))
    return fs
  }

  it('without a clean shutdown is opened with its leader epochs and producers', async () => {
    const fs = kafkaDirectory()
    const log = await openLog(fs)
    expect(await offsetsOf(log)).toEqual([0, 1, 2])
    expect(log.leaderEpoch).toBe(5)
    await log.append([{ value: 'ours' }])
    await log.close()
    expect(fs.readFile(`${DIR}/leader-epoch-checkpoint`).toString()).toBe('0\n2\n4 0\n5 3\n')
    const snapshot = fs.readFile(pathOf(4, 'snapshot'))
    expect(snapshot.readInt32BE(6)).toBe(1)
    expect(Number(snapshot.readBigInt64BE(10))).toBe(9)
    expect(fs.readFile(pathOf(0, 'index')).length).toBeLessThan(100)
  })

  it('keeps its producers after each crash', async () => {
    const fs = kafkaDirectory()
    const log = await openLog(fs)
    await log.roll()
    await log.append([{ value: 'ours' }])
    await log.checkpoint()
    await log.append([{ value: 'ours' }])
    const again = await openLog(fs.restart('process'))
    await again.close()
    const closed = fs.restart('process')
    const last = await openLog(closed)
    await last.close()
    expect(closed.readFile(pathOf(5, 'snapshot')).readInt32BE(6)).toBe(1)
    const names = [...closed.snapshot().keys()].filter((path) => path.endsWith('.snapshot'))
    expect(names).toEqual([pathOf(3, 'snapshot'), pathOf(5, 'snapshot')])
  })

  it('may hold only an empty log file', async () => {
    const fs = new SimulatedFileSystem()
    fs.writeFile(pathOf(7), Buffer.alloc(0))
    const log = await openLog(fs)
    expect([log.logStartOffset, log.logEndOffset]).toEqual([7, 7])
    expect((await log.append([{ value: 'x' }])).baseOffset).toBe(7)
  })

  it('may have gaps between batches and segments, and batches without records', async () => {
    const fs = new SimulatedFileSystem()
    const empty = Buffer.from(
      '000000000000001400000031000000000200000000000000000009ffffffffffffffff0000018bcfe56800' +
        'ffffffffffffffffffffffffffff00000000',
      'hex',
    )
    writeCrc(empty)
    fs.writeFile(
      pathOf(0),
      Buffer.concat([bytesOf({ baseOffset: 3 }), bytesOf({ baseOffset: 9 }), empty]),
    )
    fs.writeFile(pathOf(40), bytesOf({ baseOffset: 45 }))
    const log = await openLog(fs)
    expect(await offsetsOf(log)).toEqual([3, 9, 45])
    for (const [offset, first] of [
      [0, 3],
      [4, 9],
      [10, 45],
      [25, 45],
      [35, 45],
      [40, 45],
    ] as const) {
      expect((await log.read(offset))[0]?.offset).toBe(first)
    }
  })
})

describe('a read-only open', () => {
  it.each([
    ['after an orderly close', () => writtenLog(COUNT)],
    ['of a torn log', () => unclosedLog(2 * SIZE, TORN[0]?.corrupt ?? (() => undefined))],
    ['of a log in use', () => writtenLog(COUNT, { close: false })],
  ])('%s changes no file, and refuses every change', async (_, directory) => {
    const fs = await directory()
    const before = fs.snapshot()
    const log = await openLog(fs, { readOnly: true })
    expect(await valuesOf(log)).toEqual(valuesUpTo(COUNT))
    expect(await log.offsetForTimestamp(NOW + 3)).toMatchObject({ offset: 3 })
    expect(log.isWritable).toBe(false)
    for (const change of [
      () => log.append([{ value: 'x' }]),
      () => log.flush(),
      () => log.roll(),
      () => log.truncateTo(3),
      () => log.advanceLogStartOffset(3),
      () => log.checkpoint(),
    ]) {
      await expect(change()).rejects.toThrow('is open for reading only')
    }
    await log.close()
    expect(fs.snapshot()).toEqual(before)
  })

  it('of a directory without a log returns an empty log', async () => {
    const fs = new SimulatedFileSystem()
    await fs.createDirectory(DIR)
    const log = await openLog(fs, { readOnly: true })
    expect([log.logStartOffset, log.logEndOffset, log.size]).toEqual([0, 0, 0])
    expect(await log.read(0)).toEqual([])
    expect(await log.offsetForTimestamp(0)).toBeNull()
    expect(await fs.list(DIR)).toEqual([])
  })

  it('of a missing directory rejects', async () => {
    const fs = new SimulatedFileSystem()
    await expect(openLog(fs, { readOnly: true })).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    expect(fs.snapshot().size).toBe(0)
  })
})

it('a log on the real disk keeps its records and offsets when it is reopened', async () => {
  const dir = `${await temporaryDirectory()}/a/my orders`
  const options = { config: SMALL, clock: new ManualClock(NOW) }
  const log = await Log.open(dir, options)
  expect([log.topic, log.partition]).toEqual(['my_orders', 0])
  for (const value of valuesUpTo(COUNT)) await log.append([{ value }])
  await log.advanceLogStartOffset(3)
  await log.close()
  const again = await Log.open(dir, options)
  expect(await offsetsOf(again)).toEqual([3, 4, 5, 6, 7, 8, 9])
  expect(again.recovery).toEqual({
    truncations: [],
    rebuiltIndexes: [],
    failedSyncOffset: null,
    damage: null,
  })
  await again.truncateTo(5)
  await again.roll()
  await again.append([{ value: 'x' }])
  await again.close()
  const last = await Log.open(dir, options)
  expect(await offsetsOf(last)).toEqual([3, 4, 5])
  await last.close()
})
