import { describe, expect, it } from 'vitest'
import { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { PERSONAS } from '../../lib/testing/crash-model.ts'
import { bytesOf, openLog, upTo, valuesUpTo, writtenLog } from '../storage/log-fixtures.ts'
import { DIR as LOG_DIR, offsetsOf, valuesOf } from '../storage/log-fixtures.ts'
import { append, atEveryOperation, DIR, open, reader, RELAXED, stored, T0 } from './session.ts'

/** Bugs of other logs after a crash or a power loss, tested here. */

describe('KAFKA-10471', () => {
  // Kafka checked for the mark of a clean shutdown first, and removed it when all logs were loaded.
  // A crash in between left it, and the next start skipped recovery. Here the removal is durable
  // before a single file of a log is opened.
  it('reports an unclean stop after a crash while logs are loaded', async () => {
    const fs = new SimulatedFileSystem()
    const broker = await open(fs)
    await broker.createTopic('t')
    await append(broker, 'a', 'b')
    await broker.close()
    let uncleanCount = 0
    const count = await atEveryOperation(
      fs,
      async (copy, start) => {
        start()
        await open(copy)
      },
      async (stopped, trace) => {
        const isLoading = stopped.operations.some((line) => line.includes(`${DIR}/t-0`))
        // The power fails as well, which undoes whatever was not synced: the removal, if possible.
        const next = await open(stopped.restart('power', { unsynced: 'lost' }))
        const { cleanShutdown } = next.recovery
        if (isLoading) expect(cleanShutdown, trace).toBe(false)
        expect(next.topic('t').partition(0).log.leaderEpoch, trace).toBe(cleanShutdown ? 0 : 1)
        expect([...(await stored(next)).values()], trace).toEqual(['a', 'b'])
        uncleanCount += cleanShutdown ? 0 : 1
      },
    )
    expect(uncleanCount).toBeGreaterThan(0)
    expect(uncleanCount).toBeLessThan(count)
  })
})

describe('KAFKA-3919', () => {
  // A power loss lost unflushed records of a leader, so others were written under their offsets. In
  // the log that held both, the broker met an offset below the last one and did not start. Here the
  // log continues at its end after a power loss, and a log with decreasing offsets opens.
  it('assigns consecutive offsets whatever records a power loss takes', async () => {
    for (let seed = 1; seed <= 60; seed += 1) {
      const fs = new SimulatedFileSystem({ seed })
      const broker = await open(fs)
      await broker.createTopic('t', { ...RELAXED, segmentBytes: 400, indexIntervalBytes: 32 })
      for (const value of ['a', 'b', 'c']) await append(broker, value)
      await broker.topic('t').partition(0).flush()
      for (let each = 0; each < 8; each += 1) await append(broker, `lost ${each}`, 'lost too')
      const cut = fs.restart('power', { unsynced: 'random' })
      const next = await open(cut)
      await append(next, 'x', 'y')
      const last = await open(cut.restart('process'))
      const records = await stored(last)
      const context = `seed ${seed}`
      expect(last.recovery.damaged, context).toEqual([])
      expect([...records.keys()], context).toEqual(upTo(records.size))
      expect([...records.values()].slice(0, 3), context).toEqual(['a', 'b', 'c'])
      expect([...records.values()].slice(-2), context).toEqual(['x', 'y'])
    }
  })

  it.each([
    ['a torn tail', false],
    ['damage', true],
  ])('opens a log whose offsets decrease, and reports them as %s', async (_, isDurable) => {
    const fs = new SimulatedFileSystem()
    const broker = await open(fs)
    await broker.createTopic('sound')
    await broker.createTopic('t', RELAXED)
    for (let each = 0; each < 8; each += 1) await append(broker, `v${each}`)
    const path = `${DIR}/t-0/00000000000000000000.log`
    const cut = fs.restart('process')
    const other = bytesOf({ baseOffset: 5, values: ['x', 'y', 'z', 'z', 'z'] })
    const later = bytesOf({ baseOffset: 10, values: ['w'], groupStart: isDurable })
    cut.writeFile(path, Buffer.concat([cut.readFile(path), other, later]))
    const next = await open(cut)
    const { damaged, truncations } = next.recovery
    expect(damaged).toHaveLength(isDurable ? 1 : 0)
    expect(truncations).toHaveLength(isDurable ? 0 : 1)
    expect([...(await stored(next))]).toEqual(valuesUpTo(8).map((value, at) => [at, value]))
    await next.topic('sound').partition(0).append({ value: 'works' })
  })
})

describe('NATS #7100', () => {
  // A truncation first cut the block that holds the new end and then removed the later ones, so a
  // kill in between left a hole in the middle of the stream. Here later segments are removed first,
  // the last one before all others, so a crash leaves the log as it was, up to some offset.
  it('leaves no hole in the log after a crash during a truncation', async () => {
    const count = await atEveryOperation(
      await writtenLog(10),
      async (fs, start) => {
        const log = await openLog(fs)
        start()
        await log.truncateTo(5)
        await log.append([{ value: 'after' }])
      },
      async (stopped, trace) => {
        for (const kind of ['process', 'power'] as const) {
          const log = await openLog(stopped.restart(kind))
          const values = await valuesOf(log)
          const expected = values.includes('after')
            ? [...valuesUpTo(5), 'after']
            : valuesUpTo(log.logEndOffset)
          expect(log.damage, `${kind}, ${trace}`).toBeNull()
          expect(await offsetsOf(log), `${kind}, ${trace}`).toEqual(upTo(log.logEndOffset))
          expect(log.logEndOffset, `${kind}, ${trace}`).toBeGreaterThanOrEqual(5)
          expect(values, `${kind}, ${trace}`).toEqual(expected)
        }
      },
    )
    expect(count).toBeGreaterThan(20)
  })
})

describe('NATS #7384', () => {
  // The record that messages were deleted was lost together with its block. A stream that was read
  // again after a hard stop had the messages back, or began and ended at lower sequences than its
  // consumers. Here the new start is durable before a segment is deleted, and a segment keeps the
  // end.
  it.each([
    ['of some records', 7],
    ['of all records', 10],
  ])(
    'keeps a deletion %s after a power loss, and never lowers the log end offset',
    async (_, before) => {
      const fs = new SimulatedFileSystem()
      const writer = await open(fs)
      await writer.createTopic('t', { segmentBytes: 200, indexIntervalBytes: 32 })
      for (const value of valuesUpTo(10)) await append(writer, value)
      await reader(writer).commit([{ ...T0, offset: 10 }])
      let isDeleted = false
      await atEveryOperation(
        fs.restart('process'),
        async (copy, start) => {
          isDeleted = false
          const broker = await open(copy)
          start()
          await broker.topic('t').partition(0).deleteRecords(before)
          isDeleted = true
          await append(broker, 'unknown')
        },
        async (stopped, at) => {
          for (const unsynced of ['lost', 'random'] as const) {
            const trace = `${unsynced}, ${at}`
            const next = stopped.restart('power', { unsynced })
            const broker = await open(next)
            const { logStartOffset, logEndOffset } = broker.topic('t').partition(0)
            expect(broker.recovery.damaged, trace).toEqual([])
            expect(broker.recovery.clampedOffsets, trace).toEqual([])
            expect(isDeleted ? [before] : [0, before], trace).toContain(logStartOffset)
            expect(logEndOffset, trace).toBeGreaterThanOrEqual(10)
            expect((await reader(broker).committed(T0))?.offset, trace).toBe(10)
            const again = await open(next.restart('process'))
            expect(again.topic('t').partition(0).logStartOffset, trace).toBe(logStartOffset)
          }
        },
      )
    },
  )
})

describe('etcd #16596', () => {
  // A power loss during the setup of a new directory left parts of the first pages of the database
  // file, and the server never started on them again. Here every file of a new directory is
  // complete and synced under another name before it gets its own, and half-finished work is
  // redone.
  it.each(PERSONAS)(
    'opens again after a power loss at any operation of the first start on %s',
    async (persona) => {
      let isAcknowledged = false
      const count = await atEveryOperation(
        new SimulatedFileSystem({ persona, sectorBytes: 16 }),
        async (fs, start) => {
          isAcknowledged = false
          start()
          const broker = await open(fs)
          await broker.createTopic('t')
          await append(broker, 'a')
          isAcknowledged = true
          await broker.close()
        },
        async (stopped, at) => {
          for (let seed = 1; seed <= 2; seed += 1) {
            const trace = `seed ${seed}, ${at}`
            const broker = await open(stopped.restart('power', { unsynced: 'random', seed }))
            expect(broker.recovery.damaged, trace).toEqual([])
            await broker.createTopic('t', { ifNotExists: true })
            const before = [...(await stored(broker)).values()]
            expect(isAcknowledged ? [['a']] : [[], ['a']], trace).toContainEqual(before)
            await append(broker, 'b')
            expect([...(await stored(broker)).values()], trace).toEqual([...before, 'b'])
          }
        },
        'torn',
      )
      expect(count).toBeGreaterThan(30)
    },
  )
})

describe('leveldb #251', () => {
  // A power loss left garbage or zeros in place of a part of a Put, or a later append without the
  // one before it, and after the repair such a value was read. Here a batch counts only as a whole,
  // by its checksum, for recovery and for a salvage, and the log ends before the first invalid
  // batch.
  it.each(PERSONAS)(
    'reads each value whole or not at all after a power loss on %s',
    async (persona) => {
      const values = Array.from({ length: 6 }, (_, each) => String(each).repeat(1400 + 100 * each))
      let tornCount = 0
      for (let seed = 1; seed <= 40; seed += 1) {
        const fs = new SimulatedFileSystem({ seed, persona })
        const config = { ...RELAXED, segmentBytes: 100_000 }
        const log = await openLog(fs, { config })
        for (const value of values.slice(0, 2)) await log.append([{ value }])
        await log.flush()
        for (const value of values.slice(2)) await log.append([{ value }])
        const cut = fs.restart('power', { unsynced: 'random' })
        const salvaged = cut.fork()
        await Log.salvage(LOG_DIR, '/salvaged-0', { fileSystem: salvaged, config })
        const copy = await Log.open('/salvaged-0', { fileSystem: salvaged, config, readOnly: true })
        // A batch that a salvage finds after a gap is complete too, so the values keep their order.
        const saved = await valuesOf(copy)
        expect(saved, `seed ${seed}`).toEqual(values.filter((value) => saved.includes(value)))
        const recovered = await openLog(cut, { config })
        expect(recovered.damage, `seed ${seed}`).toBeNull()
        expect(recovered.logEndOffset, `seed ${seed}`).toBeGreaterThanOrEqual(2)
        const found = values.slice(0, recovered.logEndOffset)
        expect(await valuesOf(recovered), `seed ${seed}`).toEqual(found)
        tornCount += recovered.recovery.truncations.length
      }
      expect(tornCount).toBeGreaterThan(0)
    },
  )
})
