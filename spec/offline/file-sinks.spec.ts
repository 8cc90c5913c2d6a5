import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  CorruptRecordError,
  IllegalStateError,
  type Broker,
  type FileSystem,
  type StoredRecord,
} from '../../lib/index.ts'
import {
  LoadFailedError,
  ndjsonSink,
  parquetSink,
  planLoad,
  runLoad,
  runTask,
  sinkConformance,
  type Fields,
  type Sink,
  type SinkUnderTest,
  type TaskWriter,
} from '../../lib/offline/index.ts'
import { rememberedIn } from '../../lib/offline/doubtful-directory.ts'
import { FILE_SYSTEM_METHODS } from '../../lib/platform/file-system.ts'
import { SimulatedFileSystem } from '../../lib/testing/index.ts'
import {
  brokerFor,
  fill,
  namesIn,
  offsetsIn,
  parquetOffsets,
  parquetRows,
  OUT,
  put,
  record,
  rowsIn,
  task,
  upTo,
} from './loads.ts'

const name = (start: number, end: number, extension: string): string =>
  `topic=orders/partition=0/${String(start).padStart(20, '0')}-${String(end).padStart(20, '0')}.${extension}`

/** Extension of the rejects file beside a data file. */
const rejectsOf = (extension: string): string => `${extension.replace('.gz', '')}.jsonl`

const SINKS = [
  ['ndjson', (fileSystem: FileSystem) => ndjsonSink(OUT, { fileSystem }), offsetsIn],
  ['ndjson.gz', (fileSystem: FileSystem) => ndjsonSink(OUT, { fileSystem, gzip: true }), offsetsIn],
  ['parquet', (fileSystem: FileSystem) => parquetSink(OUT, { fileSystem }), parquetOffsets],
  [
    'parquet',
    (fileSystem: FileSystem) => parquetSink(OUT, { fileSystem, fields: 'infer', codec: 'gzip' }),
    parquetOffsets,
  ],
] as const

/** The same disk, for a process that shares nothing else. */
function seenByAnotherProcess(disk: SimulatedFileSystem): FileSystem {
  const calls = FILE_SYSTEM_METHODS.map((method) => [method, disk[method].bind(disk)] as const)
  return Object.fromEntries(calls) as unknown as FileSystem
}

function latch(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = (): void => undefined
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return {
    opened,
    open: () => {
      open()
    },
  }
}

/** Two writers of one task that have both written all of it: a record to load, and a reject. */
function twoAttempts(newSink: () => Sink): Promise<TaskWriter[]> {
  return Promise.all(
    [newSink(), newSink()].map(async (sink) => {
      const writer = await sink.open(task(0, 5))
      await writer.write([record(0), record(1, { key: Buffer.from([0xff]) })])
      return writer
    }),
  )
}

