import { describe, expect, it } from 'vitest'
import type { Partition } from '../../lib/broker/partition.ts'
import { resolveTopicConfig } from '../../lib/config.ts'
import type { StoredRecord } from '../../lib/record/decode.ts'
import { eventually } from '../helpers/eventually.ts'
import { heldSyncs } from '../helpers/held-syncs.ts'
import { openPartition } from '../helpers/partitions.ts'
import { settle } from '../helpers/settle.ts'
import { ONE, openTopic, outcomeOf, VALUE } from './capped-topic.ts'

const COMPRESSIONS = ['none', 'gzip'] as const

const asText = ({ offset, key, value }: StoredRecord): string =>
  `${offset}:${String(key ?? '')}=${String(value)}`

async function contentOf(partition: Partition, fromOffset: number): Promise<string[]> {
  const texts: string[] = []
  for (let offset = fromOffset; offset < partition.highWatermark;) {
    const records = await partition.read(offset)
    texts.push(...records.map(asText))
    offset = (records.at(-1)?.offset ?? partition.highWatermark) + 1
  }
  return texts
}

/** A partition with an append whose sync is held, so that further appends queue behind it. */
async function openHeld(compressionType: 'uncompressed' | 'gzip'): Promise<{
  partition: Partition
  first: Promise<unknown>
  compact: () => void
  release: () => void
}> {
  const { fileSystem, hold } = heldSyncs()
  const partition = await openPartition({ fileSystem, config: { compressionType } })
  const release = hold()
  const first = partition.append({ value: 'first' })
  // Another thread compresses it.
  await eventually(() => {
    expect(partition.logEndOffset).toBe(1)
  })
  const compact = (): void => {
    partition.configure(resolveTopicConfig({ cleanupPolicy: 'compact', compressionType }))
  }
  return { partition, first, compact, release }
}

/** The offset of an append, or the code of the error that refused it. */
const placeOf = (append: Promise<{ readonly baseOffset: number }>): Promise<unknown> =>
  append.then(
    ({ baseOffset }) => baseOffset,
    (error: unknown) => (error as { code: string }).code,
  )

