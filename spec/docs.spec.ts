import { existsSync, readdirSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { Broker } from '../lib/broker.ts'
import { TopicRegistry } from '../lib/broker/topic-registry.ts'
import { replaceFile } from '../lib/platform/file-io.ts'
import * as layout from '../lib/record/batch-layout.ts'
import { decodeRecords } from '../lib/record/decode.ts'
import { RecordBatchBuilder } from '../lib/record/record-batch-builder.ts'
import { RecordBatch, stampBatch } from '../lib/record/record-batch.ts'
import { SimulatedFileSystem } from '../lib/testing/simulated-file-system.ts'
import {
  examplesOf,
  firstMissing,
  readPages,
  resolveFrom,
  runExample,
  typeErrorsIn,
} from './helpers/doc-examples.ts'
import {
  anchorsOf,
  codeBlocksOf,
  inlineCodeOf,
  linksOf,
  sectionOf,
  tablesOf,
} from './helpers/markdown.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const docs = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'))
const pages = readPages(['README.md', ...docs.map((name) => `docs/${name}`)])
const examples = [...pages].flatMap(([page, content]) => examplesOf(page, content))

const allSources = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => pageSource(`lib/${name}`))
  .join('\n')

/** Loading the compiler and the types can take long on a busy machine. */
const COMPILER_TIMEOUT_MS = 120_000

function pageOf(path: string): string {
  return pages.get(path) ?? ''
}

/** The links of a page that lead to no file, or to no heading in it. */
function brokenLinks(page: string, content: string): ReturnType<typeof linksOf> {
  return linksOf(content).filter(({ target }) => {
    if (/^[a-z]+:/.test(target)) return false
    const [path = '', anchor] = target.split('#')
    const file = path === '' ? join(root, page) : resolveFrom(page, path)
    // TypeDoc follows links to files, and warns about links to directories.
    if (!existsSync(file) || !statSync(file).isFile()) return true
    const linked = [...pages].find(([name]) => join(root, name) === file)?.[1] ?? ''
    return anchor !== undefined && !anchorsOf(linked).has(anchor)
  })
}

describe('the examples in the documentation', () => {
  it('include at least three in README.md', () => {
    expect(examples.filter(({ page }) => page === 'README.md').length).toBeGreaterThanOrEqual(3)
  })

  it('pass the type checker', { timeout: COMPILER_TIMEOUT_MS }, () => {
    expect(typeErrorsIn(examples)).toEqual([])
  })

  it.each(examples)('run and print what they say: $place', async (example) => {
    const lines = await runExample(example)
    expect(firstMissing(lines, example.prints), `in the output\n${lines.join('\n')}`).toBeNull()
  })

  it(
    'are reported with page and line if their types are wrong',
    { timeout: COMPILER_TIMEOUT_MS },
    () => {
      const page = [
        '# A page',
        '```ts',
        "import { Broker } from 'varve'",
        'const broker: Broker = 1',
        'console.log(broker)',
        '```',
        '```ts',
        "import { tempBroker } from 'varve/nothing'",
        'console.log(tempBroker)',
        '```',
      ]
      expect(typeErrorsIn(examplesOf('page.md', page.join('\n')))).toEqual([
        expect.stringMatching(/^page\.md:4: Type 'number' is not assignable/),
        expect.stringMatching(/^page\.md:8: Cannot find module 'varve\/nothing'/),
      ])
    },
  )

  it('are reported if they throw or print something else', async () => {
    const [failing, printing] = examplesOf(
      'page.md',
      "```js\nthrow new Error('no')\n```\n\n```js\nconsole.log(1) // prints: 2\n```\n",
    )
    if (failing === undefined || printing === undefined) throw new Error('no examples were found')
    await expect(runExample(failing)).rejects.toThrow('no')
    expect(firstMissing(await runExample(printing), printing.prints)).toBe('2')
    expect(firstMissing(['2', '1'], ['1', '2'])).toBe('2')
  })
})