describe.each(SINKS)('a sink of %s files', (extension, sinkOn, offsetsOf) => {
  const makeSink = (): SinkUnderTest => {
    const fileSystem = new SimulatedFileSystem()
    return {
      sink: sinkOn(fileSystem),
      reopen: () => sinkOn(fileSystem),
      offsets: async ({ topic, partition }) => offsetsOf(fileSystem, partition, topic),
    }
  }

  it.each(sinkConformance(makeSink))('$name', async ({ run }) => {
    await run()
  })

  it('creates one file per range, named after the range in its partition, and nothing else', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await brokerFor(fileSystem)
    await fill(broker, 'orders', [100])
    const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 60 } })
    const result = await runLoad(plan, sinkOn(fileSystem))
    expect(result).toMatchObject({ records: 100, rejected: 0 })
    const all = namesIn(fileSystem)
    expect(all.filter((each) => each.startsWith('topic=orders/_'))).toEqual([
      ...(all.includes('topic=orders/_fields.json') ? ['topic=orders/_fields.json'] : []),
      'topic=orders/_topic.json',
    ])
    const names = all.filter((each) => !each.startsWith('topic=orders/_'))
    expect(names).toEqual([name(0, 60, extension), name(60, 100, extension)])
    const bytes = names.reduce((sum, each) => sum + fileSystem.readFile(join(OUT, each)).length, 0)
    expect(result.bytes).toBe(bytes)
    expect(await offsetsOf(fileSystem)).toEqual(upTo(100))
  })

  it('creates the same bytes when it loads a task twice, however the records are split', async () => {
    const records = upTo(3000).map((each) =>
      record(each, { headers: [{ key: 'h', value: Buffer.from([each % 256]) }] }),
    )
    const load = async (pieces: number): Promise<Map<string, Buffer>> => {
      const fileSystem = new SimulatedFileSystem()
      const writer = await sinkOn(fileSystem).open(task(0, 3000))
      for (let from = 0; from < 3000; from += pieces)
        await writer.write(records.slice(from, from + pieces))
      await writer.commit()
      return fileSystem.snapshot()
    }
    expect(await load(7)).toEqual(await load(3000))
  })

  it('writes records that do not fit to the rejects file, each with the reason', async () => {
    const fileSystem = new SimulatedFileSystem()
    const bytes = Buffer.from([0xff, 0xfe])
    const records = [
      record(0),
      record(1, { key: bytes }),
      record(2, { value: bytes }),
      record(3, { timestamp: Number.MAX_SAFE_INTEGER }),
      record(4, { timestamp: -1 }),
    ]
    const result = await put(sinkOn(fileSystem), task(0, 5), records)
    expect(result).toMatchObject({ records: 2, rejected: 3 })
    expect(await offsetsOf(fileSystem)).toEqual([0, 4])
    const rejects = fileSystem
      .readFile(`${OUT}/_rejects/${name(0, 5, rejectsOf(extension))}`)
      .toString()
    const lines = rejects
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as unknown)
    expect(lines).toEqual([
      {
        offset: 1,
        timestamp: 1_700_000_000_000,
        reason: 'the key is not UTF-8',
        keyBase64: '//4=',
        value: '{"id":1}',
      },
      {
        offset: 2,
        timestamp: 1_700_000_000_000,
        reason: 'the value is not UTF-8',
        key: 'k2',
        valueBase64: '//4=',
      },
      {
        offset: 3,
        timestamp: Number.MAX_SAFE_INTEGER,
        reason: 'the timestamp 9007199254740991 is not within the years 1 to 9999',
        key: 'k3',
        value: '{"id":3}',
      },
    ])
  })

  it('refuses to commit a task that overlaps a published one, and leaves no file of it', async () => {
    const fileSystem = new SimulatedFileSystem()
    const sink = sinkOn(fileSystem)
    const writer = await sink.open(task(0, 10))
    await writer.write([record(0)])
    await put(sinkOn(fileSystem), task(5, 8), [record(5)])
    await expect(writer.commit()).rejects.toMatchObject({ code: 'ILLEGAL_STATE' })
    await writer.abort()
    expect(await offsetsOf(fileSystem)).toEqual([5])
    expect(namesIn(fileSystem).filter((each) => each.endsWith('.tmp'))).toEqual([])
  })

  it('removes what earlier attempts at the same records have left', async () => {
    const fileSystem = new SimulatedFileSystem()
    const bad = record(1, { value: Buffer.from([0xff]) })
    const dead = await sinkOn(fileSystem).open(task(0, 10))
    await dead.write([record(0), bad])
    const other = await sinkOn(fileSystem).open(task(10, 20))
    await other.write([record(10)])
    // A process that was killed between the rejects and the data.
    fileSystem.writeFile(
      `${OUT}/_rejects/${name(0, 15, rejectsOf(extension))}`,
      Buffer.from('{"offset":1}\n'),
    )
    await put(sinkOn(fileSystem), task(0, 10), [record(0), bad])
    const left = namesIn(fileSystem).filter((each) => !each.endsWith('_fields.json'))
    expect(left.filter((each) => each.endsWith('.tmp'))).toHaveLength(1)
    await other.commit()
    // Only now everything that those rejects cover is loaded.
    expect(namesIn(fileSystem).filter((each) => each.includes('_rejects'))).toEqual([
      `_rejects/${name(0, 10, rejectsOf(extension))}`,
    ])
    expect(await offsetsOf(fileSystem)).toEqual([0, 10])
    // A process that was killed after it had published, and before it could clean up.
    const late = name(5, 10, extension).replace(/([^/]+)$/, '_$1.0123456789abcdef.tmp')
    fileSystem.writeFile(`${OUT}/${late}`, Buffer.from('x'))
    await sinkOn(fileSystem).published({ topic: 'orders', partition: 0 }, 0)
    expect(namesIn(fileSystem).filter((each) => each.endsWith('.tmp'))).toEqual([])
  })

  it('keeps the rejects when two writers load one task, whichever is quicker', async () => {
    const fileSystem = new SimulatedFileSystem()
    const [quick, slow] = await twoAttempts(() => sinkOn(fileSystem))
    const list = fileSystem.list.bind(fileSystem)
    let isOver = false
    fileSystem.list = async (path) => {
      if (path.includes('_rejects') && !isOver) {
        isOver = true
        await quick?.commit()
      }
      return list(path)
    }
    await slow?.commit()
    const rejects = fileSystem
      .readFile(`${OUT}/_rejects/${name(0, 5, rejectsOf(extension))}`)
      .toString()
    expect(rejects).toContain('"offset":1')
    expect(isOver).toBe(true)
  })

  it('lets both writers of one task finish if one publishes between the rejects and data of the other', async () => {
    const fileSystem = new SimulatedFileSystem()
    const [quick, slow] = await twoAttempts(() => sinkOn(fileSystem))
    const rename = fileSystem.rename.bind(fileSystem)
    const gates: (() => void)[] = []
    const others: Promise<unknown>[] = []
    fileSystem.rename = async (from, to) => {
      if (to.startsWith(`${OUT}/_rejects`) && others.length === 0) {
        // The slow one is about to publish its rejects; the quick one gets as far as its data.
        await new Promise<void>((reached) => {
          gates.push(reached)
          others.push(quick?.commit() ?? Promise.resolve())
        })
      } else if (to.endsWith(extension) && gates.length === 1) {
        await new Promise<void>((resume) => {
          gates.push(resume)
          gates[0]?.()
        })
      }
      await rename(from, to)
    }
    const first = await slow?.commit().catch((error: unknown) => error)
    gates[1]?.()
    const results = [first, ...(await Promise.all(others))]
    const counts = { records: 1, rejected: 1 }
    expect(results).toMatchObject([counts, counts])
    expect(await offsetsOf(fileSystem)).toEqual([0])
    const names = namesIn(fileSystem).filter((each) => !each.startsWith('topic=orders/_'))
    expect(names.sort()).toEqual([
      `_rejects/${name(0, 5, rejectsOf(extension))}`,
      name(0, 5, extension),
    ])
  })

  it('removes the rejects of another attempt durably before its own task counts as loaded', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await brokerFor(fileSystem)
    await fill(broker, 'orders', [5])
    const plan = await planLoad(broker, { topics: ['orders'] })
    const stale = `${OUT}/_rejects/${name(0, 5, rejectsOf(extension))}`
    fileSystem.writeFile(stale, Buffer.from('{"offset":1}\n'))
    await runLoad(plan, sinkOn(fileSystem))
    const later = fileSystem.restart('power', { unsynced: 'lost' })
    expect(namesIn(later).filter((each) => each.includes('.jsonl'))).toEqual([])
  })

  it.each([
    ['one after the other', false],
    ['at once', true],
  ])(
    'keeps rejects until all of their range is loaded again, by tasks that commit %s',
    async (_, isAtOnce) => {
      const fileSystem = new SimulatedFileSystem()
      const sink = sinkOn(fileSystem)
      const bad = { key: Buffer.from([0xff]) }
      const records = upTo(10).map((offset) => record(offset, offset % 2 === 0 ? {} : bad))
      const rejects = () => namesIn(fileSystem, `${OUT}/_rejects`)
      await put(sink, task(0, 10), records)
      // Somebody has removed the rows, but not the rejects.
      await fileSystem.unlink(`${OUT}/${name(0, 10, extension)}`)
      const parts = [await sink.open(task(0, 4)), await sink.open(task(4, 10))]
      await parts[0]?.write(records.slice(0, 4))
      await parts[1]?.write(records.slice(4))
      if (isAtOnce) {
        await Promise.all(parts.map((part) => part.commit()))
      } else {
        await parts[0]?.commit()
        expect(rejects()).toContain(name(0, 10, rejectsOf(extension)))
        await parts[1]?.commit()
      }
      expect(rejects()).toEqual([
        name(0, 4, rejectsOf(extension)),
        name(4, 10, rejectsOf(extension)),
      ])
    },
  )

  it('removes the rejects of a killed attempt, even if the new attempt has none', async () => {
    const fileSystem = new SimulatedFileSystem()
    const dead = await sinkOn(fileSystem).open(task(0, 2))
    const bad = record(1, { value: Buffer.from([0xff]) })
    await dead.write([record(0), bad])
    // It was killed when everything was written, but nothing had its final name.
    fileSystem.failNext('rename', 'EIO')
    fileSystem.failNext('unlink', 'EIO')
    fileSystem.failNext('unlink', 'EIO')
    await expect(dead.commit()).rejects.toThrow('EIO')
    await dead.abort().catch(() => undefined)
    expect(namesIn(fileSystem).filter((each) => each.startsWith('_rejects'))).toHaveLength(1)
    await put(sinkOn(fileSystem), task(0, 2), [record(0), record(1)])
    expect(namesIn(fileSystem).filter((each) => each.startsWith('_rejects'))).toEqual([])
  })

  it('refuses the records of another topic of the same name instead of counting them as loaded', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await brokerFor(fileSystem)
    const load = async () => {
      const plan = await planLoad(broker, { topics: ['orders'] })
      return runLoad(plan, sinkOn(fileSystem), { retries: 0 })
    }
    await fill(broker, 'orders', [20])
    await load()
    const first = broker.topic('orders').id
    await broker.deleteTopic('orders')
    await fill(broker, 'orders', [30])
    const { id } = broker.topic('orders')
    const failing = load()
    await expect(failing).rejects.toThrow(LoadFailedError)
    await expect(failing).rejects.toThrow(`its topicId was ${first}, and is now ${id}`)
    // Even if the sink knows no more than what is on the disk after a power loss.
    const later = fileSystem.restart('power', { unsynced: 'lost' })
    const again = sinkOn(later).published({ topic: 'orders', partition: 0, topicId: id }, 0)
    await expect(again).rejects.toThrow(IllegalStateError)
    const own = { topic: 'orders', partition: 0, topicId: first }
    expect(await sinkOn(later).published(own, 0)).toEqual([{ startOffset: 0, endOffset: 20 }])
  })

  it('takes at most two locks for 200 tasks that begin at once', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await brokerFor(fileSystem)
    await fill(broker, 'orders', [200])
    const splitBy = { maxRecords: 1 }
    const plan = await planLoad(broker, { topics: ['orders'], splitBy })
    const before = fileSystem.operations.length
    await runLoad(plan, sinkOn(fileSystem), { concurrency: 200, retries: 0 })
    const later = fileSystem.operations.slice(before)
    const locks = later.filter((line) => line.includes(` lock ${OUT}/`))
    // One for the topic of the files, and one for the fields if they are inferred.
    expect(locks.length).toBeLessThanOrEqual(2)
    expect(locks.length).toBeGreaterThan(0)
  })

  it('adopts files that have no topic id, and refuses another topic from then on', async () => {
    const fileSystem = new SimulatedFileSystem()
    await put(sinkOn(fileSystem), task(0, 1), [record(0)])
    const place = { topic: 'orders', partition: 0, topicId: 'one' }
    expect(await sinkOn(fileSystem).published(place, 0)).toHaveLength(1)
    const other = sinkOn(fileSystem).published({ ...place, topicId: 'two' }, 0)
    await expect(other).rejects.toThrow('its topicId was one, and is now two')
    fileSystem.writeFile(`${OUT}/topic=orders/_topic.json`, Buffer.from('{"topicId":1}'))
    await expect(sinkOn(fileSystem).published(place, 0)).rejects.toThrow(CorruptRecordError)
  })

  it('continues if its directories were moved away with what it has loaded', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await brokerFor(fileSystem)
    await fill(broker, 'orders', [20])
    const sink = sinkOn(fileSystem)
    const load = async (): Promise<number> => {
      const plan = await planLoad(broker, { topics: ['orders'] })
      return (await runLoad(plan, sink, { retries: 0 })).records
    }
    expect(await load()).toBe(20)
    await fileSystem.rename(OUT, '/taken')
    await broker.topic('orders').partition(0).append({ value: '{"id":20}' })
    expect(await load()).toBe(1)
    // Moved away while a task is in progress, of which nothing is written yet.
    const writer = await sink.open(task(21, 22))
    await fileSystem.rename(OUT, '/taken-too')
    await writer.write([record(21)])
    await writer.commit()
    const next = fileSystem.restart('power', { unsynced: 'lost' })
    expect(await offsetsOf(next)).toEqual([21])
  })

  it.each(['the same sink', 'another sink'])(
    'does not count a name whose sync failed until it is published again: %s',
    async (by) => {
      const fileSystem = new SimulatedFileSystem()
      const sink = sinkOn(fileSystem)
      const place = { topic: 'orders', partition: 0 }
      await put(sink, task(0, 1), [record(0)])
      fileSystem.failNext('syncDirectory', 'EIO')
      await expect(put(sink, task(1, 2), [record(1)])).rejects.toThrow(/EIO/)
      const later = by === 'the same sink' ? sink : sinkOn(fileSystem)
      expect(await later.published(place, 0)).toEqual([{ startOffset: 0, endOffset: 1 }])
      await put(later, task(1, 2), [record(1)])
      expect(await sink.published(place, 0)).toHaveLength(2)
      const restarted = fileSystem.restart('power', { unsynced: 'lost' })
      expect(await offsetsOf(restarted)).toEqual([0, 1])
    },
  )

  it('counts a name once a sync succeeds if the first one could not open the directory', async () => {
    const fileSystem = new SimulatedFileSystem()
    const sink = sinkOn(fileSystem)
    await put(sink, task(0, 1), [record(0)])
    fileSystem.failNext('syncDirectory', 'EMFILE')
    await put(sink, task(1, 2), [record(1)])
    const later = fileSystem.restart('power', { unsynced: 'lost' })
    expect(await offsetsOf(later)).toEqual([0, 1])
  })

  it.each(['has found it', 'has published its own file under it'])(
    'keeps a name whose sync fails after another process %s',
    async (how) => {
      const fileSystem = new SimulatedFileSystem()
      const place = { topic: 'orders', partition: 0 }
      const path = `${OUT}/topic=orders/partition=0`
      const files = seenByAnotherProcess(fileSystem)
      const other = sinkOn(seenByAnotherProcess(fileSystem))
      const writer = await other.open(task(0, 1))
      await writer.write([record(0)])
      const syncDirectory = async (at: string): Promise<void> => {
        if (at !== path) return fileSystem.syncDirectory(at)
        if (how === 'has found it') expect(await other.published(place, 0)).toHaveLength(1)
        else await writer.commit()
        throw Object.assign(new Error('EIO: i/o error, fsync'), {
          code: 'EIO',
          errno: -5,
          syscall: 'fsync',
        })
      }
      const failing = put(sinkOn({ ...files, syncDirectory }), task(0, 1), [record(0)])
      await expect(failing).rejects.toThrow('EIO')
      expect(await other.published(place, 0)).toHaveLength(1)
      const later = fileSystem.restart('power', { unsynced: 'lost' })
      expect(await offsetsOf(later)).toEqual([0])
    },
  )

  it('does not count a name that the failed sync of another task has covered, even if its own sync succeeds', async () => {
    const fileSystem = new SimulatedFileSystem()
    const path = `${OUT}/topic=orders/partition=0`
    const isSecondRenamed = latch()
    const hasFailed = latch()
    const commits: Promise<unknown>[] = []
    let renames = 0
    const sink = sinkOn({
      ...seenByAnotherProcess(fileSystem),
      rename: async (from, to) => {
        await fileSystem.rename(from, to)
        if (to.startsWith(path)) renames += 1
        if (renames === 2) isSecondRenamed.open()
      },
      syncDirectory: async (at) => {
        if (at === path && commits.length === 1) {
          const [, second] = writers
          if (second !== undefined) commits.push(second.commit())
          await isSecondRenamed.opened
          fileSystem.failNext('syncDirectory', 'EIO', { path })
        } else if (at === path && renames === 2) await hasFailed.opened
        await fileSystem.syncDirectory(at)
      },
    })
    const tasks = [task(0, 1), task(1, 2)]
    const writers = await Promise.all(tasks.map((each) => sink.open(each)))
    for (const [offset, each] of writers.entries()) await each.write([record(offset)])
    const first = writers[0]?.commit() ?? Promise.resolve()
    commits.push(first)
    await expect(first).rejects.toThrow('EIO')
    hasFailed.open()
    await expect(commits[1]).rejects.toThrow('EIO')
    for (const each of tasks) await put(sink, each, [record(each.startOffset)])
    const later = fileSystem.restart('power', { unsynced: 'lost' })
    expect(await offsetsOf(later)).toEqual([0, 1])
  })

  it('does not count a name that no sync could cover once the sync of another task fails', async () => {
    const fileSystem = new SimulatedFileSystem()
    const path = `${OUT}/topic=orders/partition=0`
    let isTried = false
    const sink = sinkOn({
      ...seenByAnotherProcess(fileSystem),
      rename: async (from, to) => {
        if (to === `${OUT}/${name(1, 2, extension)}` && !isTried) {
          isTried = true
          // When its file is published, and when a file of another process is looked for.
          fileSystem.failNext('syncDirectory', 'EMFILE', { path })
          fileSystem.failNext('syncDirectory', 'EMFILE', { path })
          await expect(put(sink, task(0, 1), [record(0)])).rejects.toThrow('EMFILE')
          fileSystem.failNext('syncDirectory', 'EIO', { path })
        }
        await fileSystem.rename(from, to)
      },
    })
    await put(sink, task(5, 6), [record(5)])
    await expect(put(sink, task(1, 2), [record(1)])).rejects.toThrow('EIO')
    for (const offset of [0, 1]) await put(sink, task(offset, offset + 1), [record(offset)])
    const later = fileSystem.restart('power', { unsynced: 'lost' })
    expect(await offsetsOf(later)).toEqual([0, 1, 5])
  })

  it('leaves nothing in memory about directories of which nothing is in doubt', async () => {
    const fileSystem = new SimulatedFileSystem()
    const path = `${OUT}/topic=orders/partition=0`
    const bad = record(1, { key: Buffer.from([0xff]) })
    const sink = sinkOn(fileSystem)
    await put(sink, task(0, 2), [record(0), bad])
    expect(rememberedIn(fileSystem)).toEqual([])
    fileSystem.failNext('syncDirectory', 'EIO', { path })
    await expect(put(sink, task(2, 3), [record(2)])).rejects.toThrow('EIO')
    expect(rememberedIn(fileSystem)).toEqual([resolve(path)])
    await put(sinkOn(fileSystem), task(2, 3), [record(2)])
    expect(rememberedIn(fileSystem)).toEqual([])
  })

  it('refuses a part of a file whose sync has failed, as long as the file is there', async () => {
    const fileSystem = new SimulatedFileSystem()
    const path = `${OUT}/topic=orders/partition=0`
    const sink = sinkOn(fileSystem)
    await put(sink, task(5, 6), [record(5)])
    fileSystem.failNext('syncDirectory', 'EIO', { path })
    await expect(put(sink, task(0, 2), [record(0)])).rejects.toThrow('EIO')
    const part = (): Promise<unknown> => put(sinkOn(fileSystem), task(0, 1), [record(0)])
    await expect(part()).rejects.toThrow('only with a file that has all of its offsets')
    await fileSystem.unlink(`${OUT}/${name(0, 2, extension)}`)
    await part()
    expect(await offsetsOf(fileSystem)).toEqual([0, 5])
  })

  it('replaces files whose sync has failed by one of a larger range, as a plan made later has it', async () => {
    const fileSystem = new SimulatedFileSystem()
    const path = `${OUT}/topic=orders/partition=0`
    const sink = sinkOn(fileSystem)
    await put(sink, task(5, 6), [record(5)])
    for (const start of [0, 1]) {
      fileSystem.failNext('syncDirectory', 'EIO', { path })
      const failing = put(sink, task(start, start + 1), [record(start)])
      await expect(failing).rejects.toThrow('EIO')
    }
    await put(sinkOn(fileSystem), task(0, 3), [record(0), record(1), record(2)])
    const files = namesIn(fileSystem, OUT).filter((each) => each.endsWith(extension))
    expect(files).toEqual([name(0, 3, extension), name(5, 6, extension)])
    const later = fileSystem.restart('power', { unsynced: 'lost' })
    expect(await offsetsOf(later)).toEqual([0, 1, 2, 5])
  })

  /** Loads ranges that end where a sync of their directory fails, and expects no record twice. */
  async function refusesAfter(faults: readonly (readonly [end: number, code: string])[]) {
    const fileSystem = new SimulatedFileSystem()
    const path = `${OUT}/topic=orders/partition=0`
    const sink = sinkOn(fileSystem)
    const load = (end: number): Promise<unknown> => {
      const records = upTo(end).map((offset) => record(offset))
      return put(sink, task(0, end), records)
    }
    await put(sink, task(5, 6), [record(5)])
    for (const [end, code] of faults) {
      fileSystem.failNext('syncDirectory', code, { path })
      await expect(load(end)).rejects.toThrow(code)
    }
    await expect(load(3)).rejects.toMatchObject({ code: 'STORAGE_ERROR', path })
    for (const seed of upTo(20)) {
      const found = await offsetsOf(fileSystem.restart('power', { seed }))
      expect(found, `seed ${seed}`).toEqual([...new Set(found)])
    }
  }

  it('publishes nothing once it could not remove a file in doubt durably, so that no record is there twice', async () => {
    await refusesAfter([
      [1, 'EIO'],
      [3, 'EIO'],
    ])
  })

  it('publishes nothing once a removal that was not synced may be lost with the sync of another file', async () => {
    await refusesAfter([
      [1, 'EIO'],
      [3, 'EMFILE'],
      [3, 'EIO'],
    ])
  })

  it('removes stale rejects durably even if the directory cannot be opened for the first sync', async () => {
    const fileSystem = new SimulatedFileSystem()
    const sink = sinkOn(fileSystem)
    const stale = `${OUT}/_rejects/${name(0, 5, rejectsOf(extension))}`
    // There are directories and an earlier file, as in a load that goes on.
    await put(sink, task(9, 10), [record(9, { key: Buffer.from([0xff]) })])
    fileSystem.writeFile(stale, Buffer.from('{"offset":1}\n'))
    const records = upTo(5).map((offset) => record(offset))
    const path = `${OUT}/_rejects/topic=orders/partition=0`
    fileSystem.failNext('syncDirectory', 'EMFILE', { path })
    await expect(put(sink, task(0, 5), records)).rejects.toThrow('EMFILE')
    await put(sink, task(0, 5), records)
    const later = fileSystem.restart('power', { unsynced: 'lost' })
    expect(namesIn(later, `${OUT}/_rejects`)).toEqual([name(9, 10, rejectsOf(extension))])
  })

  it('removes rejects whose sync has failed once their range is loaded by other tasks', async () => {
    const fileSystem = new SimulatedFileSystem()
    const bad = record(1, { key: Buffer.from([0xff]) })
    await put(sinkOn(fileSystem), task(5, 6), [record(5, { key: Buffer.from([0xff]) })])
    const path = `${OUT}/_rejects/topic=orders/partition=0`
    fileSystem.failNext('syncDirectory', 'EIO', { path })
    await expect(put(sinkOn(fileSystem), task(0, 2), [record(0), bad])).rejects.toThrow('EIO')
    await put(sinkOn(fileSystem), task(0, 1), [record(0)])
    await put(sinkOn(fileSystem), task(1, 2), [bad])
    const rejects = [name(1, 2, rejectsOf(extension)), name(5, 6, rejectsOf(extension))]
    expect(namesIn(fileSystem, `${OUT}/_rejects`)).toEqual(rejects)
  })

  it('returns published ranges that the caller may change', async () => {
    const sink = sinkOn(new SimulatedFileSystem())
    await put(sink, task(0, 3), [record(0)])
    const place = { topic: 'orders', partition: 0 }
    for (const range of await sink.published(place, 0)) Object.assign(range, { endOffset: 99 })
    expect(await sink.published(place, 0)).toEqual([{ startOffset: 0, endOffset: 3 }])
  })

  it.each([['/'], [OUT], [`${OUT}/topic=orders`], [`${OUT}/_rejects`]])(
    'treats nothing in %s as durable after a failed sync, so that a power loss costs no loaded record',
    async (path) => {
      const image = new SimulatedFileSystem()
      const filling = await brokerFor(image)
      await fill(filling, 'orders', [5])
      await filling
        .topic('orders')
        .partition(0)
        .append({ key: Buffer.from([0xff]), value: '{}' })
      await filling.close()
      const fileSystem = image.fork({ seed: 1 })
      const broker = await brokerFor(fileSystem)
      const load = async (into: Broker, disk: SimulatedFileSystem) => {
        const plan = await planLoad(into, { topics: ['orders'] })
        return runLoad(plan, sinkOn(disk), { retries: 0 })
      }
      fileSystem.failNext('syncDirectory', 'EIO', { path })
      await expect(load(broker, fileSystem)).rejects.toThrow(LoadFailedError)
      // Nor by a sink that is created later.
      await expect(load(broker, fileSystem)).rejects.toThrow(`a sync of ${path} has failed`)
      const later = fileSystem.restart('power', { unsynced: 'lost' })
      expect(await load(await brokerFor(later), later)).toMatchObject({ records: 5, rejected: 1 })
      const durable = later.restart('power', { unsynced: 'lost' })
      expect(await offsetsOf(durable)).toEqual(upTo(5))
      expect(namesIn(durable, `${OUT}/_rejects`)).toEqual([name(0, 6, rejectsOf(extension))])
    },
  )

  it.each(upTo(4))(
    'leaves the next process no unsynced directory, even if several were created at once (%i)',
    async (seed) => {
      const failed = new SimulatedFileSystem({ seed, completion: 'random' })
      const filling = await brokerFor(failed)
      await fill(filling, 'orders', [5, 5, 5])
      for (const partition of filling.topic('orders').partitions) {
        await partition.append({ key: Buffer.from([0xff]), value: '{}' })
      }
      const load = async (broker: Broker, disk: SimulatedFileSystem) => {
        const plan = await planLoad(broker, { topics: ['orders'] })
        return runLoad(plan, sinkOn(disk), { retries: 0 })
      }
      failed.failNext('syncDirectory', 'EIO', { path: `${OUT}/_rejects` })
      await expect(load(filling, failed)).rejects.toThrow(LoadFailedError)
      const next = failed.restart('process')
      expect(await load(await brokerFor(next), next)).toMatchObject({ rejected: 3 })
      const durable = next.restart('power', { unsynced: 'lost' })
      expect(namesIn(durable, `${OUT}/_rejects`)).toHaveLength(3)
    },
  )

  it('stops treating existing names as durable once a sync of their directory has failed', async () => {
    const fileSystem = new SimulatedFileSystem()
    await put(sinkOn(fileSystem), task(0, 1), [record(0)])
    const path = `${OUT}/topic=orders/partition=0`
    fileSystem.failNext('syncDirectory', 'EIO', { path })
    const place = { topic: 'orders', partition: 0 }
    await expect(sinkOn(fileSystem).published(place, 0)).rejects.toThrow('EIO')
    await expect(sinkOn(fileSystem).published(place, 0)).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      path,
    })
  })

  it.each(['was seen there', 'nobody had looked since it was published'])(
    'syncs again for a name that was removed and put back, and for no other: %s',
    async (when) => {
      const fileSystem = new SimulatedFileSystem()
      const sink = sinkOn(fileSystem)
      const path = `${OUT}/topic=orders/partition=0`
      const place = { topic: 'orders', partition: 0 }
      let syncs = 0
      const look = async (): Promise<number> => {
        syncs = 0
        await sink.published(place, 0)
        return syncs
      }
      await put(sink, task(0, 1), [record(0)])
      if (when === 'was seen there') await look()
      await put(sink, task(1, 2), [record(1)])
      fileSystem.observe(({ kind }) => {
        if (kind === 'syncDirectory') syncs += 1
      })
      expect(await look()).toBe(0)
      for (const start of [0, 1]) {
        const file = `${OUT}/${name(start, start + 1, extension)}`
        await fileSystem.rename(file, `${path}/aside`)
        expect(await look()).toBe(0)
        await fileSystem.rename(`${path}/aside`, file)
        expect([await look(), await look()]).toEqual([1, 0])
      }
      await put(sink, task(2, 3), [record(2)])
      await fileSystem.unlink(`${OUT}/${name(2, 3, extension)}`)
      expect(await look()).toBe(0)
      fileSystem.writeFile(`${OUT}/${name(2, 3, extension)}`, Buffer.from('x'))
      expect([await look(), await look()]).toEqual([1, 0])
    },
  )

  it('does not commit a task if the removal of the rejects of another attempt could not be synced', async () => {
    const fileSystem = new SimulatedFileSystem()
    const path = `${OUT}/_rejects/topic=orders/partition=0`
    fileSystem.writeFile(
      `${path}/${name(0, 1, rejectsOf(extension)).split('/').pop() ?? ''}`,
      Buffer.from('{}\n'),
    )
    fileSystem.failNext('syncDirectory', 'EIO', { path })
    const sink = sinkOn(fileSystem)
    await expect(put(sink, task(0, 1), [record(0)])).rejects.toThrow('EIO')
    await expect(put(sink, task(0, 1), [record(0)])).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
    })
  })

  it('continues after a sync that failed only because the directory could not be opened', async () => {
    const fileSystem = new SimulatedFileSystem()
    fileSystem.failNext('syncDirectory', 'EMFILE', { path: OUT })
    const sink = sinkOn(fileSystem)
    await expect(put(sink, task(0, 1), [record(0)])).rejects.toThrow('EMFILE')
    await put(sink, task(0, 1), [record(0)])
    const later = fileSystem.restart('power', { unsynced: 'lost' })
    expect(await offsetsOf(later)).toEqual([0])
  })
})

