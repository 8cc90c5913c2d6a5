import { describe, expect, it } from 'vitest'
import { CorruptRecordError } from '../../lib/errors.ts'
import { RecordBatch, stampBatch } from '../../lib/record/record-batch.ts'
import {
  decodeProducerSnapshot,
  encodeProducerSnapshot,
  type ProducerStateEntry,
} from '../../lib/storage/producer-snapshot.ts'
import { ProducerState } from '../../lib/storage/producer-state.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { buildEndTransactionMarker } from '../record/end-transaction-marker.ts'
import { batchOf } from './log-fixtures.ts'

// Both were written by Kafka's own classes.
const EMPTY = '000148674bc700000000'
const ONE =
  '00016bca0df300000001' +
  '00000000000010e100030000000e000000000000003c000000040000018bcfe56800000000090000000000000032'

const ENTRY: ProducerStateEntry = {
  producerId: 4321,
  producerEpoch: 3,
  lastSequence: 14,
  lastOffset: 60,
  offsetDelta: 4,
  timestamp: 1_700_000_000_000,
  coordinatorEpoch: 9,
  currentTxnFirstOffset: 50,
}

async function fixture(): Promise<{ fs: SimulatedFileSystem; state: ProducerState }> {
  const fs = new SimulatedFileSystem()
  await fs.createDirectory('/d')
  return { fs, state: new ProducerState(fs, '/d') }
}

function pathOf(offset: number): string {
  return `/d/${String(offset).padStart(20, '0')}.snapshot`
}

function marker(type: 'ABORT' | 'COMMIT', producerEpoch: number, baseOffset: number): RecordBatch {
  return new RecordBatch(
    buildEndTransactionMarker({
      type,
      baseOffset,
      partitionLeaderEpoch: 0,
      timestamp: 5000,
      producerId: 7,
      producerEpoch,
      coordinatorEpoch: 12,
    }),
  )
}

describe('the producer snapshot format', () => {
  it.each([
    ['no producer', [], EMPTY],
    ['one producer', [ENTRY], ONE],
  ])('encodes %s as the bytes that Kafka writes, and decodes them', (_, entries, hex) => {
    expect(encodeProducerSnapshot(entries).toString('hex')).toBe(hex)
    expect(decodeProducerSnapshot(Buffer.from(hex, 'hex'), 'p')).toEqual(entries)
  })

  it.each([
    ['too short for a header', EMPTY.slice(0, 18), '9 bytes are too few'],
    ['of another version', `0002${EMPTY.slice(4)}`, 'version is 2, not 1'],
    ['with an entry cut off', ONE.slice(0, -2), 'announces 1 entries, but has 55 bytes'],
    ['with a negative count', `${EMPTY.slice(0, 12)}ffffffff`, 'announces -1 entries'],
    ['with a bit flipped', `${ONE.slice(0, -1)}3`, 'the checksum does not match'],
  ])('throws for a snapshot %s', (_, hex, message) => {
    expect(() => decodeProducerSnapshot(Buffer.from(hex, 'hex'), 'p')).toThrow(message)
  })
})

describe('ProducerState.update', () => {
  it('keeps the last batch of each producer', async () => {
    const { state } = await fixture()
    const values = ['a', 'b']
    state.update(batchOf({ values, producerId: 7, producerEpoch: 1, baseSequence: 5 }))
    state.update(batchOf({ baseOffset: 2, producerId: 8, producerEpoch: 0, baseSequence: 0 }))
    const baseOffset = 3
    state.update(batchOf({ baseOffset, values, producerId: 7, producerEpoch: 1, baseSequence: 7 }))
    expect(state.entries.map(({ producerId }) => producerId)).toEqual([7, 8])
    expect(state.entries[0]).toMatchObject({
      producerEpoch: 1,
      lastSequence: 8,
      lastOffset: 4,
      offsetDelta: 1,
      coordinatorEpoch: -1,
      currentTxnFirstOffset: -1,
    })
  })

  it('skips batches without a producer', async () => {
    const { state } = await fixture()
    state.update(batchOf())
    expect(state.entries).toEqual([])
  })

  it('opens a transaction at its first batch and ends it at the marker', async () => {
    const { state } = await fixture()
    const batch = { producerId: 7, producerEpoch: 1, isTransactional: true }
    state.update(batchOf({ ...batch, baseOffset: 20, baseSequence: 0 }))
    state.update(batchOf({ ...batch, baseOffset: 21, baseSequence: 1 }))
    expect(state.entries[0]).toMatchObject({ currentTxnFirstOffset: 20, lastOffset: 21 })
    state.update(marker('COMMIT', 1, 22))
    expect(state.entries[0]).toMatchObject({
      currentTxnFirstOffset: -1,
      lastSequence: 1,
      lastOffset: 21,
      offsetDelta: 0,
      timestamp: 5000,
      coordinatorEpoch: 12,
    })
  })

  it('forgets the sequence when a marker raises the epoch', async () => {
    const { state } = await fixture()
    state.update(batchOf({ producerId: 7, producerEpoch: 1, baseSequence: 5 }))
    state.update(marker('ABORT', 2, 1))
    expect(state.entries[0]).toMatchObject({ producerEpoch: 2, lastSequence: -1, lastOffset: -1 })
  })

  it('keeps an entry for a producer of which only a marker of an unknown version is left', async () => {
    const { state } = await fixture()
    const strange = marker('COMMIT', 1, 0).buffer
    // The version in the record's key, which is 0 in all known records.
    strange.writeInt16BE(-1, strange.indexOf(Buffer.from([0, 0, 0, 1]), 61))
    stampBatch(strange, { baseOffset: 0, partitionLeaderEpoch: 0 })
    state.update(new RecordBatch(strange))
    expect(state.entries[0]).toMatchObject({ lastSequence: -1, coordinatorEpoch: -1 })
  })
})

