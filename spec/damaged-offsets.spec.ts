import { describe, expect, it } from 'vitest'
import { Broker } from '../lib/broker.ts'
import { CorruptRecordError, ReadOnlyError } from '../lib/errors.ts'
import { ManualClock } from '../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../lib/testing/simulated-file-system.ts'
import { spoil } from './helpers/bad-sectors.ts'

const TP = { topic: 'a', partition: 0 }
const DIR = '/data/__consumer_offsets-0'
const LOG = `${DIR}/00000000000000000000.log`

function open(fileSystem: SimulatedFileSystem, options = {}): Promise<Broker> {
  return Broker.open('/data', { fileSystem, clock: new ManualClock(), ...options })
}

/** A topic with two records, and three commits of one group, closed cleanly. */
async function sound(): Promise<SimulatedFileSystem> {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const broker = await open(fs)
  const topic = await broker.createTopic('a')
  await topic.partition(0).append([{ value: 'x' }, { value: 'y' }])
  const consumer = broker.consumer({ groupId: 'g' })
  consumer.assign([TP])
  for (const offset of [0, 1, 2]) await consumer.commit([{ ...TP, offset }])
  await broker.close()
  return fs
}

function flipFirst(fs: SimulatedFileSystem): void {
  fs.flipBit(LOG, 70, 1)
}

function flipLast(fs: SimulatedFileSystem): void {
  fs.flipBit(LOG, fs.readFile(LOG).length - 1, 1)
}

function cut(fs: SimulatedFileSystem): void {
  fs.writeFile(LOG, fs.readFile(LOG).subarray(0, 200))
}

async function removeAll(fs: SimulatedFileSystem): Promise<void> {
  for (const path of fs.snapshot().keys()) if (path.startsWith(`${DIR}/`)) await fs.unlink(path)
}

describe('damaged committed offsets', () => {
  it.each<[string, (fs: SimulatedFileSystem) => unknown]>([
    ['a bit in the first commit', flipFirst],
    ['a bit in the last commit', flipLast],
    ['a file that ends early', cut],
    ['a file that is gone', (fs) => fs.unlink(LOG)],
    ['a directory whose files are gone', removeAll],
    [
      'a file with a bad sector',
      (fs) => {
        spoil(fs, LOG)
      },
    ],
    [
      'a file that may not be opened',
      (fs) => {
        fs.failNext('open', 'EACCES', { path: LOG, persistent: true })
      },
    ],
    [
      'a directory that may not be listed',
      (fs) => {
        fs.failNext('list', 'EACCES', { path: DIR, persistent: true })
      },
    ],
  ])(
    'do not prevent opening, appends and reads, but reject calls that need them: %s',
    async (_, rot) => {
      const fs = await sound()
      await rot(fs)
      const before = [...fs.snapshot()].filter(([path]) => path === LOG)
      const broker = await open(fs)
      expect(broker.recovery.damaged).toMatchObject([{ topic: '__consumer_offsets', partition: 0 }])
      const damage = broker.recovery.damaged[0]?.error
      expect(damage).toBeInstanceOf(CorruptRecordError)

      const partition = broker.topic('a').partition(0)
      expect((await partition.append({ value: 'z' })).baseOffset).toBe(2)
      expect((await partition.read(0)).map(({ value }) => String(value))).toEqual(['x', 'y', 'z'])
      const alone = broker.consumer()
      alone.assign([TP])
      expect(await alone.poll({ maxWaitMs: 0 })).toHaveLength(3)

      for (const isSubscribed of [true, false]) {
        const member = broker.consumer({ groupId: 'g' })
        if (isSubscribed) member.subscribe(['a'])
        else member.assign([TP])
        await expect(member.poll({ maxWaitMs: 0 })).rejects.toBe(damage)
        await expect(member.poll({ maxWaitMs: 0 })).rejects.toBe(damage)
        await expect(member.committed(TP)).rejects.toBe(damage)
        await expect(member.commit([{ ...TP, offset: 1 }])).rejects.toBe(damage)
        await member.close()
      }
      await expect(broker.createTopic('b')).rejects.toBe(damage)
      await expect(broker.deleteTopic('a')).rejects.toBe(damage)
      await expect(broker.topic('a').addPartitions(2)).rejects.toBe(damage)
      expect(broker.topic('a').partitions).toHaveLength(1)
      expect(broker.topics().map(({ name }) => name)).toEqual(['a'])
      expect(broker.describe().groups).toEqual([])
      await broker.close()

      // The damaged file stays as it was, so it can be salvaged.
      expect([...fs.snapshot()].filter(([path]) => path === LOG)).toEqual(before)
      expect((await open(fs)).recovery.damaged).toHaveLength(1)
    },
  )

  it('reject calls that need them in a read-only process as well', async () => {
    const fs = await sound()
    fs.flipBit(LOG, 70, 1)
    const broker = await open(fs, { readOnly: true })
    const reader = broker.consumer({ groupId: 'g' })
    await expect(reader.committed(TP)).rejects.toBe(broker.recovery.damaged[0]?.error)
    await expect(broker.deleteTopic('a')).rejects.toThrow(ReadOnlyError)
  })
})

/** A bad sector where the commits begin, far before what an open reads after a clean close. */
async function badBeginning(): Promise<SimulatedFileSystem> {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const broker = await open(fs)
  const topic = await broker.createTopic('a')
  await topic.partition(0).append({ value: 'x' })
  const consumer = broker.consumer({ groupId: 'g' })
  consumer.assign([TP])
  for (let each = 0; each < 100; each += 1) await consumer.commit([{ ...TP, offset: each % 2 }])
  await broker.close()
  spoil(fs, LOG, 0, 512)
  return fs
}

describe('committed offsets with a bad sector at their beginning', () => {
  it.each([false, true])(
    'are reported as damaged, and reject calls that need them: readOnly %s',
    async (readOnly) => {
      const broker = await open(await badBeginning(), { readOnly })
      expect(broker.recovery.damaged).toMatchObject([
        { topic: '__consumer_offsets', partition: 0, error: { path: LOG, cause: { code: 'EIO' } } },
      ])
      const member = broker.consumer({ groupId: 'g' })
      await expect(member.committed(TP)).rejects.toBe(broker.recovery.damaged[0]?.error)
      expect(await broker.topic('a').partition(0).read(0)).toHaveLength(1)
      await broker.close()
    },
  )
})

it('rejects an open with STORAGE_ERROR if the process cannot read the committed offsets', async () => {
  const fs = await sound()
  fs.failNext('read', 'ENOMEM', { path: LOG, persistent: true })
  await expect(open(fs)).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
})
