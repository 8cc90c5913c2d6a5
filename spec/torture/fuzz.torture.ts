import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import {
  decodeOffsetCommitKey,
  decodeOffsetCommitValue,
  encodeOffsetCommitKey,
  encodeOffsetCommitValue,
} from '../../lib/broker/offset-commit-codec.ts'
import { readMetaProperties } from '../../lib/broker/meta-properties.ts'
import { TopicRegistry } from '../../lib/broker/topic-registry.ts'
import { VarveError } from '../../lib/errors.ts'
import { decodeOwnerRecord } from '../../lib/platform/lock-owner.ts'
import { COMPRESSION_TYPES } from '../../lib/record/compression.ts'
import { crc32c } from '../../lib/record/crc32c.ts'
import { decodeRecords } from '../../lib/record/decode.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { RecordBatch, stampBatch, writeCrc } from '../../lib/record/record-batch.ts'
import { ByteReader } from '../../lib/record/varint.ts'
import { CheckpointFile } from '../../lib/storage/checkpoint-file.ts'
import { OffsetIndex } from '../../lib/storage/offset-index.ts'
import { readPartitionMetadata } from '../../lib/storage/partition-metadata.ts'
import {
  decodeProducerSnapshot,
  encodeProducerSnapshot,
} from '../../lib/storage/producer-snapshot.ts'
import { TimeIndex } from '../../lib/storage/time-index.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { report, runs, seed } from './size.ts'

// T13: whatever the bytes are, they are read, or refused with a documented error.

/** One change of some bytes. Positions and lengths are taken modulo the available range. */
type Mutation =
  | { readonly kind: 'flip'; readonly at: number; readonly bit: number }
  | { readonly kind: 'set'; readonly at: number; readonly bytes: readonly number[] }
  | { readonly kind: 'insert'; readonly at: number; readonly bytes: readonly number[] }
  | { readonly kind: 'remove' | 'repeat'; readonly at: number; readonly count: number }
  | { readonly kind: 'cut'; readonly at: number }

const at = fc.nat(0xffff)
/** Numbers at the limits of the fields, big-endian, and arbitrary bytes. */
const interesting = fc.oneof(
  fc
    .constantFrom(
      ...['00', 'ff', '7f', '80', '7fffffff', '80000000', 'ffffffff', '00000000', '7fff', '8000'],
      ...['7fffffffffffffff', '8000000000000000', '001fffffffffffff', '0020000000000000'],
      ...['ffffffff0f', 'ffffffff7f', 'ffffffffffffffffff01', '808080808080808080', '0a', '2e2e2f'],
    )
    .map((hex) => [...Buffer.from(hex, 'hex')]),
  fc.array(fc.nat(255), { minLength: 1, maxLength: 12 }),
)
const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ kind: fc.constant('flip' as const), at, bit: fc.nat(7) }),
  fc.record({ kind: fc.constantFrom('set' as const, 'insert' as const), at, bytes: interesting }),
  fc.record({ kind: fc.constantFrom('remove' as const, 'repeat' as const), at, count: fc.nat(64) }),
  fc.record({ kind: fc.constant('cut' as const), at }),
)
const mutations = fc.array(mutation, { maxLength: 5 })

function mutate(original: Buffer, changes: readonly Mutation[]): Buffer {
  return changes.reduce<Buffer>((bytes, change) => apply(bytes, change), Buffer.from(original))
}

function apply(bytes: Buffer, change: Mutation): Buffer {
  const position = change.at % (bytes.length + 1)
  const [before, after] = [bytes.subarray(0, position), bytes.subarray(position)]
  switch (change.kind) {
    case 'flip': {
      const copy = Buffer.from(bytes)
      copy[position] = (copy[position] ?? 0) ^ (1 << change.bit)
      return copy
    }
    case 'set':
      return Buffer.concat([before, Buffer.from(change.bytes), after.subarray(change.bytes.length)])
    case 'insert':
      return Buffer.concat([before, Buffer.from(change.bytes), after])
    case 'remove':
      return Buffer.concat([before, after.subarray(change.count)])
    case 'repeat':
      return Buffer.concat([before, after.subarray(0, change.count), after])
    case 'cut':
      return before
  }
}