describe('sinks of both formats in one directory', () => {
  it('keep the rejects of each other, and replace their own when a range is loaded again', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await brokerFor(fileSystem)
    await fill(broker, 'orders', [5])
    await broker.topic('orders').partition(0).append({ value: 'text' })
    const load = async (name: string, sink: Sink) =>
      runLoad(await planLoad(broker, { topics: ['orders'], name, from: 'earliest' }), sink)
    const rejects = () => namesIn(fileSystem, `${OUT}/_rejects`)
    const [ndjson, parquet] = [name(0, 6, 'ndjson.jsonl'), name(0, 6, 'parquet.jsonl')]
    const fields = { id: 'int' } as const
    expect(await load('a', ndjsonSink(OUT, { fields, fileSystem }))).toMatchObject({ rejected: 1 })
    expect(await load('b', parquetSink(OUT, { fileSystem }))).toMatchObject({ rejected: 0 })
    expect(rejects()).toEqual([ndjson])
    await fileSystem.unlink(`${OUT}/${name(0, 6, 'parquet')}`)
    expect(await load('b', parquetSink(OUT, { fields, fileSystem }))).toMatchObject({ rejected: 1 })
    expect(rejects()).toEqual([ndjson, parquet])
    await fileSystem.unlink(`${OUT}/${name(0, 6, 'ndjson')}`)
    expect(await load('a', ndjsonSink(OUT, { gzip: true, fileSystem }))).toMatchObject({
      records: 6,
    })
    expect(rejects()).toEqual([parquet])
  })

  it('take a range with and without gzip for the same, whatever the name of the load', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await brokerFor(fileSystem)
    await fill(broker, 'orders', [5])
    for (const [name, gzip, records] of [
      ['plain', false, 5],
      ['gzip', true, 0],
    ] as const) {
      const plan = await planLoad(broker, { topics: ['orders'], name })
      expect(await runLoad(plan, ndjsonSink(OUT, { gzip, fileSystem }))).toMatchObject({ records })
    }
  })
})