describe('links and names in the documentation', () => {
  it.each([...pages.keys()])('of %s lead to existing files and headings', (page) => {
    expect(brokenLinks(page, pageOf(page))).toEqual([])
  })

  it('are reported with their lines if they lead to no file or no heading', () => {
    const page = [
      '[a](README.md) [b](docs/GUIDE.md#errors) [c](https://example.com/none)',
      '[d](docs/NONE.md) [e](docs/GUIDE.md#no-such-heading)',
      '[f](docs) [g](#no-such-heading)',
    ]
    expect(brokenLinks('README.md', page.join('\n'))).toEqual([
      { target: 'docs/NONE.md', line: 2 },
      { target: 'docs/GUIDE.md#no-such-heading', line: 2 },
      { target: 'docs', line: 3 },
      { target: '#no-such-heading', line: 3 },
    ])
  })

  it.each([...pages.keys()])('of %s refer to files, folders and scripts that exist', (page) => {
    const scripts = Object.keys(manifest().scripts)
    const text = pageOf(page)
    const paths = inlineCodeOf(text).filter((code) => /^(lib|spec|bench|docs)\/\S*$/.test(code))
    expect(paths.filter((path) => !existsSync(join(root, path)))).toEqual([])
    const called = [...text.matchAll(/\bnpm run (?:--silent )?([\w:-]+)/g)].map((match) => match[1])
    expect(called.filter((name) => name !== undefined && !scripts.includes(name))).toEqual([])
  })

  it.each([...pages.keys()])('of %s refer to codes that occur in lib/', (page) => {
    const codes = inlineCodeOf(pageOf(page)).filter((code) => /^[A-Z]+(?:_[A-Z]+)+$/.test(code))
    expect(codes.filter((code) => !allSources.includes(`'${code}'`))).toEqual([])
  })

  it('are found outside code with their lines, and repeated headings get anchors of their own', () => {
    const page = '# A b, c!\n[x](y.md#z) `[in](code)`\n```\n[in](block)\n```\n## A b, c!\n'
    expect(linksOf(page)).toEqual([{ target: 'y.md#z', line: 2 }])
    expect([...anchorsOf(page)]).toEqual(['a-b-c', 'a-b-c-1'])
  })
})

describe('docs/GUIDE.md', () => {
  it('lists every error with its code, and no other', () => {
    const files = [...pageSource('lib/errors.ts').matchAll(/errors\/[\w-]+\.ts/g)]
    const source = files.map(([path]) => pageSource(`lib/${path}`)).join('\n')
    const declared = [...source.matchAll(/name = '(\w+)'\s+readonly code = '(\w+)'/g)]
    const rows = tablesOf(sectionOf(pageOf('docs/GUIDE.md'), 'Errors'))[0] ?? []
    const errors = declared.map((match) => `\`${match[2] ?? ''}\` ${match[1] ?? ''}`)
    expect(declared.length).toBeGreaterThan(20)
    expect(source.match(/readonly code = /g)).toHaveLength(declared.length)
    expect(rows.map(([code = '', name = '']) => `${code} ${name}`).sort()).toEqual(errors.sort())
  })
})

describe('docs/OFFLINE.md', () => {
  it('has a cron script in plain JavaScript that loads and then exits', async () => {
    const blocks = codeBlocksOf(sectionOf(pageOf('docs/OFFLINE.md'), 'At intervals'))
    const script = blocks.find(({ language }) => language === 'mjs')
    const application = [
      "{ const broker = await Broker.open('./data')",
      "const { partitions } = await broker.createTopic('orders')",
      "await partitions[0]?.append([{ value: 'first' }, { value: 'second' }])",
      'await broker.close() }',
    ]
    const source = [...application, script?.source ?? ''].join('\n')
    const place = `docs/OFFLINE.md:${script?.line ?? 0}`
    expect(await runExample({ source, place, language: 'js' })).toEqual(['2 loaded'])
  })
})