interface Target {
  readonly name: string
  /** Share of all executions, in thousandths. */
  readonly share: number
  readonly corpus: readonly Buffer[]
  /** Corrects checksums and lengths, so that the code after those checks is reached. */
  readonly repair?: (bytes: Buffer) => Buffer
  readonly run: (bytes: Buffer) => unknown
}

const place = { topic: 't', partition: 0 }

async function batches(): Promise<Buffer[]> {
  const made: Buffer[] = []
  for (const compressionType of COMPRESSION_TYPES) {
    for (const isControl of [false, true]) {
      const builder = new RecordBatchBuilder({
        ...{ compressionType, isControl, producerId: 7, producerEpoch: 1, baseSequence: 3 },
      })
      const headers = [
        { key: 'h', value: Buffer.from('x') },
        { key: '__proto__', value: null },
      ]
      builder.append(1000, Buffer.from('key'), Buffer.from('value'), headers)
      builder.append(999, null, null)
      builder.append(2 ** 40, Buffer.alloc(0), Buffer.alloc(100))
      const bytes = await builder.build()
      stampBatch(bytes, { baseOffset: 5, partitionLeaderEpoch: 2, groupStart: true })
      made.push(bytes)
    }
  }
  return made
}

function repairBatch(bytes: Buffer): Buffer {
  if (bytes.length < 61) return bytes
  bytes.writeInt32BE(bytes.length - 12, 8)
  bytes.writeInt8(2, 16)
  writeCrc(bytes)
  return bytes
}

async function readBatch(bytes: Buffer): Promise<void> {
  const batch = new RecordBatch(bytes)
  batch.ensureValid()
  for (const record of await decodeRecords(batch, place)) {
    expect(record.offset).toBeGreaterThanOrEqual(batch.baseOffset)
    expect(record.offset).toBeLessThanOrEqual(batch.lastOffset)
  }
}

function readNumbers(bytes: Buffer): void {
  const reader = new ByteReader(bytes)
  while (reader.remaining > 0) {
    const kind = reader.readUInt8() & 3
    if (kind === 0) expect(Number.isInteger(reader.readVarint())).toBe(true)
    else if (kind === 1) expect(Number.isSafeInteger(reader.readVarlong())).toBe(true)
    else if (kind === 2) reader.readBytes(reader.readVarint())
    else reader.readString(reader.readInt16())
  }
}

/** A target that reads one file. */
function fileTarget(
  name: string,
  corpus: readonly (Buffer | string)[],
  read: (fileSystem: SimulatedFileSystem) => Promise<unknown>,
  rest: Partial<Target> = {},
): Target {
  const path = `/d/${name}`
  return {
    ...{ name, share: 60, corpus: corpus.map((each) => Buffer.from(each)), ...rest },
    run: async (bytes) => {
      const fileSystem = new SimulatedFileSystem()
      fileSystem.writeFile(path, bytes)
      await read(fileSystem)
      expect(fileSystem.readFile(path).equals(bytes)).toBe(true)
    },
  }
}

function repairTopics(bytes: Buffer): Buffer {
  const body = bytes.subarray(bytes.indexOf('\n') + 1)
  const checksum = crc32c(body).toString(16).padStart(8, '0')
  return Buffer.concat([Buffer.from(`varve-topics 1 ${checksum}\n`), body])
}

function repairSnapshot(bytes: Buffer): Buffer {
  if (bytes.length < 10) return bytes
  bytes.writeInt16BE(1, 0)
  bytes.writeInt32BE(Math.floor((bytes.length - 10) / 46), 6)
  bytes.writeUInt32BE(crc32c(bytes, 6), 2)
  return bytes
}

