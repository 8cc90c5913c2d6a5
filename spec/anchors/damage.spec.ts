import { describe, expect, it } from 'vitest'
import type { Consumer } from '../../lib/client/consumer.ts'
import { CorruptRecordError } from '../../lib/errors.ts'
import type { Persona } from '../../lib/testing/crash-model.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { valuesUpTo } from '../storage/log-fixtures.ts'
import { append, atEveryOperation, NO_WAIT, open, reader, stored, T0 } from './session.ts'

/** Bugs of other logs when files are not as they were written. */

const SMALL = { segmentBytes: 200, indexIntervalBytes: 32 }
const ENDS = ['closed in order', 'killed'] as const

/** A directory with ten records in several segments, of which a group has committed four. */
async function directory(
  end: (typeof ENDS)[number],
  persona: Persona = 'ext4',
): Promise<SimulatedFileSystem> {
  const fs = new SimulatedFileSystem({ persona })
  const clock = new ManualClock()
  const broker = await open(fs, { clock })
  await broker.createTopic('t', SMALL)
  for (const value of valuesUpTo(10)) await append(broker, value)
  await reader(broker).commit([{ ...T0, offset: 4 }])
  // The recovery point is saved once a minute.
  await clock.advance(60_000)
  if (end === 'closed in order') await broker.close()
  return fs.restart('process')
}

/** What polls return before one fails, and why it fails. */
async function pollToFailure(consumer: Consumer): Promise<{ values: string[]; failure: unknown }> {
  const values: string[] = []
  for (let each = 0; each < 20; each += 1) {
    try {
      values.push(...(await consumer.poll(NO_WAIT)).map(({ value }) => String(value)))
    } catch (failure) {
      return { values, failure }
    }
  }
  return { values, failure: null }
}

describe('NATS #7549', () => {
  // One rotten bit in a block file made a server drop acknowledged messages from the middle of a
  // stream, or everything after it, and continue as if they had never existed. Here the record is
  // refused every time, with an error that names the place, and no file is made shorter.
  it.each(ENDS)(
    'rejects every poll at a flipped bit in a log that was %s, and leaves the file unchanged',
    async (end) => {
      const sound = await directory(end)
      const paths = [...sound.snapshot().keys()].filter((path) => /t-0\/\d+\.log$/.test(path))
      expect(paths.length).toBeGreaterThan(3)
      for (const path of paths) {
        const size = sound.readFile(path).length
        // In the last value of the file.
        const fs = sound.fork()
        fs.flipBit(path, size - 2, 3)
        const before = fs.readFile(path)
        const broker = await open(fs)
        const consumer = reader(broker)
        consumer.seek(T0, 0)
        const { values, failure } = await pollToFailure(consumer)
        expect(failure, path).toBeInstanceOf(CorruptRecordError)
        expect(failure, path).toMatchObject({ path, firstOffset: values.length })
        expect(values, path).toEqual(valuesUpTo(values.length))
        await expect(consumer.poll(NO_WAIT), path).rejects.toThrow(CorruptRecordError)
        await broker.close().catch(() => undefined)
        expect(fs.readFile(path), path).toEqual(before)
        for (const each of paths) expect(fs.readFile(each).length, each).toBeGreaterThan(0)
      }
    },
  )
})

describe('logstash #8218', () => {
  // A reboot, or a process that had run out of file handles, left an empty head checkpoint, and the
  // queue did not open until somebody deleted it. Here a file is complete before it gets its name,
  // and an empty file counts as missing wherever it can be created again.
  it.each(ENDS)(
    'opens with all records and commits if a checkpoint is empty in a directory that was %s',
    async (end) => {
      const sound = await directory(end)
      const names = new Set<string>()
      for (const [path, bytes] of sound.snapshot()) {
        // A log is not a checkpoint. The other two cannot be guessed, but no crash leaves them empty.
        if (/\.log$|varve-topics$|meta\.properties$/.test(path) || bytes.length === 0) continue
        names.add(path.replace(/^.*?(\.?[a-z-]+)$/, '$1'))
        const fs = sound.fork()
        fs.writeFile(path, Buffer.alloc(0))
        const broker = await open(fs)
        expect(broker.recovery.damaged, path).toEqual([])
        expect([...(await stored(broker)).values()], path).toEqual(valuesUpTo(10))
        expect((await reader(broker).committed(T0))?.offset, path).toBe(4)
        await append(broker, 'more')
      }
      expect(names).toContain('leader-epoch-checkpoint')
      expect(names).toContain('recovery-point-offset-checkpoint')
      expect(names).toContain('log-start-offset-checkpoint')
    },
  )

  it('leaves no empty checkpoint after a crash, and opens again after a lack of file handles', async () => {
    const sound = await directory('killed', 'xfs')
    const isGrown = /\.(log|index|timeindex)$|\.tmp$/
    const work = async (fs: SimulatedFileSystem, start: () => void): Promise<void> => {
      start()
      const broker = await open(fs)
      await broker.topic('t').partition(0).deleteRecords(3)
      await broker.close()
    }
    const count = await atEveryOperation(sound, work, (stopped, at) => {
      for (const [path, bytes] of stopped.restart('power', { unsynced: 'random' }).snapshot()) {
        if (!isGrown.test(path)) expect(bytes.length, `${path}, ${at}`).toBeGreaterThan(0)
      }
      return Promise.resolve()
    })
    for (let operation = 1; operation <= count; operation += 3) {
      const fs = sound.fork()
      const start = (): void => {
        fs.failAt(operation, 'EMFILE', { persistent: true })
      }
      await work(fs, start).catch(() => undefined)
      const broker = await open(fs.restart('process'))
      const { logStartOffset } = broker.topic('t').partition(0)
      const values = [...(await stored(broker)).values()]
      expect(values, `EMFILE from ${operation} on`).toEqual(valuesUpTo(10).slice(logStartOffset))
    }
  })
})
