import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { CorruptRecordError, ReadOnlyError, StorageError } from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { simulatedError } from '../../lib/testing/simulated-error.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { spoil } from '../helpers/bad-sectors.ts'

const DIR = '/data/orders-0'
const nameOf = (offset: number, extension = 'log'): string =>
  `${String(offset).padStart(20, '0')}.${extension}`
const LOG = `${DIR}/${nameOf(0)}`

function open(fileSystem: SimulatedFileSystem, options = {}): Promise<Broker> {
  return Broker.open('/data', { fileSystem, clock: new ManualClock(), ...options })
}

/** Two topics of five records each; two records of `orders` share a segment if `config` says so. */
async function written(how: 'clean' | 'crash', config = {}): Promise<SimulatedFileSystem> {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const broker = await open(fs)
  const topics = [await broker.createTopic('orders', config), await broker.createTopic('users')]
  for (let each = 0; each < 5; each += 1) {
    for (const topic of topics) await topic.partition(0).append({ value: `v${each}` })
  }
  if (how === 'clean') await broker.close()
  return fs.restart('process')
}

function filesOf(fs: SimulatedFileSystem): [string, Buffer][] {
  return [...fs.snapshot()].filter(([path]) => path.startsWith(`${DIR}/`))
}

async function valuesIn(broker: Broker, topic: string): Promise<string[]> {
  return (await broker.topic(topic).partition(0).read(0)).map(({ value }) => String(value))
}

const FIVE = ['v0', 'v1', 'v2', 'v3', 'v4']

const FAULTS: [string, string, string, (fs: SimulatedFileSystem) => void][] = [
  [
    'a log file with a bad sector',
    LOG,
    'EIO',
    (fs) => {
      spoil(fs, LOG)
    },
  ],
  [
    'a log file that may not be opened',
    LOG,
    'EACCES',
    (fs) => {
      fs.failNext('open', 'EACCES', { path: LOG, persistent: true })
    },
  ],
  [
    'a log file that the file system knows nothing of',
    LOG,
    'EIO',
    (fs) => {
      fs.failNext('stat', 'EIO', { path: LOG, persistent: true })
    },
  ],
  [
    'an index that may not be opened',
    `${DIR}/${nameOf(0, 'index')}`,
    'EACCES',
    (fs) => {
      fs.failNext('open', 'EACCES', { path: `${DIR}/${nameOf(0, 'index')}`, persistent: true })
    },
  ],
  [
    'a record of segments with a bad sector',
    `${DIR}/varve-segments`,
    'EIO',
    (fs) => {
      spoil(fs, `${DIR}/varve-segments`)
    },
  ],
  [
    'a checkpoint of epochs with a bad sector',
    `${DIR}/leader-epoch-checkpoint`,
    'EIO',
    (fs) => {
      spoil(fs, `${DIR}/leader-epoch-checkpoint`)
    },
  ],
  [
    'a directory in which nothing may be opened',
    `${DIR}/varve-segments`,
    'EACCES',
    (fs) => {
      for (const [path] of filesOf(fs)) fs.failNext('open', 'EACCES', { path, persistent: true })
    },
  ],
  [
    'a directory that may not be listed',
    DIR,
    'EACCES',
    (fs) => {
      fs.failNext('list', 'EACCES', { path: DIR, persistent: true })
    },
  ],
  [
    'a directory that the file system knows nothing of',
    DIR,
    'EIO',
    (fs) => {
      fs.failNext('stat', 'EIO', { path: DIR, persistent: true })
    },
  ],
]

describe.each(FAULTS)('%s', (_, path, code, strike) => {
  it.each<['clean' | 'crash', boolean]>([
    ['clean', false],
    ['clean', true],
    ['crash', false],
    ['crash', true],
  ])(
    'is reported as damage of that partition only, and changes no file of it: %s, readOnly %s',
    async (how, readOnly) => {
      const fs = await written(how)
      const before = filesOf(fs)
      const healthy = fs.fork()
      strike(fs)
      const opening = open(fs, { readOnly })
      await expect(opening).resolves.toBeInstanceOf(Broker)
      const broker = await opening
      expect(broker.recovery.damaged).toMatchObject([
        { topic: 'orders', partition: 0, error: { path, firstOffset: 0, cause: { code } } },
      ])
      const damage = broker.recovery.damaged[0]?.error
      expect(damage?.message).toContain(code)
      const orders = broker.topic('orders').partition(0)
      await expect(orders.read(0)).rejects.toBe(damage)
      const appending = orders.append({ value: 'x' })
      await expect(appending).rejects.toThrow(readOnly ? ReadOnlyError : CorruptRecordError)
      expect(await valuesIn(broker, 'users')).toEqual(FIVE)
      if (!readOnly) {
        const { baseOffset } = await broker.topic('users').partition(0).append({ value: 'more' })
        expect(baseOffset).toBe(5)
      }
      await broker.close()
      expect(filesOf(fs)).toEqual(before)

      // When it can be read again, nothing is missing.
      const next = readOnly ? healthy : fs.restart('process')
      const again = await open(next)
      expect(again.recovery).toMatchObject({ damaged: [], truncations: [] })
      if (!readOnly) expect(again.recovery.cleanShutdown).toBe(false)
      expect(await valuesIn(again, 'orders')).toEqual(FIVE)
      expect((await again.topic('orders').partition(0).append({ value: 'x' })).baseOffset).toBe(5)
    },
  )
})

