import { describe, expect, it } from 'vitest'
import { Broker } from '../lib/index.ts'
import { SimulatedFileSystem } from '../lib/testing/index.ts'
import { textsOf } from './helpers/partitions.ts'
import { onWindows } from './helpers/windows-file-system.ts'

const DIR = '/data'
/** Each record begins a segment. */
const SMALL = { segmentBytes: 100, flushMessages: 1 }

async function scene() {
  const disk = new SimulatedFileSystem()
  const fileSystem = onWindows(disk)
  const owner = await Broker.open(DIR, { fileSystem })
  return {
    disk,
    fileSystem,
    owner,
    openReader: () => Broker.open(DIR, { fileSystem, readOnly: true }),
  }
}

async function appendAll(broker: Broker, topic: string, values: readonly string[]): Promise<void> {
  const partition = broker.topic(topic).partition(0)
  for (const value of values) await partition.append({ key: `key-${value}`, value })
}

async function namesIn(disk: SimulatedFileSystem, dir: string): Promise<string[]> {
  return (await disk.list(dir)).map(({ name }) => name)
}

describe('a broker on Windows', () => {
  it('compacts segments that it has open, and accepts appends after that', async () => {
    const { disk, fileSystem, owner } = await scene()
    const topic = await owner.createTopic('users', { ...SMALL, cleanupPolicy: 'compact' })
    const partition = topic.partition(0)
    for (const value of ['a', 'b', 'c']) await partition.append({ key: 'same', value })
    await topic.compact()
    await partition.append({ key: 'other', value: 'd' })
    expect(textsOf(await partition.read(0))).toEqual(['c', 'd'])
    await owner.close()
    expect(
      (await namesIn(disk, `${DIR}/users-0`)).filter((name) => name.endsWith('.deleted')),
    ).toEqual([])
    const again = await Broker.open(DIR, { fileSystem })
    expect(again.recovery).toMatchObject({ cleanShutdown: true, damaged: [] })
    expect(textsOf(await again.topic('users').partition(0).read(0))).toEqual(['c', 'd'])
    await again.close()
  })

  it('opens while a reader has a deleted segment open, as does another reader', async () => {
    const { fileSystem, owner, openReader } = await scene()
    await owner.createTopic('q', SMALL)
    await appendAll(owner, 'q', ['a', 'b', 'c', 'd'])
    const reader = await openReader()
    expect(textsOf(await reader.topic('q').partition(0).read(0))).toEqual(['a', 'b', 'c', 'd'])
    await owner.topic('q').partition(0).deleteRecords(2)
    const second = await openReader()
    expect(second.recovery.damaged).toEqual([])
    await second.close()
    await owner.close()
    const again = await Broker.open(DIR, { fileSystem })
    expect(again.recovery).toMatchObject({ cleanShutdown: true, damaged: [] })
    expect(textsOf(await again.topic('q').partition(0).read(2))).toEqual(['c', 'd'])
    await reader.close()
    await again.close()
  })

  it('deletes a topic that a reader has open, and creates another of the same name', async () => {
    const { disk, owner, openReader } = await scene()
    await owner.createTopic('q', SMALL)
    await appendAll(owner, 'q', ['a', 'b'])
    const reader = await openReader()
    expect(textsOf(await reader.topic('q').partition(0).read(0))).toEqual(['a', 'b'])
    await owner.deleteTopic('q')
    expect(owner.topics()).toEqual([])
    await owner.createTopic('q', SMALL)
    await appendAll(owner, 'q', ['new'])
    expect(textsOf(await owner.topic('q').partition(0).read(0))).toEqual(['new'])
    await reader.close()
    expect((await namesIn(disk, `${DIR}/q-0`)).filter((name) => name.endsWith('.deleted'))).toEqual(
      [],
    )
    await owner.close()
  })

  it('deletes at the next open the renamed files that a crash has left', async () => {
    const { disk, owner, fileSystem } = await scene()
    await owner.createTopic('q', SMALL)
    await appendAll(owner, 'q', ['a', 'b'])
    await owner.close()
    const left = [
      '00000000000000000000.log',
      '00000000000000000000.timeindex',
      '00000000000000000009.log.swap',
    ]
    for (const name of left)
      disk.writeFile(`${DIR}/q-0/${name}.c0ffee11.deleted`, Buffer.from('gone'))
    const again = await Broker.open(DIR, { fileSystem })
    expect(textsOf(await again.topic('q').partition(0).read(0))).toEqual(['a', 'b'])
    expect((await namesIn(disk, `${DIR}/q-0`)).filter((name) => name.endsWith('.deleted'))).toEqual(
      [],
    )
    await again.close()
  })
})
