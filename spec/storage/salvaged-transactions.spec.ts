import { expect, it } from 'vitest'
import { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { spoil } from '../helpers/bad-sectors.ts'
import { buildEndTransactionMarker } from '../record/end-transaction-marker.ts'
import { bytesOf, DIR, NOW, pathOf } from './log-fixtures.ts'

const TARGET = '/saved/orders-0'

/** The entry of a transaction with one record before its marker. */
function entry(producerId: number, lastOffset: number): Buffer {
  const bytes = Buffer.alloc(34)
  const numbers = [producerId, lastOffset - 1, lastOffset, lastOffset + 1]
  for (const [slot, value] of numbers.entries()) bytes.writeBigInt64BE(BigInt(value), 2 + 8 * slot)
  return bytes
}

/** A record, and an aborted transaction of one record with its marker. */
function segment(baseOffset: number, producerId: number): Buffer[] {
  const producer = { producerId, producerEpoch: 0 }
  return [
    bytesOf({ baseOffset }),
    bytesOf({ ...producer, baseOffset: baseOffset + 1, baseSequence: 0, isTransactional: true }),
    buildEndTransactionMarker({
      ...{ ...producer, baseOffset: baseOffset + 2, type: 'ABORT', timestamp: NOW },
      ...{ partitionLeaderEpoch: 0, coordinatorEpoch: 0 },
    }),
  ]
}

const FIRST = segment(0, 7)
const MARKER_POSITION = (FIRST[0]?.length ?? 0) + (FIRST[1]?.length ?? 0)

/** As a broker leaves it: transactions of two producers in two segments. */
function brokersLog(): SimulatedFileSystem {
  const fs = new SimulatedFileSystem({ seed: 1 })
  fs.writeFile(pathOf(0), Buffer.concat(FIRST))
  fs.writeFile(pathOf(3), Buffer.concat(segment(3, 8)))
  fs.writeFile(pathOf(0, 'txnindex'), entry(7, 2))
  fs.writeFile(pathOf(3, 'txnindex'), entry(8, 5))
  return fs
}

it.each<[string, (fs: SimulatedFileSystem) => unknown, number[]]>([
  ['nothing', () => undefined, [2, 5]],
  [
    'a record of one',
    (fs) => {
      fs.flipBit(pathOf(0), (FIRST[0]?.length ?? 0) + 66, 1)
    },
    [2, 5],
  ],
  [
    'the marker of one',
    (fs) => {
      fs.flipBit(pathOf(0), MARKER_POSITION + 66, 1)
    },
    [5],
  ],
  ['a segment', (fs) => fs.unlink(pathOf(0)), [5]],
  [
    'the sectors of what is noted of one',
    (fs) => {
      spoil(fs, pathOf(0, 'txnindex'), 0, 34)
    },
    [5],
  ],
])(
  'salvages the entries of readable transaction indexes whose abort markers it saves; lost is %s',
  async (_, lose, ends) => {
    const fs = brokersLog()
    await lose(fs)
    await Log.salvage(DIR, TARGET, { fileSystem: fs })
    for (const disk of [fs, fs.restart('power', { unsynced: 'lost', seed: 1 })]) {
      const noted: number[] = []
      for (const [path, bytes] of disk.snapshot()) {
        if (!path.startsWith(TARGET) || !path.endsWith('.txnindex')) continue
        noted.push(Number(Buffer.from(bytes).readBigInt64BE(18)))
      }
      expect(noted.sort((a, b) => a - b)).toEqual(ends)
    }
  },
)
