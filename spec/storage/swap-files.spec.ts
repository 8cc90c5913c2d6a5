import { describe, expect, it } from 'vitest'
import { completeSwaps, findLogFiles } from '../../lib/storage/swap-files.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DIR, NOW, bytesOf, openLog, pathOf, readAll, valuesOf } from './log-fixtures.ts'

/** The content of a segment file: one batch per offset, each with the value `<source><offset>`. */
function segment(source: string, from: number, until: number): Buffer {
  const batches: Buffer[] = []
  for (let offset = from; offset < until; offset += 1) {
    batches.push(bytesOf({ baseOffset: offset, values: [`${source}${offset}`] }))
  }
  return Buffer.concat(batches)
}

/** A directory with only the given segment files, by the suffix of their names. */
function directoryWith(files: Record<string, Buffer>): SimulatedFileSystem {
  const fileSystem = new SimulatedFileSystem()
  for (const [name, bytes] of Object.entries(files)) {
    const [offset = '', ...rest] = name.split('.')
    fileSystem.writeFile(pathOf(Number(offset), rest.join('.')), bytes)
  }
  return fileSystem
}

const NOTHING = Buffer.alloc(0)
const OLD = {
  '0.log': segment('old', 0, 3),
  '3.log': segment('old', 3, 5),
  '5.log': segment('old', 5, 6),
}

const STATES: [string, Record<string, Buffer>, string[]][] = [
  [
    'segments on their way out',
    { ...OLD, '0.log.deleted': NOTHING, '9.index.deleted': NOTHING },
    ['old0', 'old1', 'old2', 'old3', 'old4', 'old5'],
  ],
  [
    'a replacement that is being written',
    { ...OLD, '0.log.cleaned': segment('new', 0, 2), '0.index.cleaned': NOTHING },
    ['old0', 'old1', 'old2', 'old3', 'old4', 'old5'],
  ],
  [
    'a replacement of which the higher segment is renamed',
    { ...OLD, '0.log.cleaned': segment('new', 0, 3), '3.log.swap': segment('new', 3, 5) },
    ['old0', 'old1', 'old2', 'old3', 'old4', 'old5'],
  ],
  [
    'a whole replacement',
    { ...OLD, '0.log.swap': segment('new', 0, 5), '0.index.swap': NOTHING },
    ['new0', 'new1', 'new2', 'new3', 'new4', 'old5'],
  ],
  [
    'a whole replacement by two segments',
    { ...OLD, '0.log.swap': segment('new', 0, 2), '2.log.swap': segment('new', 2, 5) },
    ['new0', 'new1', 'new2', 'new3', 'new4', 'old5'],
  ],
  [
    'a replacement whose originals are gone',
    { '0.log.swap': segment('new', 0, 5), '5.log': segment('old', 5, 6) },
    ['new0', 'new1', 'new2', 'new3', 'new4', 'old5'],
  ],
  [
    'a replacement with the log in place and an index to come',
    { '0.log': segment('new', 0, 5), '0.index.swap': NOTHING, '5.log': segment('old', 5, 6) },
    ['new0', 'new1', 'new2', 'new3', 'new4', 'old5'],
  ],
  [
    'a replacement by two of which the lower is in place',
    {
      '0.log': segment('new', 0, 2),
      '2.log.swap': segment('new', 2, 5),
      '3.log': segment('old', 3, 5),
      '5.log': segment('old', 5, 6),
    },
    ['new0', 'new1', 'new2', 'new3', 'new4', 'old5'],
  ],
]

describe.each(STATES)('a directory with %s', (_, files, values) => {
  it('opens in the state before or after the replacement, and leaves no file with a temporary suffix', async () => {
    const fileSystem = directoryWith(files)
    const log = await openLog(fileSystem)
    expect(await valuesOf(log)).toEqual(values)
    const suffixes = [...fileSystem.snapshot().keys()].filter((path) =>
      /\.(deleted|cleaned|swap)$/.test(path),
    )
    expect(suffixes).toEqual([])
  })

  it('returns the same records when it is opened read-only, and is not changed', async () => {
    const fileSystem = directoryWith(files)
    const before = fileSystem.snapshot()
    const log = await openLog(fileSystem, { readOnly: true })
    expect(await valuesOf(log)).toEqual(values)
    expect(fileSystem.snapshot()).toEqual(before)
  })

  it('reaches that state even if a crash interrupts its completion at any operation', async () => {
    const whole = directoryWith(files)
    await completeSwaps(whole, DIR)
    const expected = (await findLogFiles(whole, DIR)).map((file) => file.path)
    for (let step = 1; step <= whole.operationCount; step += 1) {
      for (const when of ['before', 'after'] as const) {
        const crashed = directoryWith(files)
        crashed.crashAt(step, { when })
        await completeSwaps(crashed, DIR).catch(() => undefined)
        const kinds = ['process', 'power', 'power', 'power'] as const
        for (const [seed, kind] of kinds.entries()) {
          const fileSystem = crashed.restart(kind, { seed })
          await completeSwaps(fileSystem, DIR)
          const found = (await findLogFiles(fileSystem, DIR)).map((file) => file.path)
          // An index that was already in place may be missing: it is rebuilt.
          expect(found.filter((path) => path.endsWith('.log'))).toEqual(
            expected.filter((path) => path.endsWith('.log')),
          )
          expect(await valuesOf(await openLog(fileSystem))).toEqual(values)
        }
      }
    }
  })
})