it('a log file without write permission is damage of its partition only if it is opened for writing', async () => {
  const fs = await written('clean')
  const openFile = fs.open.bind(fs)
  fs.open = (path, mode) => {
    if (path !== LOG || mode === 'read') return openFile(path, mode)
    return Promise.reject(simulatedError('EACCES', 'open', path))
  }
  const broker = await open(fs)
  const reason = /^it cannot be opened: EACCES/
  expect(broker.recovery.damaged).toMatchObject([{ error: { path: LOG, reason } }])
  expect(await valuesIn(broker, 'users')).toEqual(FIVE)
  await broker.close()
  const reader = await open(fs, { readOnly: true })
  expect(reader.recovery.damaged).toEqual([])
  expect(await valuesIn(reader, 'orders')).toEqual(FIVE)
})

it('a producer snapshot with a bad sector is damage of its partition for the owner, not for a reader', async () => {
  const fs = await written('clean')
  const before = filesOf(fs)
  const snapshot = `${DIR}/${nameOf(5, 'snapshot')}`
  spoil(fs, snapshot)
  const broker = await open(fs)
  expect(broker.recovery.damaged).toMatchObject([{ error: { path: snapshot, reason: /EIO/ } }])
  expect(await valuesIn(broker, 'users')).toEqual(FIVE)
  await broker.close()
  expect(filesOf(fs)).toEqual(before)
  expect(await valuesIn(await open(fs, { readOnly: true }), 'orders')).toEqual(FIVE)
})

it('a reader reports a partition copied from another topic of the same name as damaged', async () => {
  const fs = await written('clean')
  const path = `${DIR}/partition.metadata`
  fs.writeFile(path, Buffer.from('version: 0\ntopic_id: AnotherTopicOfThatName'))
  const reader = await open(fs, { readOnly: true })
  expect(reader.recovery.damaged).toMatchObject([
    { topic: 'orders', partition: 0, error: { path, reason: /another topic id than.*: the/ } },
  ])
  const damage = reader.recovery.damaged[0]?.error
  await expect(reader.topic('orders').partition(0).read(0)).rejects.toBe(damage)
  expect(await valuesIn(reader, 'users')).toEqual(FIVE)
  await reader.close()
  // Without the file that says so, the directory is taken for what its name says.
  await fs.unlink(path)
  expect(await valuesIn(await open(fs, { readOnly: true }), 'orders')).toEqual(FIVE)
})

it('a read that fails once leaves its partition damaged until the next open', async () => {
  const fs = await written('crash')
  fs.failNext('read', 'EIO', { path: LOG })
  const broker = await open(fs)
  expect(broker.recovery.damaged).toMatchObject([{ error: { path: LOG } }])
  await broker.close()
  expect((await open(fs)).recovery.damaged).toEqual([])
})

