import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { AutoOffsetReset, OffsetReset } from '../../lib/client/consumer-options.ts'
import {
  CorruptRecordError,
  LockedError,
  LockLostError,
  OffsetOutOfRangeError,
} from '../../lib/errors.ts'
import { NodeFileSystem } from '../../lib/platform/node-file-system.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { temporaryDirectory } from '../platform/temporary-directory.ts'
import { rawBatch } from '../record/raw-batch.ts'
import { bytesOf } from '../storage/log-fixtures.ts'
import { append, DIR, NO_WAIT, open, reader, stored, T0 } from './session.ts'

/** Bugs of other logs between their clients: two writers, or a consumer and what it receives. */

describe('Chronicle #629', () => {
  // A writer that had waited 15 seconds for the write lock took it by force from an owner that was
  // only slow, and both wrote to the same place of the file. Here the second one is refused,
  // however long the first takes, and an owner that does lose the lock writes nothing more.
  it('refuses a second open however long the owner holds the lock', async () => {
    const dir = await temporaryDirectory()
    const clock = new ManualClock(Date.now())
    const fileSystem = new NodeFileSystem()
    const owner = await Broker.open(dir, { fileSystem, clock })
    await owner.createTopic('t')
    await append(owner, 'a')
    for (const waitMs of [0, 15_000, 3_600_000]) {
      clock.setTime(clock.now() + waitMs)
      await expect(Broker.open(dir, { fileSystem, clock })).rejects.toThrow(LockedError)
      await append(owner, 'b')
    }
    expect([...(await stored(owner)).values()]).toEqual(['a', 'b', 'b', 'b'])
    await owner.close()
  })

  it('rejects appends after the lock is lost, and overwrites nothing of the next owner', async () => {
    const fs = new SimulatedFileSystem()
    const first = await open(fs)
    await first.createTopic('t')
    await append(first, 'a', 'b')
    const late = append(first, 'late')
    fs.loseLock(DIR)
    await expect(late).rejects.toThrow(LockLostError)
    const second = await open(fs)
    await append(second, 'c')
    await expect(append(first, 'overwritten?')).rejects.toThrow(LockLostError)
    await append(second, 'd')
    await first.close().catch(() => undefined)
    await second.close()
    const third = await open(fs)
    const values = [...(await stored(third)).values()].filter((value) => value !== 'late')
    expect(third.recovery).toMatchObject({ damaged: [], truncations: [], cleanShutdown: true })
    expect(values).toEqual(['a', 'b', 'c', 'd'])
  })
})

describe('kafkajs #1777', () => {
  // A consumer whose committed offset the log no longer held silently continued at one end of it
  // and skipped everything in between; no setting made that an error. Here one does, and every
  // other one reports from where to where the position moved.
  async function overtaken(
    when: 'before it starts' | 'while it reads',
    autoOffsetReset: AutoOffsetReset,
  ): Promise<{ poll: () => Promise<string[]>; resets: OffsetReset[] }> {
    const broker = await open(new SimulatedFileSystem())
    await broker.createTopic('t')
    for (const value of ['a', 'b', 'c', 'd', 'e']) await append(broker, value)
    await reader(broker).commit([{ ...T0, offset: 1 }])
    const resets: OffsetReset[] = []
    const consumer = reader(broker, {
      autoOffsetReset,
      onOffsetReset: (reset) => void resets.push(reset),
      // One batch is read into memory at a time.
      fetchMaxBytes: 1,
    })
    const poll = async (): Promise<string[]> =>
      (await consumer.poll(NO_WAIT)).map(({ value }) => String(value))
    if (when === 'while it reads') expect(await poll()).toEqual(['b'])
    await broker.topic('t').partition(0).deleteRecords(3)
    return { poll, resets }
  }

  it.each([
    ['before it starts', 1],
    ['while it reads', 2],
  ] as const)(
    "rejects every poll with 'none' if the records at the position are deleted %s",
    async (when, offset) => {
      const { poll, resets } = await overtaken(when, 'none')
      for (let each = 0; each < 3; each += 1) {
        const refused = poll()
        await expect(refused).rejects.toThrow(OffsetOutOfRangeError)
        await expect(refused).rejects.toMatchObject({ offset, logStartOffset: 3, logEndOffset: 5 })
      }
      expect(resets).toEqual([])
    },
  )

  it.each([
    ['before it starts', 'earliest', 1, ['d']],
    ['while it reads', 'earliest', 2, ['d']],
    ['before it starts', 'latest', 1, []],
    ['while it reads', 'latest', 2, []],
  ] as const)(
    "reports from where to where the position moved if records are deleted %s, with '%s'",
    async (when, autoOffsetReset, from, values) => {
      const { poll, resets } = await overtaken(when, autoOffsetReset)
      expect(await poll()).toEqual(values)
      const to = autoOffsetReset === 'earliest' ? 3 : 5
      expect(resets).toEqual([{ ...T0, from, to, reason: 'deleted' }])
    },
  )
})

describe('kafkajs #1795', () => {
  // Batches of gzip were decompressed without a limit, so half a megabyte from a broker took half a
  // gigabyte of a consumer. Here the output is limited, and a batch that would exceed it counts as
  // damaged: the records before and after it are read.
  it('rejects every poll at a batch that decompresses beyond the limit, and reads the batches around it', async () => {
    const fs = new SimulatedFileSystem()
    const broker = await open(fs)
    await broker.createTopic('t')
    await append(broker, 'a')
    const stopped = fs.restart('process')
    const path = `${DIR}/t-0/00000000000000000000.log`
    const bomb = rawBatch(gzipSync(Buffer.alloc(64 * 2 ** 20 + 1)), {
      baseOffset: 1,
      attributes: 1,
    })
    expect(bomb.sizeBytes).toBeLessThan(100_000)
    const behind = bytesOf({ baseOffset: 2, values: ['c'] })
    stopped.writeFile(path, Buffer.concat([stopped.readFile(path), bomb.buffer, behind]))
    const next = await open(stopped)
    const consumer = reader(next)
    const values = (await consumer.poll(NO_WAIT)).map(({ value }) => String(value))
    expect(values).toEqual(['a'])
    for (let each = 0; each < 2; each += 1) {
      const poll = consumer.poll(NO_WAIT)
      await expect(poll).rejects.toThrow(CorruptRecordError)
      await expect(poll).rejects.toThrow('more than the allowed 67108864 bytes')
    }
    consumer.seek(T0, 2)
    expect(String((await consumer.poll(NO_WAIT))[0]?.value)).toBe('c')
  })
})
