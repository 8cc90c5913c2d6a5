import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/index.ts'
import { importFile, type ImportOptions } from '../../lib/offline/index.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const ROWS = 36
const PARTITIONS = 3

interface Case {
  readonly name: string
  readonly path: string
  readonly content: Buffer
  readonly flushMessages?: number
  readonly maxMessageBytes?: number
  readonly options?: Partial<ImportOptions>
}

const LINES = Array.from({ length: ROWS }, (_, id) =>
  id % 10 === 4 ? 'bad' : `{"id":${id + 1},"k":"${id % 5}"}`,
)

const CASES: readonly Case[] = [
  {
    name: 'NDJSON by key',
    path: '/f.ndjson',
    content: Buffer.from(LINES.join('\n')),
    options: { keyField: 'k' },
  },
  {
    name: 'NDJSON without keys, on a relaxed topic',
    path: '/f.ndjson',
    content: Buffer.from(LINES.join('\n')),
    flushMessages: 1000,
  },
  {
    name: 'compressed NDJSON',
    path: '/f.ndjson.gz',
    content: gzipSync(LINES.join('\n')),
    options: { keyField: 'k' },
  },
  {
    name: 'CSV',
    path: '/f.csv',
    content: Buffer.from(
      `id,k\n${LINES.map((line, at) => (line === 'bad' ? line : `"${at + 1}",${at % 5}`)).join('\n')}\n`,
    ),
    options: { keyField: 'k' },
  },
  {
    name: 'CSV with unclosed quotes',
    path: '/f.csv',
    content: Buffer.from(
      `id,k\r\n${LINES.map((line, at) => (line === 'bad' ? `${at},"open` : `${at + 1},"${at % 5}"`)).join('\r\n')}\r\n`,
    ),
    options: { keyField: 'k' },
  },
  {
    name: 'NDJSON of which the topic refuses some',
    path: '/f.ndjson',
    content: Buffer.from(
      LINES.map((line) => (line === 'bad' ? `{"k":"1","text":"${'x'.repeat(600)}"}` : line)).join(
        '\n',
      ),
    ),
    maxMessageBytes: 500,
    options: { keyField: 'k' },
  },
]

function idOf(value: Buffer | null): number {
  return Number((JSON.parse(value?.toString() ?? '') as { id: number | string }).id)
}

/** The import, restarted again and again, while others append to the topic. */
async function session(fileSystem: SimulatedFileSystem, each: Case): Promise<void> {
  const broker = await Broker.open('/d', { fileSystem })
  const { flushMessages = 1, maxMessageBytes = 100_000 } = each
  const topic = await broker.createTopic('t', {
    partitions: PARTITIONS,
    flushMessages,
    maxMessageBytes,
    segmentBytes: 600,
    ifNotExists: true,
  })
  await topic.partition(0).append([{ value: 'other' }])
  await importFile(broker, each.path, {
    topic: 't',
    name: 'n',
    fileSystem,
    batchRecords: 5,
    commitRecords: 10,
    rejects: '/rejects.ndjson',
    onProgress: () => {
      void topic
        .partition(1)
        .append([{ value: 'other' }])
        .catch(() => undefined)
    },
    ...each.options,
  })
  await broker.close()
}

async function check(fileSystem: SimulatedFileSystem, where: string): Promise<void> {
  const broker = await Broker.open('/d', { fileSystem })
  const ids: number[] = []
  for (const partition of broker.topic('t').partitions) {
    const there: number[] = []
    for await (const { value, headers } of partition.records({ until: 'end' })) {
      if (headers.length === 0) continue
      const id = idOf(value)
      expect(headers[0]?.value?.toString(), where).toBe(`n:${id}`)
      there.push(id)
    }
    expect(there, `order, ${where}`).toEqual([...there].sort((a, b) => a - b))
    ids.push(...there)
  }
  await broker.close()
  const expected = LINES.flatMap((line, at) => (line === 'bad' ? [] : [at + 1]))
  expect(
    ids.sort((a, b) => a - b),
    where,
  ).toEqual(expected)
  expect(() => fileSystem.readFile('/rejects.ndjson'), `${where}: rejects`).not.toThrow()
  const rejected = fileSystem.readFile('/rejects.ndjson').toString().split('\n').slice(0, -1)
  const rows = rejected.map((line) => (JSON.parse(line) as { row: number }).row)
  expect(
    rows.sort((a, b) => a - b),
    `rejects, ${where}`,
  ).toEqual([5, 15, 25, 35])
}

async function newMachine(each: Case, seed: number): Promise<SimulatedFileSystem> {
  const fileSystem = new SimulatedFileSystem({ seed })
  fileSystem.writeFile(each.path, each.content)
  await fileSystem.syncDirectory('/')
  return fileSystem
}

describe('an import that crashes at any operation', () => {
  it.each(CASES)('stores each row once: $name', async (each) => {
    const whole = await newMachine(each, 1)
    const before = whole.operationCount
    await session(whole, each)
    await check(whole, 'without a crash')
    const count = whole.operationCount - before
    expect(count).toBeGreaterThan(100)
    let crashes = 0
    let crashesTried = 0
    // One operation in this many: all of them pass too, but take minutes.
    for (let at = 1 + CASES.indexOf(each); at <= count; at += 5 * CASES.length) {
      crashesTried += 1
      const when = (['before', 'after', 'torn'] as const)[crashesTried % 3] ?? 'torn'
      const kind = (crashesTried >> 1) % 2 === 0 ? 'process' : 'power'
      const where = `crash ${when} operation ${at}, ${kind}`
      let fileSystem = await newMachine(each, at)
      fileSystem.crashAt(at, { when })
      const failed = await session(fileSystem, each).then(
        () => false,
        () => true,
      )
      if (failed) crashes += 1
      fileSystem = fileSystem.restart(kind, { seed: at })
      // A second crash, in the run that continues.
      fileSystem.crashAt(1 + ((at * 7) % count), { when: 'torn' })
      await session(fileSystem, each).catch(() => undefined)
      fileSystem = fileSystem.restart('power', { seed: at + 1 })
      await session(fileSystem, each)
      await check(fileSystem, where)
      const later = fileSystem.restart('power', { unsynced: 'lost' })
      await check(later, `${where}, then power lost`)
    }
    expect(crashes).toBeGreaterThan(crashesTried / 2)
  })
})