describe('docs/FORMAT.md', () => {
  const format = pageOf('docs/FORMAT.md')

  it('lists the fields of a batch at the positions that the code uses', () => {
    const rows = tablesOf(sectionOf(format, 'Record batch'))[0] ?? []
    const positions = new Map(rows.map(([position, , field]) => [field, Number(position)]))
    expect([...positions]).toEqual([
      ['`baseOffset`', layout.BASE_OFFSET_POSITION],
      ['`batchLength`', layout.BATCH_LENGTH_POSITION],
      ['`partitionLeaderEpoch`', layout.LEADER_EPOCH_POSITION],
      ['`magic`', layout.MAGIC_POSITION],
      ['`crc`', layout.CRC_POSITION],
      ['`attributes`', layout.ATTRIBUTES_POSITION],
      ['`lastOffsetDelta`', layout.LAST_OFFSET_DELTA_POSITION],
      ['`baseTimestamp`', layout.BASE_TIMESTAMP_POSITION],
      ['`maxTimestamp`', layout.MAX_TIMESTAMP_POSITION],
      ['`producerId`', layout.PRODUCER_ID_POSITION],
      ['`producerEpoch`', layout.PRODUCER_EPOCH_POSITION],
      ['`baseSequence`', layout.BASE_SEQUENCE_POSITION],
      ['`recordCount`', layout.RECORD_COUNT_POSITION],
      ['records', layout.RECORD_BATCH_OVERHEAD],
    ])
    const sizes = rows.slice(0, -1).map((row) => Number(row[1]))
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(layout.RECORD_BATCH_OVERHEAD)
  })

  it('shows the exact bytes of a batch of one record', () => {
    const builder = new RecordBatchBuilder()
    builder.append(1_700_000_000_000, Buffer.from('user-7'), Buffer.from('{"id":1}'), [
      { key: 'from', value: Buffer.from('web') },
    ])
    const batch = builder.buildUncompressed()
    stampBatch(batch, { baseOffset: 42, partitionLeaderEpoch: 0, groupStart: true })
    const shown = hexDumpIn(sectionOf(format, 'Worked example'))
    expect(shown.toString('hex')).toBe(batch.toString('hex'))
  })

  it('shows a batch that can be decoded', async () => {
    const batch = new RecordBatch(hexDumpIn(sectionOf(format, 'Worked example')))
    batch.ensureValid()
    expect(await decodeRecords(batch, { topic: 'orders', partition: 0 })).toEqual([
      {
        topic: 'orders',
        partition: 0,
        offset: 42,
        timestamp: 1_700_000_000_000,
        key: Buffer.from('user-7'),
        value: Buffer.from('{"id":1}'),
        headers: [{ key: 'from', value: Buffer.from('web') }],
      },
    ])
  })

  it('shows a list of topics that can be loaded', async () => {
    const fileSystem = new SimulatedFileSystem()
    await fileSystem.createDirectory('/data')
    const [block] = codeBlocksOf(sectionOf(format, 'varve-topics'))
    await replaceFile(fileSystem, '/data/varve-topics', block?.source ?? '')
    const registry = new TopicRegistry(fileSystem, '/data')
    expect(await registry.load()).toBe(true)
    expect(registry.entries.map(({ name, state }) => [name, state])).toEqual([['orders', 'active']])
  })

  it('names every file that a broker creates', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await Broker.open('/data', { fileSystem })
    const topic = await broker.createTopic('orders', { segmentBytes: 200, indexIntervalBytes: 0 })
    for (const value of ['a'.repeat(80), 'b'.repeat(80), 'c'.repeat(80)]) {
      await topic.partition(0).append({ value })
    }
    await topic.partition(0).deleteRecords(1)
    const consumer = broker.consumer({ groupId: 'billing' })
    await consumer.commit([{ topic: 'orders', partition: 0, offset: 2 }])
    const names = [...(await namesIn(fileSystem, '/data'))]
    await broker.close()
    names.push(...(await namesIn(fileSystem, '/data')))
    const tree = codeBlocksOf(sectionOf(format, 'The data directory'))[0]?.source ?? ''
    const known = tree.split('\n').map((line) => basename(line.trim().split(/\s+/)[0] ?? ''))
    const unknown = names
      .map((name) => name.replace(/^\d{20}\./, 'NNN.'))
      .filter((name) => !known.includes(name))
    expect([...new Set(unknown)]).toEqual([])
    expect(names).toContain('.kafka_cleanshutdown')
  })
})

describe('README.md', () => {
  it('names the Node.js versions that package.json requires', () => {
    const versions = manifest().engines.node.match(/\d+(\.\d+)+/g) ?? []
    const section = sectionOf(pageOf('README.md'), 'Install')
    expect(versions).toEqual(['20.19.0', '22.12.0'])
    expect(versions.filter((version) => !section.includes(version))).toEqual([])
  })
})

interface Manifest {
  readonly engines: { readonly node: string }
  readonly scripts: Record<string, string>
}

function manifest(): Manifest {
  return JSON.parse(pageSource('package.json')) as Manifest
}

function pageSource(path: string): string {
  return readPages([path]).get(path) ?? ''
}

/** The bytes of a block whose lines are a position, bytes in hexadecimal, and their meaning. */
function hexDumpIn(section: string): Buffer {
  const lines = codeBlocksOf(section)[0]?.source.trimEnd().split('\n') ?? []
  let hex = ''
  for (const line of lines) {
    const match = /^ *(\d+) {2,}((?:[0-9a-f]{2} )*[0-9a-f]{2})(?: {2,}|$)/.exec(line)
    if (match === null) throw new Error(`no bytes in the line '${line}'`)
    expect(Number(match[1]), line).toBe(hex.length / 2)
    hex += (match[2] ?? '').replaceAll(' ', '')
  }
  return Buffer.from(hex, 'hex')
}

async function namesIn(fileSystem: SimulatedFileSystem, path: string): Promise<string[]> {
  const names: string[] = []
  for (const { name, kind } of await fileSystem.list(path)) {
    if (kind === 'directory') names.push(...(await namesIn(fileSystem, join(path, name))))
    else names.push(name)
  }
  return names
}
