import { readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Broker, IllegalStateError } from '../../lib/index.ts'
import { importFile, type ImportOptions, type ImportResult } from '../../lib/offline/index.ts'
import { LockGuard } from '../../lib/platform/lock-guard.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'
import { temporaryDirectory } from '../platform/temporary-directory.ts'
import { withoutTurns } from '../helpers/held-turns.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

const REJECTS = '/rejects.jsonl'
/** Rows 2, 4 and 6 are invalid. */
const LINES = '1\nx\n3\nx\n5\nx\n'

let fileSystem: SimulatedFileSystem
let broker: Broker

beforeEach(async () => {
  fileSystem = new SimulatedFileSystem()
  broker = await tempBroker({ fileSystem })
  for (const topic of ['t', 'u']) await broker.createTopic(topic)
  for (const path of ['/a', '/b']) fileSystem.writeFile(path, Buffer.from(LINES))
})

afterEach(() => broker.close())

function run(name: string, options: Partial<ImportOptions> = {}): Promise<ImportResult> {
  return importFile(broker, `/${name}`, {
    topic: 't',
    format: 'ndjson',
    fileSystem,
    rejects: REJECTS,
    batchRecords: 1,
    ...options,
  })
}

/** Ends after a row, without a mark there: only the file shows what was rejected before it. */
async function breakOff(
  name: string,
  row: number,
  topic = 't',
  options: Partial<ImportOptions> = {},
): Promise<void> {
  const onProgress = ({ rows }: { rows: number }): void => {
    if (rows === row) throw new Error('broken off')
  }
  await expect(run(name, { topic, onProgress, ...options })).rejects.toThrow('broken off')
}

function text(): string {
  return fileSystem.readFile(REJECTS).toString()
}

function rejected(): string[] {
  return text()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { topic: string; import: string; row: number })
    .map(({ topic, import: name, row }) => `${topic} ${name} ${row}`)
}