const producer = {
  ...{ producerId: 7, producerEpoch: 1, lastSequence: 3, lastOffset: 9, offsetDelta: 1 },
  ...{ timestamp: 1000, coordinatorEpoch: -1, currentTxnFirstOffset: -1 },
}
const topicEntry = {
  ...{ name: 'orders', id: 'abcdefghijklmnopqrstuv', partitionCount: 2, state: 'active' },
  config: { segmentBytes: 1000, cleanupPolicy: 'compact' },
}

async function targets(): Promise<Target[]> {
  const key = encodeOffsetCommitKey({ groupId: 'g', topic: 't', partition: 1 })
  const value = encodeOffsetCommitValue({
    ...{ offset: 5, leaderEpoch: 1, metadata: 'm', commitTimestamp: 1000 },
  })
  const index = { baseOffset: 10, maxIndexBytes: 1000 }
  return [
    { name: 'batch', share: 250, corpus: await batches(), repair: repairBatch, run: readBatch },
    {
      ...{ name: 'varint', share: 150, corpus: [Buffer.alloc(20, 0x80), Buffer.from('0102')] },
      run: readNumbers,
    },
    { name: 'commit key', share: 100, corpus: [key], run: decodeOffsetCommitKey },
    { name: 'commit value', share: 100, corpus: [value], run: decodeOffsetCommitValue },
    {
      ...{ name: 'producer snapshot', share: 60, repair: repairSnapshot },
      corpus: [encodeProducerSnapshot([]), encodeProducerSnapshot([producer, producer])],
      run: (bytes) => decodeProducerSnapshot(bytes, '/x'),
    },
    { name: 'owner record', share: 60, corpus: [Buffer.from('{"pid":1}')], run: decodeOwnerRecord },
    fileTarget(
      'varve-topics',
      [`varve-topics 1 00000000\n${JSON.stringify({ topics: [topicEntry] })}\n`],
      (fileSystem) => new TopicRegistry(fileSystem, '/d').load(),
      { repair: repairTopics },
    ),
    fileTarget('meta.properties', ['version=1\ncluster.id=abc\nnode.id=1\n'], (fileSystem) =>
      readMetaProperties(fileSystem, '/d'),
    ),
    fileTarget('checkpoint', ['0\n2\na 0 12\nb 1 0\n'], (fileSystem) =>
      new CheckpointFile(fileSystem, '/d/checkpoint', 3).read(),
    ),
    fileTarget('partition.metadata', ['version: 0\ntopic_id: abcdefghijklmnopqrstuv'], (disk) =>
      readPartitionMetadata(disk, '/d'),
    ),
    fileTarget(
      '1.index',
      [Buffer.from('000000030000009300000004000001290000000000000000', 'hex')],
      async (fileSystem) => {
        const loaded = new OffsetIndex({ fileSystem, path: '/d/1.index', ...index })
        await loaded.load()
        expect(loaded.slotOf(12)).toBeLessThan(loaded.count)
        expect(loaded.lastEntry.position).toBeGreaterThanOrEqual(0)
      },
    ),
    fileTarget(
      '1.timeindex',
      [Buffer.from('0000018bcfe56809000000030000018bcfe5680b00000005', 'hex')],
      async (fileSystem) => {
        const loaded = new TimeIndex({ fileSystem, path: '/d/1.timeindex', ...index })
        await loaded.load()
        expect(loaded.count).toBeLessThanOrEqual(2 ** 20)
      },
    ),
  ]
}

/** Only documented errors may occur. */
function isDocumented(error: unknown): boolean {
  return error instanceof VarveError
}

const EXECUTIONS = runs({ short: 300_000, full: 50_000_000 })