describe('an NDJSON file', () => {
  const rowsOf = async (
    options: Parameters<typeof ndjsonSink>[1],
    ...records: ReturnType<typeof record>[]
  ) => {
    const fileSystem = new SimulatedFileSystem()
    await put(ndjsonSink(OUT, { ...options, fileSystem }), task(0, 100), records)
    return { fileSystem, rows: rowsIn(fileSystem) }
  }

  it('has offset, timestamp, key, value and headers', async () => {
    const headers = [
      { key: 'a', value: Buffer.from('x') },
      { key: 'b', value: null },
      { key: 'c', value: Buffer.from([0xff]) },
    ]
    const { rows } = await rowsOf(
      {},
      record(3, { headers }),
      record(4, { key: null, value: null, timestamp: -1 }),
    )
    expect(rows).toEqual([
      {
        offset: 3,
        timestamp: '2023-11-14T22:13:20.000Z',
        key: 'k3',
        value: '{"id":3}',
        headers: [
          { key: 'a', value: 'x' },
          { key: 'b', value: null },
          { key: 'c', base64: '/w==' },
        ],
      },
      { offset: 4, timestamp: null, key: null, value: null, headers: [] },
    ])
  })

  it('keeps JSON as written, but on one line, and has bytes as base64', async () => {
    const value = Buffer.from('{\r\n "big": 12345678901234567890,\n "text": "a\\nb" }')
    const { fileSystem, rows } = await rowsOf(
      { value: 'json' },
      record(0, { value }),
      record(1, { value: Buffer.from('{') }),
    )
    expect(rows[0]?.['value']).toMatchObject({ text: 'a\nb' })
    const text = fileSystem.readFile(`${OUT}/${name(0, 100, 'ndjson')}`).toString()
    expect(text).toContain('"value":{   "big": 12345678901234567890,  "text": "a\\nb" }')
    expect(namesIn(fileSystem, `${OUT}/_rejects`)).toHaveLength(1)
    const bytes = await rowsOf(
      { value: 'bytes', key: 'bytes' },
      record(0, { key: Buffer.from([0xff]), value: Buffer.from([0]) }),
    )
    expect(bytes.rows[0]).toMatchObject({ key: '/w==', value: 'AA==' })
  })

  const FIELDS = {
    id: 'int',
    name: 'string',
    at: 'timestamp',
    ok: 'boolean',
    x: 'double',
    o: 'json',
  } as const

  it('has the configured fields of the value as columns, and the others in rest', async () => {
    const value = {
      id: 7,
      name: 'a',
      at: '2024-01-31T12:00:00+01:00',
      ok: true,
      x: 1.5,
      o: [1],
      more: { y: 1 },
    }
    const json = (each: unknown): Buffer => Buffer.from(JSON.stringify(each))
    const { rows } = await rowsOf(
      { fields: FIELDS },
      record(0, { value: json(value) }),
      record(1, { value: json({}) }),
      record(2, { value: null }),
    )
    const none = { id: null, name: null, at: null, ok: null, x: null, o: null, rest: null }
    expect(rows).toMatchObject([
      {
        offset: 0,
        id: 7,
        name: 'a',
        at: '2024-01-31T11:00:00.000Z',
        ok: true,
        x: 1.5,
        o: [1],
        rest: { more: { y: 1 } },
      },
      { offset: 1, ...none },
      { offset: 2, ...none },
    ])
    expect(rows[0]).not.toHaveProperty('value')
  })

  it.each([
    ['{"id":1.5}', "the field 'id' is not int: 1.5"],
    ['{"id":"7"}', `the field 'id' is not int: "7"`],
    ['{"id":9007199254740993}', "the field 'id' is not int: a number beyond ±(2^53 − 1)"],
    ['{"id":-9007199254740992}', "the field 'id' is not int: a number beyond ±(2^53 − 1)"],
    ['{"id":1e400}', "the field 'id' is not int: a number beyond the range of a double"],
    ['{"id":4503599627370497.5}', "the field 'id' is not int: a number with a fraction"],
    ['{"id":-0.99999999999999999999}', "the field 'id' is not int: a number with a fraction"],
    ['{"id":1e-400}', "the field 'id' is not int: a number with a fraction"],
    ['{"at":4503599627370.00000001}', "the field 'at' is not timestamp: a number with a fraction"],
    ['{"name":7}', "the field 'name' is not string: 7"],
    ['{"name":"\\ud800"}', "the field 'name' is not string: text with an unpaired surrogate"],
    ['{"name":1e400}', "the field 'name' is not string: a number beyond the range of a double"],
    ['{"at":"yesterday"}', `the field 'at' is not timestamp: "yesterday"`],
    ['{"at":"2024-01-31T12:00:00"}', `the field 'at' is not timestamp: "2024-01-31T12:00:00"`],
    ['{"at":"2023-02-29"}', `the field 'at' is not timestamp: "2023-02-29"`],
    ['{"at":"2024-04-31T10:00Z"}', `the field 'at' is not timestamp: "2024-04-31T10:00Z"`],
    ['{"at":1e300}', "the field 'at' is not timestamp: a number beyond ±(2^53 − 1)"],
    ['{"at":253402300800000}', "the field 'at' is not timestamp: 253402300800000"],
    ['{"ok":"true"}', `the field 'ok' is not boolean: "true"`],
    ['{"x":1e999}', "the field 'x' is not double: a number beyond the range of a double"],
    ['{"x":-1e999}', "the field 'x' is not double: a number beyond the range of a double"],
    ['[1]', 'the value is not a JSON object: an array'],
    ['null', 'the value is not a JSON object: null'],
    ['1e400', 'the value is not a JSON object: a number beyond the range of a double'],
    ['{', 'the value is not JSON'],
    ['', 'the value is not JSON'],
    ['\ufeff{}', 'the value is not JSON'],
  ])(
    'leaves out the value %s, which goes to the rejects file with a reason',
    async (value, reason) => {
      const { fileSystem, rows } = await rowsOf(
        { fields: FIELDS },
        record(0, { value: Buffer.from(value) }),
      )
      expect(rows).toEqual([])
      const line = fileSystem.readFile(`${OUT}/_rejects/${name(0, 100, 'ndjson.jsonl')}`).toString()
      expect(JSON.parse(line)).toMatchObject({ offset: 0, reason, value })
    },
  )

  it.each([
    ['1.0000000000000000', 1],
    ['1.5e1', 15],
    ['2000E-3', 2],
    ['-0.0e-9', 0],
    ['9007199254740991.0', 9007199254740991],
  ])('has the int field %s, which is whole as it is written', async (text, int) => {
    const value = Buffer.from(`{"id":${text}}`)
    const { rows } = await rowsOf({ fields: { id: 'int' } }, record(0, { value }))
    expect(rows.map(({ id }) => Number(id) + 0)).toEqual([int])
  })

  it('keeps numbers of any size as written in JSON fields and in rest', async () => {
    const value = Buffer.from(
      '{"o": {"big":12345678901234567890,\n"x":[1e999, "]}\\"", 0.12345678901234567890]},' +
        '"more":1e2 , "name":"a","o\\u0032": 18446744073709551615,"text":"1,2","more":-1E400\t}',
    )
    const { fileSystem } = await rowsOf({ fields: FIELDS }, record(0, { value }))
    const text = fileSystem.readFile(`${OUT}/${name(0, 100, 'ndjson')}`).toString()
    expect(text).toContain(
      '"o":{"big":12345678901234567890, "x":[1e999, "]}\\"", 0.12345678901234567890]},"rest":',
    )
    expect(text).toContain('"rest":{"more":-1E400,"o2":18446744073709551615,"text":"1,2"}}\n')
  })

  it('keeps all digits around a decimal point, and the sign of a zero', async () => {
    const value = Buffer.from('{"x":-0,"id":-0,"o":5833968967.6920023,"more":[-0]}')
    const { fileSystem } = await rowsOf({ fields: FIELDS }, record(0, { value }))
    const text = fileSystem.readFile(`${OUT}/${name(0, 100, 'ndjson')}`).toString()
    expect(text).toContain('"id":0,')
    expect(text).toContain('"x":-0,')
    expect(text).toContain('"o":5833968967.6920023,"rest":{"more":[-0]}}')
  })

  it('keeps JSON as written that is nested too deeply to be serialized again', async () => {
    const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`
    const values = [`{"o":${deep}}`, `{"more":${deep}}`, `{"id":${deep}}`, deep]
    const { fileSystem } = await rowsOf(
      { fields: FIELDS },
      ...values.map((value, offset) => record(offset, { value: Buffer.from(value) })),
    )
    const text = fileSystem.readFile(`${OUT}/${name(0, 100, 'ndjson')}`).toString()
    expect(text).toContain(`"o":${deep},"rest":null}`)
    expect(text).toContain(`"rest":{"more":${deep}}}`)
    const rejects = fileSystem
      .readFile(`${OUT}/_rejects/${name(0, 100, 'ndjson.jsonl')}`)
      .toString()
    expect(rejects).toContain("the field 'id' is not int")
    expect(rejects).toContain('the value is not a JSON object')
  })

  it('accepts the 29th of February in leap years', async () => {
    const days = ['2024-02-29', '2000-02-29T00:00Z', '0004-02-29', '2023-12-31']
    const { rows } = await rowsOf(
      { fields: FIELDS },
      ...days.map((at, offset) => record(offset, { value: Buffer.from(JSON.stringify({ at })) })),
    )
    expect(rows.map((row) => String(row['at']).slice(0, 10))).toEqual(
      days.map((day) => day.slice(0, 10)),
    )
  })

  const HOSTILE_FIELDS = { toString: 'string', id: 'int' } as unknown as Fields

  it('has hostile field names such as __proto__ as ordinary data', async () => {
    const value = Buffer.from('{"__proto__":{"id":9},"constructor":1,"\\n\\"":2,"toString":"x"}')
    const { rows } = await rowsOf({ fields: HOSTILE_FIELDS }, record(0, { value }))
    expect(rows[0]).toMatchObject({ toString: 'x', id: null })
    expect(Object.keys(rows[0]?.['rest'] as object)).toEqual(['__proto__', 'constructor', '\n"'])
    const inferred = await rowsOf({ fields: 'infer' }, record(0, { value }))
    expect(inferred.rows[0]).toMatchObject({ constructor: 1, '\n"': 2, toString: 'x' })
    expect(inferred.rows[0]?.['rest']).toEqual(JSON.parse('{"__proto__":{"id":9}}'))
  })

  it('is refused for fields that would become the same column, and for invalid options', () => {
    for (const fields of [
      { offset: 'int' },
      { Rest: 'json' },
      { id: 'int', ID: 'int' },
      { '': 'int' },
    ] as const) {
      expect(() => ndjsonSink(OUT, { fields: fields as Fields })).toThrow(
        /is not allowed in fields/,
      )
    }
    expect(() => ndjsonSink(OUT, { fields: { id: 'integer' as 'int' } })).toThrow(
      /the type of the field 'id' must be one of/,
    )
    expect(() => ndjsonSink(OUT, { fields: 7 as never })).toThrow(
      /fields must be 'infer' or an object/,
    )
    expect(() => ndjsonSink('')).toThrow(/dir must be a path/)
  })
})

describe('inferred fields', () => {
  const values = [
    '{"id":1,"price":2,"at":"2024-01-31","note":null,"tags":["a"],"topic":"t","Id":5}',
    '{"id":2,"price":2.5,"at":"2024-02-01T00:00:00Z","mixed":1}',
    '{"id":3,"mixed":"x","who":"2024-01-01"}',
    '{"who":"me","ok":true}',
    'nonsense',
  ]
  const records = values.map((value, offset) => record(offset, { value: Buffer.from(value) }))
  const FILE = `${OUT}/topic=orders/_fields.json`

  it('match the first rows, are stored with the topic, and apply to later tasks', async () => {
    const fileSystem = new SimulatedFileSystem()
    const sinkOn = (): Sink => ndjsonSink(OUT, { fields: 'infer', fileSystem })
    expect(await put(sinkOn(), task(0, 10), records)).toMatchObject({ records: 4, rejected: 1 })
    expect(JSON.parse(fileSystem.readFile(FILE).toString())).toEqual({
      id: 'int',
      price: 'double',
      at: 'timestamp',
      note: 'json',
      tags: 'json',
      topic: 'string',
      mixed: 'json',
      who: 'string',
      ok: 'boolean',
    })
    const later = record(10, { value: Buffer.from('{"id":9,"new":1,"topic":"u"}') })
    await put(sinkOn(), task(10, 11), [later])
    const rows = rowsIn(fileSystem)
    expect(rows[0]).toMatchObject({ value_topic: 't', rest: { Id: 5 } })
    expect(rows.at(-1)).toMatchObject({ id: 9, price: null, rest: { new: 1 }, value_topic: 'u' })
    expect(rows.at(-1)).not.toHaveProperty('new')
  })

  it('follow an edited fields file, in every process', async () => {
    const fileSystem = new SimulatedFileSystem()
    const sink = ndjsonSink(OUT, { fields: 'infer', fileSystem })
    const named = (offset: number): readonly StoredRecord[] => [
      record(offset, { value: Buffer.from(`{"id":${offset},"name":"n${offset}"}`) }),
    ]
    await put(sink, task(0, 1), [record(0)])
    fileSystem.writeFile(FILE, Buffer.from('{"id":"int","name":"string"}'))
    await put(ndjsonSink(OUT, { fields: 'infer', fileSystem }), task(1, 2), named(1))
    await put(sink, task(2, 3), named(2))
    await fileSystem.unlink(FILE)
    await put(sink, task(3, 4), [record(3)])
    await put(sink, task(4, 5), named(4))
    expect(rowsIn(fileSystem)).toMatchObject([
      { id: 0 },
      { id: 1, name: 'n1' },
      { id: 2, name: 'n2' },
      { id: 3 },
      { id: 4, rest: { name: 'n4' } },
    ])
  })

  it('preserve all digits of ids that exceed the precision of a number', async () => {
    const fileSystem = new SimulatedFileSystem()
    const wei = '1234567890123456789012345'
    const ids = ['1234567890123456789', '-9007199254740993', wei, '1e300', '9007199254740993.0']
    const values = ids.map((id, offset) =>
      record(offset, { value: Buffer.from(`{"i${offset}":${id}}`) }),
    )
    await put(ndjsonSink(OUT, { fields: 'infer', fileSystem }), task(0, 5), values)
    const fields = JSON.parse(fileSystem.readFile(FILE).toString()) as object
    expect(fields).toEqual({ i0: 'json', i1: 'json', i2: 'json', i3: 'double', i4: 'double' })
    const texts = fileSystem.readFile(`${OUT}/${name(0, 5, 'ndjson')}`).toString()
    for (const id of ids.slice(0, 3)) expect(texts).toContain(id)
  })

  it('preserve all digits of times with more than milliseconds', async () => {
    const fileSystem = new SimulatedFileSystem()
    const times = {
      micros: '2026-01-31T12:00:00.123456Z',
      nanos: '2026-01-31T12:00:00.123000001+01:00',
      millis: '2026-01-31T12:00:00.123Z',
      zeros: '2026-01-31T12:00:00.120000Z',
    }
    const value = Buffer.from(JSON.stringify(times))
    await put(ndjsonSink(OUT, { fields: 'infer', fileSystem }), task(0, 1), [record(0, { value })])
    const fields = JSON.parse(fileSystem.readFile(FILE).toString()) as object
    const [micros, nanos, millis, zeros] = ['string', 'string', 'timestamp', 'timestamp']
    expect(fields).toEqual({ micros, nanos, millis, zeros })
    expect(rowsIn(fileSystem)).toMatchObject([{ micros: times.micros, nanos: times.nanos }])
  })

  it('are doubles if a number has a fraction that is lost when it is parsed', async () => {
    const fileSystem = new SimulatedFileSystem()
    const value = Buffer.from('{"half":4503599627370497.5,"tiny":1e-400,"whole":1.000000000000000}')
    await put(ndjsonSink(OUT, { fields: 'infer', fileSystem }), task(0, 1), [record(0, { value })])
    const fields = JSON.parse(fileSystem.readFile(FILE).toString()) as object
    expect(fields).toEqual({ half: 'double', tiny: 'double', whole: 'int' })
  })

  it('are the same for tasks that begin at the same time', async () => {
    const fileSystem = new SimulatedFileSystem()
    const sink = ndjsonSink(OUT, { fields: 'infer', fileSystem })
    await Promise.all(
      [0, 10, 20].map((at) =>
        put(sink, task(at, at + 10), [record(at, { value: Buffer.from(`{"f${at}":1}`) })]),
      ),
    )
    const columns = rowsIn(fileSystem).map((row) => Object.keys(row).join())
    expect(new Set(columns).size).toBe(1)
  })

  it('are the same for processes that begin at the same time, whichever comes first', async () => {
    for (let delayed = 0; delayed < 12; delayed += 1) {
      const fileSystem = new SimulatedFileSystem()
      const sinks = [0, 1].map(() => ndjsonSink(OUT, { fields: 'infer', fileSystem }))
      // One of them is held at each of its calls in turn, while the other runs through.
      let calls = 0
      let release = (): void => undefined
      const held = new Promise<void>((resolve) => {
        release = resolve
      })
      const slow = new Proxy(fileSystem, {
        get: (target, name) => {
          const own: unknown = Reflect.get(target, name, target)
          if (typeof own !== 'function') return own
          return async (...parameters: unknown[]): Promise<unknown> => {
            calls += 1
            if (calls === delayed + 1) await held
            return (own as (...all: unknown[]) => unknown).apply(target, parameters)
          }
        },
      })
      sinks[0] = ndjsonSink(OUT, { fields: 'infer', fileSystem: slow })
      const load = (at: number): Promise<unknown> =>
        put(sinks[at] ?? expect.fail(), task(at * 10, at * 10 + 10), [
          record(at * 10, { value: Buffer.from(`{"f${at}":1}`) }),
        ])
      const first = load(0)
      const second = load(1)
      for (let turn = 0; turn < 100; turn += 1) await setImmediate()
      release()
      await Promise.all([first, second])
      const columns = rowsIn(fileSystem).map((row) => Object.keys(row).join())
      expect(new Set(columns).size, `held up at call ${delayed}`).toBe(1)
    }
  })

  it.each([
    ['were inferred', null],
    ['were found, left by a process that was killed before it had synced them', '{"id":"int"}'],
  ])('are durable before the rows that have them if they %s', async (_, left) => {
    const fileSystem = new SimulatedFileSystem()
    const sink = ndjsonSink(OUT, { fields: 'infer', fileSystem })
    const value = (text: string): { value: Buffer } => ({ value: Buffer.from(text) })
    // A task without fields creates the directory, and syncs its name.
    await put(sink, task(0, 1), [record(0, { value: null })])
    if (left !== null) {
      const file = await fileSystem.open(FILE, 'create-new')
      await file.write([Buffer.from(left)], 0)
      await file.sync()
      await file.close()
    }
    await put(sink, task(1, 2), [record(1, value('{"id":1}'))])
    const next = fileSystem.restart('power', { unsynced: 'lost' })
    const later = ndjsonSink(OUT, { fields: 'infer', fileSystem: next })
    await put(later, task(2, 3), [record(2, value('{"other":1}'))])
    expect(rowsIn(next).map((row) => row['id'])).toEqual([undefined, 1, null])
  })

  it('are inferred by the next task if the first one contains no object', async () => {
    const fileSystem = new SimulatedFileSystem()
    const sink = ndjsonSink(OUT, { fields: 'infer', fileSystem })
    await Promise.all(
      [0, 1].map((at) => put(sink, task(at, at + 1), [record(at, { value: null })])),
    )
    await put(sink, task(2, 3), [record(2)])
    expect(rowsIn(fileSystem).map((row) => [row.offset, row['id']])).toEqual([
      [0, undefined],
      [1, undefined],
      [2, 2],
    ])
  })

  it.each(['planLoad', 'runTask'])(
    'let rejects be loaded again once the file is edited and the data file is removed: %s',
    async (how) => {
      const fileSystem = new SimulatedFileSystem()
      const broker = await brokerFor(fileSystem)
      const { partitions } = await broker.createTopic('orders')
      const sink = ndjsonSink(OUT, { fields: 'infer', fileSystem })
      const load = async (from: 'committed' | 'earliest') =>
        runLoad(await planLoad(broker, { topics: ['orders'], from }), sink)
      await partitions[0]?.append([{ value: '{"x":1}' }, { value: '{"x":2}' }])
      expect(await load('committed')).toMatchObject({ records: 2, rejected: 0 })
      await partitions[0]?.append([{ value: '{"x":1.5}' }, { value: '{"x":3}' }])
      expect(await load('committed')).toMatchObject({ records: 1, rejected: 1 })
      fileSystem.writeFile(FILE, Buffer.from('{"x":"double"}'))
      await fileSystem.unlink(`${OUT}/${name(2, 4, 'ndjson')}`)
      const again = how === 'runTask' ? runTask(broker, task(2, 4), sink) : load('earliest')
      expect(await again).toMatchObject({ records: 2, rejected: 0 })
      expect(rowsIn(fileSystem).map((row) => row['x'])).toEqual([1, 2, 1.5, 3])
      expect(namesIn(fileSystem, `${OUT}/_rejects`)).toEqual([])
      expect(await load('committed')).toMatchObject({ tasks: 0 })
    },
  )

  it.each([
    ['{', 'it is not JSON: '],
    ['[]', 'it must be an object of fields and types, got an array'],
    [
      '{"ok":"int","x":"integer"}',
      `the type of the field 'x' must be one of "int", "double", "string", "boolean", "timestamp", "json", got "integer"`,
    ],
    [
      '{"id":"int","ID":"int"}',
      'field "ID" is not allowed in it: names must not be empty and must differ in more than case',
    ],
    ['{"":"int"}', 'field "" is not allowed in it: names must not be empty'],
    ['{"topic":"int","value_topic":"int"}', 'field "value_topic" is not allowed in it: '],
  ])(
    'are not read from a fields file with the content %s, and the error says what is wrong with it',
    async (content, message) => {
      const fileSystem = new SimulatedFileSystem()
      fileSystem.writeFile(FILE, Buffer.from(content))
      const sink = ndjsonSink(OUT, { fields: 'infer', fileSystem })
      for (let attempt = 0; attempt < 2; attempt += 1) {
        const error: unknown = await put(sink, task(0, 1), [record(0)]).catch(
          (each: unknown) => each,
        )
        expect(error).toMatchObject({ code: 'CORRUPT_MESSAGE', path: FILE })
        expect(String(error)).toContain(`${FILE}: ${message}`)
      }
      fileSystem.writeFile(FILE, Buffer.from('{"id":"int"}'))
      await put(sink, task(0, 1), [record(0)])
      expect(rowsIn(fileSystem)[0]).toMatchObject({ id: 0 })
    },
  )
})

describe('a Parquet file', () => {
  it.each(['none', 'snappy', 'gzip'] as const)(
    'is read back unchanged with the codec %s',
    async (codec) => {
      const fileSystem = new SimulatedFileSystem()
      const fields = {
        id: 'int',
        name: 'string',
        at: 'timestamp',
        ok: 'boolean',
        x: 'double',
        o: 'json',
      } as const
      const value = (id: number): Buffer =>
        Buffer.from(
          JSON.stringify({
            id,
            name: `ä${id}\u0000😀`,
            at: 1000 + id,
            ok: id % 2 === 0,
            x: id / 3,
            o: { id },
            more: id,
          }),
        )
      const records = upTo(50).map((each) => record(each, { value: value(each) }))
      await put(parquetSink(OUT, { fileSystem, fields, codec, rowGroupRows: 20 }), task(0, 51), [
        ...records,
        record(50, { value: null, timestamp: -1, key: null }),
      ])
      const bytes = fileSystem.readFile(`${OUT}/${name(0, 51, 'parquet')}`)
      const rows = await parquetRows(bytes)
      expect(rows).toHaveLength(51)
      expect(rows[7]).toMatchObject({
        offset: 7n,
        timestamp: new Date(1_700_000_000_000),
        key: 'k7',
        headers: '[]',
        id: 7n,
      })
      expect(rows[7]).toMatchObject({
        name: 'ä7\u0000😀',
        at: new Date(1007),
        ok: false,
        x: 7 / 3,
        o: '{"id":7}',
        rest: '{"more":7}',
      })
      expect(rows[50]).toMatchObject({
        offset: 50n,
        timestamp: null,
        key: null,
        id: null,
        rest: null,
      })
    },
  )

  it.each(['0', '-0'])('keeps the sign of each zero, if the first is %s', async (first) => {
    const fileSystem = new SimulatedFileSystem()
    const other = first === '0' ? '-0' : '0'
    const zeros = upTo(100).map((each) => (each % 3 === 0 ? first : other))
    await put(
      parquetSink(OUT, { fileSystem, fields: { x: 'double' } }),
      task(0, 100),
      zeros.map((zero, offset) => record(offset, { value: Buffer.from(`{"x":${zero}}`) })),
    )
    const rows = await parquetRows(fileSystem.readFile(`${OUT}/${name(0, 100, 'parquet')}`))
    const read = rows.map(({ x }) => (Object.is(x, -0) ? '-0' : String(x)))
    expect(read).toEqual(zeros)
  })

  it('has row groups of at most the configured number of rows and bytes', async () => {
    const { parquetMetadata } = await import('hyparquet')
    const groups = async (options: Parameters<typeof parquetSink>[1]): Promise<number[]> => {
      const fileSystem = new SimulatedFileSystem()
      await put(
        parquetSink(OUT, { ...options, fileSystem }),
        task(0, 100),
        upTo(100).map((each) => record(each)),
      )
      const bytes = new Uint8Array(fileSystem.readFile(`${OUT}/${name(0, 100, 'parquet')}`)).buffer
      return parquetMetadata(bytes).row_groups.map(({ num_rows }) => Number(num_rows))
    }
    expect(await groups({ rowGroupRows: 40 })).toEqual([40, 40, 20])
    expect((await groups({ rowGroupBytes: 500 })).length).toBeGreaterThan(3)
    expect(await groups({})).toEqual([100])
  })

  it('contains the minimum and maximum of each row group', async () => {
    const { parquetMetadata } = await import('hyparquet')
    const fileSystem = new SimulatedFileSystem()
    const sink = parquetSink(OUT, { fileSystem, fields: { name: 'string' }, rowGroupRows: 2 })
    const long = 'y'.repeat(300)
    const greatest = '\u{10ffff}'
    // The maximum is whole, or missing, if no shorter text is greater.
    const last = ['e', greatest.repeat(16), 'f', greatest.repeat(20)]
    const names = ['b', 'a', 'd', 'c', 'z', long, ...last]
    const records = names.map((each, offset) =>
      record(offset, { value: Buffer.from(JSON.stringify({ name: each })) }),
    )
    await put(sink, task(0, 10), records)
    const bytes = new Uint8Array(fileSystem.readFile(`${OUT}/${name(0, 10, 'parquet')}`)).buffer
    const found = parquetMetadata(bytes).row_groups.map(({ columns }) => {
      const statistics = columns.map(({ meta_data }) => meta_data?.statistics)
      const [offset, , , , column] = statistics
      return [offset?.min_value, offset?.max_value, column?.min_value, column?.max_value]
    })
    expect(found).toEqual([
      [0n, 1n, 'a', 'b'],
      [2n, 3n, 'c', 'd'],
      [4n, 5n, 'y'.repeat(16), 'z'],
      [6n, 7n, 'e', greatest.repeat(16)],
      [8n, 9n, 'f', undefined],
    ])
  })

  it('is read back with columns that are all null and with large values', async () => {
    const fileSystem = new SimulatedFileSystem()
    const sink = parquetSink(OUT, { fileSystem, rowGroupBytes: 20_000 })
    const sizes = [0, 1, 40_000, 70_000, 5_000_000, 3, 0]
    const records = sizes.flatMap((size, index) => [
      record(2 * index, { key: null, timestamp: -1, value: Buffer.alloc(size, `${index}`) }),
      record(2 * index + 1, { key: null, timestamp: -1, value: null }),
    ])
    await put(sink, task(0, 14), records)
    const rows = await parquetRows(fileSystem.readFile(`${OUT}/${name(0, 14, 'parquet')}`))
    expect(rows.map(({ offset, timestamp, key }) => [Number(offset), timestamp, key])).toEqual(
      upTo(14).map((offset) => [offset, null, null]),
    )
    for (const [index, row] of rows.entries()) {
      const size = sizes[index / 2]
      const value = row['value'] as string | null
      if (size === undefined) expect(value).toBe(null)
      else expect(value === `${index / 2}`.repeat(size), `row ${index}`).toBe(true)
    }
  })

  it('stores bytes unchanged', async () => {
    const fileSystem = new SimulatedFileSystem()
    const [key, value] = [Buffer.from([0xff, 0]), Buffer.from([0xfe])]
    await put(parquetSink(OUT, { fileSystem, key: 'bytes', value: 'bytes' }), task(0, 1), [
      record(0, { key, value }),
    ])
    const [row] = await parquetRows(fileSystem.readFile(`${OUT}/${name(0, 1, 'parquet')}`))
    expect([
      Buffer.from(row?.['key'] as Uint8Array),
      Buffer.from(row?.['value'] as Uint8Array),
    ]).toEqual([key, value])
  })

  it.each([
    [{ rowGroupRows: 0 }, /rowGroupRows/],
    [{ rowGroupBytes: 0.5 }, /rowGroupBytes/],
    [{ rowGroupBytes: 2 ** 31 }, /rowGroupBytes must be a whole number from 1 to 1073741824/],
    [{ codec: 'lz4' }, /codec must be one of/],
  ])('is refused with %j', (options, message) => {
    expect(() => parquetSink(OUT, options as object)).toThrow(message)
  })
})

describe('files on a real disk', () => {
  it.each([
    ['owner', 0o600, 0o700],
    ['group', 0o640, 0o750],
    ['everyone', 0o644, 0o755],
  ] as const)(
    'have the modes that let %s read them',
    async (readableBy, fileMode, directoryMode) => {
      const dir = mkdtempSync(join(tmpdir(), 'varve-sink-'))
      onTestFinished(() => {
        rmSync(dir, { recursive: true, force: true })
      })
      await put(ndjsonSink(join(dir, 'out'), { readableBy }), task(0, 1), [record(0)])
      const modes = (path: string): number => statSync(path).mode & 0o777
      const partition = join(dir, 'out/topic=orders/partition=0')
      const [file = ''] = await readdir(partition)
      expect([modes(join(partition, file)), modes(partition), modes(join(dir, 'out'))]).toEqual([
        fileMode,
        directoryMode,
        directoryMode,
      ])
    },
  )

  it(
    'can be read by DuckDB, with topic and partition as columns',
    { timeout: 60_000 },
    async (context) => {
      const duckdb = await import('@duckdb/node-api').catch(() => null)
      // Its binary does not exist for every platform.
      if (duckdb === null) context.skip('the binary of DuckDB cannot be loaded')
      if (duckdb === null) return
      const dir = mkdtempSync(join(tmpdir(), 'varve-duckdb-'))
      onTestFinished(() => {
        rmSync(dir, { recursive: true, force: true })
      })
      const fields = { id: 'int', at: 'timestamp' } as const
      const records = upTo(100).map((each) =>
        record(each, { value: Buffer.from(`{"id":${each},"at":${each * 1000},"o":1}`) }),
      )
      for (const [folder, sink] of [
        ['parquet', parquetSink(join(dir, 'parquet'), { fields })],
        ['ndjson', ndjsonSink(join(dir, 'ndjson'), { fields, gzip: true })],
      ] as const) {
        for (const [start, end, partition] of [
          [0, 50, 0],
          [50, 100, 0],
          [0, 10, 1],
        ] as const) {
          await put(sink, task(start, end, partition), records.slice(start, end))
        }
        await put(sink, task(10, 11, 1), [record(10, { value: Buffer.from('bad') })])
        const connection = await (await duckdb.DuckDBInstance.create(':memory:')).connect()
        const source =
          folder === 'parquet'
            ? `read_parquet('${dir}/parquet/*/*/*.parquet', hive_partitioning = true)`
            : `read_ndjson_auto('${dir}/ndjson/*/*/*.ndjson.gz', hive_partitioning = true)`
        const reader = await connection.runAndReadAll(
          `select topic, partition::int p, count(*)::int n, count(distinct "offset")::int d, max("offset")::int m, sum(id)::int s, ` +
            `max("at")::timestamp::varchar a, any_value(typeof("at")) t from ${source} group by all order by p`,
        )
        expect(reader.getRowObjects(), folder).toEqual([
          {
            topic: 'orders',
            p: 0,
            n: 100,
            d: 100,
            m: 99,
            s: 4950,
            a: '1970-01-01 00:01:39',
            t: expect.stringMatching(/^TIMESTAMP/) as string,
          },
          {
            topic: 'orders',
            p: 1,
            n: 10,
            d: 10,
            m: 9,
            s: 45,
            a: '1970-01-01 00:00:09',
            t: expect.stringMatching(/^TIMESTAMP/) as string,
          },
        ])
        connection.closeSync()
      }
    },
  )
})

it('lists the directory of a partition twice for each task of a load, and that of its rejects once', async () => {
  const fileSystem = new SimulatedFileSystem()
  const broker = await brokerFor(fileSystem)
  await fill(broker, 'orders', [10])
  const listed: string[] = []
  const list = fileSystem.list.bind(fileSystem)
  fileSystem.list = (path) => {
    if (path.includes('topic=orders')) listed.push(path)
    return list(path)
  }
  const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 1 } })
  await runLoad(plan, ndjsonSink(OUT, { fileSystem }), { concurrency: 1 })
  const ofRejects = listed.filter((path) => path.includes('_rejects'))
  expect([plan.tasks.length, listed.length - ofRejects.length, ofRejects.length]).toEqual([
    10, 20, 10,
  ])
  await broker.close()
})

it('parses the name of each file once in a load, however often its directory is listed', async () => {
  const fileSystem = new SimulatedFileSystem()
  const broker = await brokerFor(fileSystem)
  await fill(broker, 'orders', [40])
  const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 1 } })
  const exec = vi.spyOn(RegExp.prototype, 'exec')
  await runLoad(plan, ndjsonSink(OUT, { fileSystem }), { concurrency: 1 })
  const names = exec.mock.calls.map(([text]) => text).filter((text) => /^_?\d{20}-/.test(text))
  exec.mockRestore()
  expect(plan.tasks).toHaveLength(40)
  expect(new Set(names).size).toBe(names.length)
  await broker.close()
})