describe('the rejects file of an import', () => {
  it('contains a line for each rejected row, with the topic and the import', async () => {
    await run('a')
    expect(JSON.parse(text().split('\n')[1] ?? '')).toEqual({
      topic: 't',
      import: '/a',
      row: 4,
      line: 4,
      start: expect.any(Number) as number,
      end: expect.any(Number) as number,
      code: 'MALFORMED',
      reason: expect.stringContaining('JSON') as string,
      text: 'x',
    })
    expect(rejected()).toEqual(['t /a 2', 't /a 4', 't /a 6'])
  })

  it('contains the rows of several imports, however they are interrupted', async () => {
    await breakOff('a', 3)
    await breakOff('b', 5)
    await run('a')
    await run('b')
    expect(rejected().sort()).toEqual(
      ['/a', '/b'].flatMap((name) => [2, 4, 6].map((row) => `t ${name} ${row}`)),
    )
  })

  it('distinguishes the imports of one file into two topics', async () => {
    await breakOff('a', 3)
    await run('a', { topic: 'u' })
    await run('a')
    expect(rejected().sort()).toEqual(
      ['t', 'u'].flatMap((topic) => [2, 4, 6].map((row) => `${topic} /a ${row}`)),
    )
  })

  it('loses a damaged line and what follows it, and contains them again after the next run', async () => {
    await breakOff('a', 5)
    const [first = ''] = text().split('\n')
    const cut = `${first}\n{"topic":"t","im\0\0\n${text().slice(first.length + 1)}{"row`
    fileSystem.writeFile(REJECTS, Buffer.from(cut))
    await run('a')
    expect(rejected()).toEqual(['t /a 2', 't /a 4', 't /a 6'])
  })

  it('keeps the lines of other imports after a truncated one', async () => {
    await breakOff('a', 3)
    fileSystem.writeFile(REJECTS, Buffer.from(`${text()}{"topic":"t","imp`))
    await breakOff('b', 3)
    await run('a')
    await run('b')
    const lines = text().split('\n')
    expect(lines[1]).toBe('{"topic":"t","imp')
    fileSystem.writeFile(REJECTS, Buffer.from(lines.filter((_, at) => at !== 1).join('\n')))
    expect(rejected()).toEqual(['t /a 2', ...['t /b 2', 't /a 4', 't /a 6', 't /b 4', 't /b 6']])
  })

  it('contains each row once even if others have written much after it', async () => {
    await breakOff('a', 3)
    const reason = 'é'.repeat(100_000)
    const other = `${JSON.stringify({ topic: 'u', import: '/a', row: 4, reason })}\n`
    fileSystem.writeFile(REJECTS, Buffer.from(text() + other.repeat(5)))
    await run('a')
    expect(rejected().filter((line) => line.startsWith('t'))).toEqual(
      [2, 4, 6].map((row) => `t /a ${row}`),
    )
    expect(text()).toContain(other.repeat(5))
  })

  it.each([
    ['none', {}],
    ['a function', { rejects: () => undefined }],
    ['another file', { rejects: '/others.jsonl' }],
  ])('keeps its content if an import continues with it that had %s before', async (_, before) => {
    const onProgress = ({ rows }: { rows: number }): void => {
      if (rows === 3) throw new Error('broken off')
    }
    await expect(run('a', { onProgress, rejects: undefined as never, ...before })).rejects.toThrow(
      'broken',
    )
    const notes = 'precious\n{"row":"of another kind"}\n'
    fileSystem.writeFile(REJECTS, Buffer.from(notes))
    await run('a')
    expect(text().startsWith(notes)).toBe(true)
    fileSystem.writeFile(REJECTS, Buffer.from(text().slice(notes.length)))
    expect(rejected()).toEqual(['t /a 2', 't /a 4', 't /a 6'])
  })

  it.each([
    ['none', { rejects: undefined as never }],
    ['a function', { rejects: () => undefined }],
    ['another file', { rejects: '/others.jsonl' }],
  ])(
    'contains no row twice if the import continues with it and had %s before',
    async (_, before) => {
      await breakOff('a', 1, 't', before)
      await breakOff('a', 3)
      await breakOff('a', 5)
      await run('a')
      expect(rejected()).toEqual(['t /a 2', 't /a 4', 't /a 6'])
    },
  )

  it('contains no row twice if the import has continued without it in the meantime', async () => {
    await breakOff('a', 3)
    await breakOff('a', 3, 't', { rejects: undefined as never })
    await run('a')
    expect(rejected()).toEqual(['t /a 2', 't /a 4', 't /a 6'])
  })

  it('contains no row twice if the mark of an earlier version names no file', async () => {
    await run('b')
    const onProgress = ({ rows }: { rows: number }): void => {
      if (rows === 5) throw new Error('broken off')
    }
    await expect(run('a', { onProgress, commitRecords: 3 })).rejects.toThrow('broken')
    const consumer = broker.consumer({ groupId: 'varve-import:/a', enableAutoCommit: false })
    const place = { topic: 't', partition: 0 }
    const committed = await consumer.committed(place)
    const { rejectFile, ...mark } = JSON.parse(committed?.metadata ?? '') as Record<string, unknown>
    expect(rejectFile).toHaveLength(16)
    const offset = committed?.offset ?? 0
    await consumer.commit([{ ...place, offset, metadata: JSON.stringify(mark) }])
    await run('a')
    expect(rejected()).toEqual(['/b', '/a'].flatMap((n) => [2, 4, 6].map((row) => `t ${n} ${row}`)))
  })

  it.each([
    ['after a restart of the process', {}, () => fileSystem.restart('process')],
    ['in the same process', {}, () => fileSystem],
    ['in the run that must commit when it fails', { cleanupPolicy: 'compact' }, () => fileSystem],
  ] as const)('contains a row once if its sync has failed, %s', async (_, config, next) => {
    await broker.createTopic('v', config)
    const options = { topic: 'v', keyField: 'id', name: 'v', commitRecords: 2 } as const
    fileSystem.writeFile('/v', Buffer.from('{"id":1}\nx\n{"id":3}\n'))
    const failSync = ({ rows }: { rows: number }): void => {
      if (rows === 1) fileSystem.failNext('datasync', 'EIO', { path: REJECTS })
    }
    await expect(run('v', { ...options, onProgress: failSync })).rejects.toThrow('EIO')
    const goOn = async (disk: SimulatedFileSystem): Promise<void> => {
      if (disk !== fileSystem) {
        const { dir } = broker
        await broker.close().catch(() => undefined)
        broker = await Broker.open(dir, { fileSystem: disk })
      }
      fileSystem = disk
      await run('v', options)
      expect(text()).toContain('"import":"v","row":2')
      expect(rejected()).toEqual(['v v 2'])
    }
    await goOn(next())
    await goOn(fileSystem.restart('power', { unsynced: 'lost' }))
  })

  it('is refused after a sync of its directory has failed', async () => {
    fileSystem.failNext('syncDirectory', 'EIO', { path: '/' })
    await expect(run('a')).rejects.toThrow('EIO')
    await expect(run('a')).rejects.toMatchObject({ code: 'STORAGE_ERROR', path: '/' })
  })

  it('is written by one import at a time', async () => {
    withoutTurns()
    const first = run('a')
    const others = [REJECTS, '/./rejects.jsonl'].map((rejects, slot) =>
      run('b', { name: `b${slot}`, rejects }).catch((error: unknown) => error),
    )
    expect(await Promise.all(others)).toEqual([
      new IllegalStateError(`another import is writing its rejects to '${REJECTS}'`),
      new IllegalStateError(`another import is writing its rejects to '/./rejects.jsonl'`),
    ])
    await run('b', { rejects: '/others.jsonl' })
    await first
    expect(rejected()).toEqual(['t /a 2', 't /a 4', 't /a 6'])
  })

  it.runIf(process.platform === 'linux')(
    'is locked by its device and inode, whatever its path and whichever process writes to it',
    async () => {
      const dir = await temporaryDirectory()
      const [path, link] = [join(dir, 'rejects.jsonl'), join(dir, 'link', 'rejects.jsonl')]
      writeFileSync(join(dir, 'a'), LINES)
      writeFileSync(path, '')
      symlinkSync(dir, join(dir, 'link'))
      const importInto = (name: string, rejects: string): Promise<ImportResult> => {
        return importFile(broker, join(dir, 'a'), { topic: 't', format: 'ndjson', name, rejects })
      }
      // It represents another process, which would see the same.
      const { dev, ino } = statSync(path, { bigint: true })
      const other = await LockGuard.take(dev, ino)
      const refused = new IllegalStateError(`another import is writing its rejects to '${link}'`)
      await expect(importInto('one', link)).rejects.toEqual(refused)
      if (other instanceof LockGuard) await other.close()
      const both = await Promise.allSettled([importInto('two', path), importInto('three', link)])
      expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
      expect(await importInto('four', link)).toMatchObject({ rejected: 3 })
      expect(readFileSync(path, 'utf8').match(/"row":/g)).toHaveLength(6)
    },
  )

  it('is refused if it is the imported file, whatever its path', async () => {
    const dir = await temporaryDirectory()
    const [path, link] = [join(dir, 'a'), join(dir, 'b')]
    writeFileSync(path, LINES)
    symlinkSync(path, link)
    symlinkSync(dir, join(dir, 'dir'))
    for (const [input, rejects] of [
      [path, join(dir, 'dir', 'a')],
      [link, path],
    ] as const) {
      const importing = importFile(broker, input, { topic: 't', format: 'ndjson', rejects })
      await expect(importing).rejects.toEqual(
        new TypeError(`rejects must not be the imported file, got ${JSON.stringify(rejects)}`),
      )
    }
    expect(readFileSync(path, 'utf8')).toBe(LINES)
    expect(broker.topic('t').partition(0).logEndOffset).toBe(0)
  })

  it('is released if it could not be opened', async () => {
    const rejects = '/no-such-directory/rejects.jsonl'
    for (let turn = 0; turn < 2; turn++) {
      await expect(run('a', { rejects })).rejects.toMatchObject({ code: 'ENOENT' })
    }
  })
})