it('takes an index without its log for one of an undecided replacement if there is another of its kind', async () => {
  const fileSystem = directoryWith({
    '0.log': segment('old', 0, 5),
    '0.index': Buffer.from('old'),
    '0.timeindex': Buffer.from('old'),
    '0.index.swap': Buffer.from('new'),
    '0.timeindex.swap': Buffer.from('new'),
    '0.txnindex.swap': Buffer.from('new'),
    '5.log': segment('old', 5, 6),
    '5.txnindex': Buffer.from('old'),
    '5.txnindex.swap': Buffer.from('new'),
  })
  const before = fileSystem.snapshot()
  const kept = (await findLogFiles(fileSystem, DIR)).map(({ path }) => path)
  expect(fileSystem.snapshot()).toEqual(before)
  await completeSwaps(fileSystem, DIR)
  const files = [...fileSystem.snapshot()].filter(([path]) => !path.endsWith('.log'))
  expect(files.map(([path, bytes]) => [path, bytes.toString()]).sort()).toEqual([
    [pathOf(0, 'index'), 'old'],
    [pathOf(0, 'timeindex'), 'old'],
    [pathOf(0, 'txnindex'), 'new'],
    [pathOf(5, 'txnindex'), 'old'],
  ])
  expect(kept.map((path) => path.replace(/\.swap$/, '')).sort()).toEqual(
    [...fileSystem.snapshot().keys()].sort(),
  )
})

it('leaves no index of the new segment beside the original log, whatever names a power loss keeps', async () => {
  const config = { segmentBytes: 600, indexIntervalBytes: 64, cleanupPolicy: 'compact' } as const
  const fileSystem = new SimulatedFileSystem({ seed: 1, persona: 'strict-posix' })
  const log = await openLog(fileSystem, { config })
  // Compaction removes the record with the latest time.
  await log.append([{ key: 'a', value: 'first', timestamp: NOW + 5_000 }])
  for (const [each, key] of ['b', 'a', 'c', 'd'].entries())
    await log.append([{ key, value: 'v', timestamp: NOW + each }])
  await log.roll()
  await log.append([{ key: 'z', value: 'z', timestamp: NOW + 5_000 }])
  await log.checkpoint()
  const moments: [string, SimulatedFileSystem][] = []
  fileSystem.observe(({ kind, path }) => moments.push([`${kind} ${path}`, fileSystem.fork()]))
  await log.cleaner.compact({ checkpoint: 0, dedupeBufferBytes: 65_536 })
  fileSystem.observe(null)
  for (const [operation, moment] of moments) {
    // After a kill nothing is lost, so that nothing has to be rebuilt.
    const again = await openLog(moment.restart('process'), { config })
    expect(again.recovery.rebuiltIndexes, `before ${operation}`).toEqual([])
    await again.close()
  }
  expect(moments.some(([operation]) => operation.startsWith('rename'))).toBe(true)
  for (const [operation, moment] of moments) {
    if (!/^(rename|unlink|syncDirectory)/.test(operation)) continue
    for (let seed = 1; seed <= 40; seed += 1) {
      const again = await openLog(moment.fork({ seed }).restart('power', { seed }), { config })
      const records = await readAll(again)
      for (const since of [NOW, NOW + 1, NOW + 3, NOW + 5_000]) {
        const first = records.find(({ timestamp }) => timestamp >= since)
        const found = await again.offsetForTimestamp(since)
        expect(found?.offset, `before ${operation}, seed ${seed}`).toBe(first?.offset)
      }
      await again.close()
    }
  }
})

it('keeps the original segments until the names of the whole replacement are durable', async () => {
  const fileSystem = directoryWith({ ...OLD, '0.log.cleaned': segment('new', 0, 5) })
  await fileSystem.rename(pathOf(0, 'log.cleaned'), pathOf(0, 'log.swap'))
  const whole = fileSystem.fork()
  await completeSwaps(whole, DIR)
  const steps = whole.operationCount - fileSystem.operationCount
  for (let step = 1; step <= steps; step += 1) {
    for (let seed = 0; seed < 8; seed += 1) {
      const crashed = fileSystem.fork()
      crashed.crashAt(step, { when: 'after' })
      await completeSwaps(crashed, DIR).catch(() => undefined)
      const after = crashed.restart('power', { seed })
      await completeSwaps(after, DIR)
      const values = await valuesOf(await openLog(after))
      expect(
        values.map((value) => value.slice(3)),
        `step ${step}, seed ${seed}`,
      ).toEqual([...['0', '1', '2', '3', '4', '5']])
    }
  }
})

it('has completed a replacement durably when it resolves', async () => {
  const fileSystem = directoryWith({ ...OLD, '0.log.swap': segment('new', 0, 5) })
  await completeSwaps(fileSystem, DIR)
  const names = [...fileSystem.restart('power', { unsynced: 'lost' }).snapshot().keys()]
  expect(names.sort()).toEqual([pathOf(0), pathOf(5)])
})

it('leaves files and directories with similar names alone', async () => {
  const fileSystem = directoryWith(OLD)
  const strange = ['0.log.swap', 'a.swap', '00000000000000000000.txt.swap', 'x.deleted', '.cleaned']
  for (const name of strange) fileSystem.writeFile(`${DIR}/${name}`, NOTHING)
  await fileSystem.createDirectory(`${DIR}/00000000000000000000.log.deleted`)
  await completeSwaps(fileSystem, DIR)
  const names = (await fileSystem.list(DIR)).map((entry) => entry.name)
  expect(names).toEqual(expect.arrayContaining([...strange, '00000000000000000000.log.deleted']))
  expect(names).toHaveLength(strange.length + 4)
})

it('changes nothing if no replacement was interrupted', async () => {
  const fileSystem = directoryWith(OLD)
  await completeSwaps(fileSystem, DIR)
  expect(fileSystem.operations.filter((line) => !line.includes(' list '))).toEqual([])
})