describe('ProducerState with snapshot files', () => {
  it('loads the newest snapshot at or below an offset', async () => {
    const { fs, state } = await fixture()
    await state.takeSnapshot(5)
    state.update(batchOf({ baseOffset: 5, producerId: 7, producerEpoch: 0, baseSequence: 0 }))
    await state.takeSnapshot(10)
    expect(fs.readFile(pathOf(5)).toString('hex')).toBe(EMPTY)
    const again = new ProducerState(fs, '/d')
    expect(await again.load(9)).toBe(5)
    expect(again.entries).toEqual([])
    expect(await again.load(10)).toBe(10)
    expect(again.entries).toEqual(state.entries)
    expect(await again.load(4)).toBe(-1)
    expect(again.entries).toEqual([])
  })

  it('loads an older snapshot when the newest ones are damaged', async () => {
    const { fs, state } = await fixture()
    state.update(batchOf({ producerId: 7, producerEpoch: 0, baseSequence: 0 }))
    await state.takeSnapshot(5)
    fs.writeFile(pathOf(10), Buffer.from('damaged'))
    fs.writeFile(pathOf(11), Buffer.alloc(0))
    expect(await state.load(20)).toBe(5)
    expect(state.entries).toHaveLength(1)
  })

  it('rejects a load with EIO when the disk cannot be read', async () => {
    const { fs, state } = await fixture()
    await state.takeSnapshot(5)
    fs.failNext('read', 'EIO')
    await expect(state.load(5)).rejects.toMatchObject({ code: 'EIO' })
  })

  it('writes a snapshot again only if its state has changed or its file is missing', async () => {
    const { fs, state } = await fixture()
    expect(await state.takeSnapshot(5)).toBe(true)
    expect(await state.takeSnapshot(5)).toBe(false)
    state.update(batchOf({ producerId: 7, producerEpoch: 0, baseSequence: 0 }))
    expect(await state.takeSnapshot(5)).toBe(true)
    await state.removeSnapshots(() => false)
    expect(await state.takeSnapshot(5)).toBe(true)
    expect([...fs.snapshot().keys()]).toEqual([pathOf(5)])
  })

  it('writes a loaded snapshot again unless it was noted as synced', async () => {
    const { fs, state } = await fixture()
    await state.takeSnapshot(5)
    const again = new ProducerState(fs, '/d')
    await again.load(5)
    expect(await again.takeSnapshot(5)).toBe(true)
    await again.load(5)
    again.noteSnapshotSynced()
    expect(await again.takeSnapshot(5)).toBe(false)
  })

  it('removes unwanted snapshots and their .tmp files, and no other files', async () => {
    const { fs, state } = await fixture()
    for (const offset of [5, 10, 15]) await state.takeSnapshot(offset)
    fs.writeFile('/d/7.snapshot', Buffer.alloc(0))
    fs.writeFile(`${pathOf(8)}.deleted`, Buffer.alloc(0))
    // What a crash left of a snapshot whose name never recurs.
    fs.writeFile(`${pathOf(6)}.tmp`, Buffer.alloc(0))
    await state.removeSnapshots((offset) => offset === 10)
    const names = [...fs.restart('power', { unsynced: 'lost' }).snapshot().keys()]
    expect(names).toEqual([`${pathOf(8)}.deleted`, pathOf(10), '/d/7.snapshot'])
  })

  it('drops snapshots, ignores a missing file or a failed unlink, and writes a dropped one again', async () => {
    const { fs, state } = await fixture()
    await state.takeSnapshot(5)
    await state.takeSnapshot(10)
    await state.dropSnapshots([5, 7, 10])
    expect([...fs.snapshot().keys()]).toEqual([])
    expect(await state.takeSnapshot(10)).toBe(true)
    fs.failNext('unlink', 'EIO')
    await state.dropSnapshots([10])
    expect([...fs.snapshot().keys()]).toEqual([pathOf(10)])
  })
})

it('replays the batches from an offset on and skips those that begin before it', async () => {
  const { state } = await fixture()
  const producer = { producerId: 7, producerEpoch: 0 }
  const batches = [
    batchOf({ ...producer, baseOffset: 0, baseSequence: 0 }),
    batchOf({ ...producer, baseOffset: 1, baseSequence: 1 }),
    batchOf({ producerId: 8, producerEpoch: 0, baseOffset: 2, baseSequence: 0 }),
  ]
  const read = (offset: number): Promise<RecordBatch[]> =>
    Promise.resolve(batches.filter((batch) => batch.lastOffset >= offset - 1).slice(0, 2))
  await state.replay(2, (offset) => read(offset).then((all) => (offset > 2 ? [] : all)))
  expect(state.entries.map(({ producerId }) => producerId)).toEqual([8])
  await state.replay(-1, (offset) => Promise.resolve(batches.slice(offset, offset + 1)))
  expect(state.entries.map(({ lastSequence }) => lastSequence)).toEqual([0, 1])
})

it('names the file in the error about a damaged snapshot', () => {
  expect(() => decodeProducerSnapshot(Buffer.alloc(3), '/d/x')).toThrow(CorruptRecordError)
  expect(() => decodeProducerSnapshot(Buffer.alloc(3), '/d/x')).toThrow('/d/x')
})