describe('records without a key that wait when their topic becomes compacted', () => {
  it.each(COMPRESSIONS)(
    'are rejected in their turn, while those with a key are written (%s)',
    async (compression) => {
      const compressionType = compression === 'none' ? 'uncompressed' : compression
      const { partition, first, compact, release } = await openHeld(compressionType)
      const appends = [
        partition.append({ key: 'a', value: '1' }),
        partition.append({ value: 'without' }),
        partition.append({ key: 'b', value: '2' }, { acks: 1 }),
        partition.append([{ key: 'c', value: '3' }, { value: 'without' }]),
        partition.append([{ key: 'd', value: '4' }, { key: 'e' }]),
        partition.append({ value: 'without' }, { acks: 1 }),
        partition.append({ key: 'f', value: '5', headers: { h: 'x' }, timestamp: 7 }),
      ]
      const places = appends.map(placeOf)
      compact()
      release()
      // It was written before.
      expect(await first).toMatchObject({ baseOffset: 0 })
      const refused = 'INVALID_RECORD'
      expect(await Promise.all(places)).toEqual([1, refused, 2, refused, 3, refused, 5])
      const records = ['1:a=1', '2:b=2', '3:d=4', '4:e=null', '5:f=5']
      expect(await contentOf(partition, 1)).toEqual(records)
      expect((await partition.read(5))[0]).toMatchObject({
        timestamp: 7,
        headers: [{ key: 'h', value: Buffer.from('x') }],
      })
      expect(await partition.append({ key: 'g' })).toMatchObject({ baseOffset: 6 })
      await partition.log.close()
    },
  )

  it('are rejected at once if they are the next to get room, or else in their turn', async () => {
    const { broker, partition } = await openTopic({ maxBytes: 2 * ONE, whenFull: 'wait' })
    const topic = broker.topic('orders')
    for (let each = 0; each < 2; each += 1) await partition.append({ value: VALUE })
    const appends = [
      partition.append({ value: 'without' }),
      partition.append({ key: 'a', value: '1' }),
      partition.append([{ value: 'without' }, { key: 'b', value: 'beside' }]),
      partition.append([{ key: 'b', value: '2' }, { key: 'c' }]),
    ]
    const places: unknown[] = []
    for (const [slot, append] of appends.entries()) {
      void placeOf(append).then((place) => (places[slot] = place))
    }
    await settle()
    await topic.alter({ cleanupPolicy: 'compact' })
    await settle()
    // The appends behind it are refused in turn.
    expect(places).toEqual(['INVALID_RECORD'])
    await topic.alter({ maxBytes: -1 })
    await Promise.allSettled(appends)
    expect(places).toEqual(['INVALID_RECORD', 2, 'INVALID_RECORD', 3])
    expect(await contentOf(partition, 2)).toEqual(['2:a=1', '3:b=2', '4:c=null'])
    await broker.close()
  })

  it.each(COMPRESSIONS)(
    'are rejected if a producer sent them, while the others of their batches keep waiting (%s)',
    async (compressionType) => {
      const { broker, partition } = await openTopic({ maxBytes: 2 * ONE, whenFull: 'wait' })
      const topic = broker.topic('orders')
      for (let each = 0; each < 2; each += 1) await partition.append({ value: VALUE })
      const producer = broker.producer({ compressionType, batchRecords: 3 })
      const settled: string[] = []
      for (const key of ['a', null, 'b', null, 'c', 'd', null, null, null, 'e']) {
        producer.send({ topic: 'orders', key, value: 'v' }, (error, place) => {
          const outcome = error === null ? place?.offset : (error as { code?: string }).code
          settled.push(`${key} ${outcome}`)
        })
      }
      await settle()
      await topic.alter({ cleanupPolicy: 'compact' })
      await settle()
      expect(settled).toEqual([])
      await topic.alter({ maxBytes: -1 })
      await producer.flush()
      const refused = Array.from({ length: 5 }, () => 'null INVALID_RECORD')
      expect([...settled].sort()).toEqual(['a 2', 'b 3', 'c 4', 'd 5', 'e 6', ...refused])
      const keys = ['2:a=v', '3:b=v', '4:c=v', '5:d=v', '6:e=v']
      expect(await contentOf(partition, 2)).toEqual(keys)
      expect(producer.usedBytes).toBe(0)
      await broker.close()
    },
  )

  it('are rejected even if their write already waits behind a roll', async () => {
    const { fileSystem, hold } = heldSyncs()
    const partition = await openPartition({ fileSystem })
    await partition.append({ value: 'first' })
    const release = hold()
    const rolled = partition.log.roll()
    await settle()
    const outcomes = [
      outcomeOf(partition.append({ value: 'without' })),
      outcomeOf(partition.append({ key: 'a', value: '1' })),
      outcomeOf(partition.append([{ key: 'b' }, { value: 'without' }])),
    ]
    // By now they are queued behind the roll.
    await settle()
    partition.configure(resolveTopicConfig({ cleanupPolicy: 'compact' }))
    release()
    await rolled
    expect(await Promise.all(outcomes)).toEqual(['INVALID_RECORD', 'taken', 'INVALID_RECORD'])
    expect(await contentOf(partition, 1)).toEqual(['1:a=1'])
    await partition.log.close()
  })

  it('are rejected even if they were appended to the log itself and wait behind a roll', async () => {
    const { fileSystem, hold } = heldSyncs()
    const partition = await openPartition({ fileSystem })
    await partition.append({ value: 'first' })
    const release = hold()
    const rolled = partition.log.roll()
    await settle()
    const place = placeOf(partition.log.append([{ value: 'without' }]))
    await settle()
    partition.configure(resolveTopicConfig({ cleanupPolicy: 'compact' }))
    release()
    await rolled
    expect(await place).toBe('INVALID_RECORD')
  })
})