describe('T13', async () => {
  it.each(await targets())(
    '$name: reads any bytes or rejects them with a documented error',
    async (target) => {
      const numRuns = Math.max(1, Math.floor((EXECUTIONS * target.share) / 1150))
      const { corpus, repair, run, name } = target
      let [refused, slowestMs] = [0, 0]
      const any = fc.oneof(
        {
          weight: 1,
          arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
        },
        {
          weight: 9,
          arbitrary: fc
            .tuple(fc.constantFrom(...corpus), mutations)
            .map(([original, changes]) => mutate(original, changes)),
        },
      )
      await fc.assert(
        fc.asyncProperty(any, fc.boolean(), async (bytes, isRepaired) => {
          const start = performance.now()
          try {
            await run(isRepaired && repair !== undefined ? repair(Buffer.from(bytes)) : bytes)
          } catch (error) {
            if (!isDocumented(error)) throw error
            refused += 1
          }
          slowestMs = Math.max(slowestMs, performance.now() - start)
        }),
        { numRuns, seed },
      )
      report(`fuzz ${name}`, { executions: numRuns, refused, slowestMs: Math.round(slowestMs) })
      // A target that refuses everything, or nothing, tests nothing.
      expect(refused).toBeLessThan(numRuns)
    },
  )
})

/** The directory of a closed broker, with every kind of file that one can hold. */
async function directory(isClean: boolean): Promise<SimulatedFileSystem> {
  const fileSystem = new SimulatedFileSystem()
  const clock = new ManualClock(1_700_000_000_000)
  const broker = await Broker.open('/data', { fileSystem, clock })
  const topic = await broker.createTopic('orders', { segmentBytes: 300, indexIntervalBytes: 32 })
  for (let each = 0; each < 6; each += 1) await topic.partition(0).append({ value: `v${each}` })
  await topic.partition(0).append({ value: 'z'.repeat(100) })
  const consumer = broker.consumer({ groupId: 'g', enableAutoCommit: false })
  consumer.assign([{ topic: 'orders', partition: 0 }])
  await consumer.commit([{ topic: 'orders', partition: 0, offset: 2 }])
  if (isClean) await broker.close()
  fileSystem.writeFile('/data/orders-0/notes.txt', Buffer.from('precious'))
  return fileSystem.restart('process')
}

describe('T13, whole directories', () => {
  it('open or are rejected with a documented error, and return only records that were written', async () => {
    const numRuns = runs({ short: 2000, full: 200_000 })
    const bases = [await directory(true), await directory(false)]
    const written = new Set(['v0', 'v1', 'v2', 'v3', 'v4', 'v5', 'z'.repeat(100)])
    const paths = [...new Set(bases.flatMap((base) => [...base.snapshot().keys()]))].filter(
      (path) => !path.endsWith('notes.txt'),
    )
    const edit = fc.record({
      path: fc.constantFrom(...paths),
      changes: mutations,
      to: fc.option(fc.constantFrom(...paths)),
    })
    let [refused, damaged] = [0, 0]
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1),
        fc.array(edit, { minLength: 1, maxLength: 3 }),
        fc.boolean(),
        async (base, edits, readOnly) => {
          const fileSystem = (bases[base] as SimulatedFileSystem).fork({ seed: 1 })
          for (const { path, changes, to } of edits) {
            const before = fileSystem.snapshot().get(path)
            if (before !== undefined) fileSystem.writeFile(to ?? path, mutate(before, changes))
          }
          const isMoved = edits.some(({ to }) => to !== null)
          const clock = new ManualClock(1_700_000_000_000)
          try {
            const broker = await Broker.open('/data', { fileSystem, clock, readOnly })
            for (const topic of broker.topics()) {
              for (const partition of topic.partitions) {
                try {
                  for await (const { value } of partition.records({ until: 'end' })) {
                    // Any other text would have passed a checksum by chance, unless it is from
                    // another file.
                    if (topic.name === 'orders' && value !== null) {
                      expect(isMoved || written.has(String(value))).toBe(true)
                    }
                  }
                } catch (error) {
                  if (!isDocumented(error)) throw error
                  damaged += 1
                }
              }
            }
            await broker.close().catch((error: unknown) => {
              if (!isDocumented(error)) throw error
            })
          } catch (error) {
            if (!isDocumented(error)) throw error
            refused += 1
          }
          expect(String(fileSystem.readFile('/data/orders-0/notes.txt'))).toBe('precious')
        },
      ),
      { numRuns, seed },
    )
    report('fuzz directories', { executions: numRuns, refused, damaged })
    expect(refused).toBeLessThan(numRuns)
  })
})
