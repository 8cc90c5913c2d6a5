import { describe, expect, it } from 'vitest'
import { Log } from '../../lib/storage/log.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const DIR = '/data/orders-0'
const config = { segmentBytes: 400, indexIntervalBytes: 100 }

/** The bytes of a file in hexadecimal, or its text. */
function hex(fileSystem: SimulatedFileSystem, name: string): string {
  return fileSystem.readFile(`${DIR}/${name}`).toString('hex')
}

/** A log of five batches in two segments, closed cleanly. */
async function writtenLog(): Promise<SimulatedFileSystem> {
  const fileSystem = new SimulatedFileSystem()
  await fileSystem.createDirectory(DIR)
  const log = await Log.open(DIR, { fileSystem, clock: new ManualClock(), config })
  await log.append([
    { key: 'k', value: 'a', timestamp: 1_700_000_000_000 },
    { value: 'bc', timestamp: 1_700_000_000_005 },
  ])
  await log.append([{ value: null, timestamp: 1_700_000_000_001 }])
  await log.append([{ value: 'x'.repeat(80), timestamp: 1_700_000_000_009 }])
  await log.append([{ value: 'd', timestamp: 1_700_000_000_009 }])
  await log.append([
    { value: 'e', headers: [{ key: 'h', value: 'v' }], timestamp: 1_700_000_000_007 },
  ])
  await log.close()
  return fileSystem
}

describe('the files of a log', () => {
  it('are byte for byte what Kafka reads', async () => {
    const fileSystem = await writtenLog()
    expect((await fileSystem.list(DIR)).map((entry) => entry.name)).toEqual([
      '.kafka_cleanshutdown',
      '00000000000000000000.index',
      '00000000000000000000.log',
      '00000000000000000000.timeindex',
      '00000000000000000005.index',
      '00000000000000000005.log',
      '00000000000000000005.snapshot',
      '00000000000000000005.timeindex',
      '00000000000000000006.snapshot',
      'leader-epoch-checkpoint',
      'log-start-offset-checkpoint',
      'recovery-point-offset-checkpoint',
      'varve-segments',
    ])
    // Base offset, length, epoch, magic, CRC; then attributes with the group start bit, last offset
    // delta, first and largest timestamp, no producer, and two records.
    expect(hex(fileSystem, '00000000000000000000.log').slice(0, 2 * 79)).toBe(
      '0000000000000000' +
        '00000043' +
        '00000000' +
        '02' +
        '570b2462' +
        '4000' +
        '00000001' +
        '0000018bcfe56800' +
        '0000018bcfe56805' +
        'ffffffffffffffff' +
        'ffff' +
        'ffffffff' +
        '00000002' +
        '10000000026b026100' +
        '10000a020104626300',
    )
    // The first batch never has an entry. The third begins after 79 + 68 bytes, which is more than
    // the interval, so it has one: its last offset and its position. So has the fourth.
    expect(hex(fileSystem, '00000000000000000000.index')).toBe(
      '0000000300000093' + '0000000400000129',
    )
    // The largest timestamp so far, and the last offset of the batch that has it.
    expect(hex(fileSystem, '00000000000000000000.timeindex')).toBe('0000018bcfe5680900000003')
    expect(hex(fileSystem, '00000000000000000005.index')).toBe('')
    expect(hex(fileSystem, '00000000000000000005.timeindex')).toBe('0000018bcfe5680700000000')
    // No producer: version 1, checksum, no entry.
    expect(hex(fileSystem, '00000000000000000005.snapshot')).toBe('000148674bc700000000')
    const text = (name: string): string => fileSystem.readFile(`${DIR}/${name}`).toString()
    expect(text('leader-epoch-checkpoint')).toBe('0\n1\n0 0\n')
    expect(text('recovery-point-offset-checkpoint')).toBe('0\n1\norders 0 6\n')
    expect(text('log-start-offset-checkpoint')).toBe('0\n0\n')
  })
})