describe('a partition with a segment that cannot be read', () => {
  const TWO_EACH = { segmentBytes: 200 }

  it.each<['clean' | 'crash']>([['clean'], ['crash']])(
    'is readable up to that segment, and no further: %s',
    async (how) => {
      const fs = await written(how, TWO_EACH)
      const [, second, last] = [...fs.snapshot().keys()]
        .filter((path) => path.startsWith(DIR) && path.endsWith('.log'))
        .sort()
      expect(last).toBe(`${DIR}/${nameOf(4)}`)
      spoil(fs, last ?? '')
      const broker = await open(fs)
      expect(await valuesIn(broker, 'orders')).toEqual(['v0', 'v1', 'v2', 'v3'])
      const orders = broker.topic('orders').partition(0)
      await expect(orders.read(4)).rejects.toThrow(/cannot be read: EIO/)
      expect(broker.recovery.damaged).toMatchObject([{ error: { path: last, firstOffset: 4 } }])
      await broker.close()

      const other = await written('crash', TWO_EACH)
      spoil(other, second ?? '')
      const { damaged } = (await open(other)).recovery
      expect(damaged).toMatchObject([{ error: { path: second, firstOffset: 2 } }])
    },
  )

  it.each([nameOf(2), nameOf(2, 'timeindex')])(
    'is readable up to that segment in a directory left by a Kafka broker if %s cannot be opened',
    async (name) => {
      const fs = await written('clean', TWO_EACH)
      await fs.unlink(`${DIR}/varve-segments`)
      const next = fs.fork()
      fs.failNext('open', 'EACCES', { path: `${DIR}/${name}`, persistent: true })
      const before = filesOf(fs)
      const broker = await open(fs)
      expect(broker.recovery.damaged).toMatchObject([
        { error: { path: `${DIR}/${name}`, firstOffset: 2 } },
      ])
      expect(await valuesIn(broker, 'orders')).toEqual(['v0', 'v1'])
      await broker.close()
      expect(filesOf(fs)).toEqual(before)
      const again = await open(next)
      expect(again.recovery.damaged).toEqual([])
      expect(await valuesIn(again, 'orders')).toEqual(FIVE)
    },
  )

  it.each([
    ...[nameOf(0), nameOf(2), nameOf(4), nameOf(2, 'index'), nameOf(0, 'timeindex')],
    ...[nameOf(4, 'snapshot'), 'varve-segments', 'leader-epoch-checkpoint'],
  ])('keeps the torn end that a crash has left until %s can be read', async (name) => {
    const fs = await written('crash', TWO_EACH)
    const last = `${DIR}/${nameOf(4)}`
    fs.writeFile(last, Buffer.concat([fs.readFile(last), Buffer.alloc(40, 7)]))
    const before = filesOf(fs)
    fs.failNext('open', 'EIO', { path: `${DIR}/${name}`, persistent: true })
    const broker = await open(fs)
    expect(broker.recovery.damaged).toMatchObject([{ error: { path: `${DIR}/${name}` } }])
    expect(broker.recovery.truncations).toEqual([])
    await broker.close()
    expect(filesOf(fs)).toEqual(before)
    const again = await open(fs.restart('process'))
    expect(again.recovery.truncations).toMatchObject([{ path: last }])
    expect(await valuesIn(again, 'orders')).toEqual(FIVE)
  })

  it('ends at a missing segment that comes before the unreadable one', async () => {
    const fs = await written('clean', TWO_EACH)
    await fs.unlink(`${DIR}/${nameOf(2)}`)
    spoil(fs, `${DIR}/${nameOf(4)}`)
    const { damaged } = (await open(fs)).recovery
    expect(damaged).toMatchObject([{ error: { firstOffset: 2, reason: /missing/ } }])
  })
})

describe('failures that do not concern a single partition', () => {
  it.each<[string, (fs: SimulatedFileSystem) => void]>([
    [
      'no descriptor',
      (fs) => {
        fs.failNext('open', 'EMFILE', { path: LOG, persistent: true })
      },
    ],
    [
      'no descriptor in the system',
      (fs) => {
        fs.failNext('list', 'ENFILE', { path: DIR, persistent: true })
      },
    ],
    [
      'no memory',
      (fs) => {
        fs.failNext('read', 'ENOMEM', { path: LOG, persistent: true })
      },
    ],
    [
      'a sync that fails',
      (fs) => {
        fs.failNext('datasync', 'EIO', { path: LOG })
      },
    ],
    [
      'a directory whose names cannot be synced',
      (fs) => {
        fs.failNext('syncDirectory', 'EIO', { path: DIR })
      },
    ],
  ])('make the open of the directory reject: %s', async (_, strike) => {
    const fs = await written('crash')
    strike(fs)
    await expect(open(fs)).rejects.toThrow(StorageError)
  })

  it('make createTopic reject, and a later attempt succeeds', async () => {
    const fs = new SimulatedFileSystem()
    const broker = await open(fs)
    fs.failNext('list', 'EIO', { path: DIR, persistent: true })
    await expect(broker.createTopic('orders')).rejects.toThrow(StorageError)
    fs.clearFaults()
    const topic = await broker.createTopic('orders')
    expect((await topic.partition(0).append({ value: 'v0' })).baseOffset).toBe(0)
  })
})
