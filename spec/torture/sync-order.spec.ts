import { describe, expect, it } from 'vitest'
import {
  encodeOffsetCommitKey,
  encodeOffsetCommitValue,
} from '../../lib/broker/offset-commit-codec.ts'
import { DEFAULT_TOPIC_CONFIG } from '../../lib/config.ts'
import { stampBatch } from '../../lib/record/record-batch.ts'
import { encodeRecords } from '../../lib/storage/encode-records.ts'
import { SyncOrder } from './sync-order.ts'

const LOG = '/disk/data/a-0/00000000000000000000.log'
const NEXT_LOG = '/disk/data/a-0/00000000000000000002.log'
const COMMITS = '/disk/data/__consumer_offsets-0/00000000000000000000.log'

/** Returns the violations in a trace of these calls, without the number of the event. */
function violationsIn(...lines: readonly string[]): string[] {
  const order = new SyncOrder('/disk')
  for (const line of lines) order.read(`77 1.5 ${line}`)
  return order.violations.map((violation) => violation.replace(/^event \d+: /, ''))
}

function quoted(bytes: Buffer): string {
  return `"${[...bytes].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')}"`
}

async function batch(
  baseOffset: number,
  record: { key?: Buffer; value: Buffer },
  groupStart = false,
) {
  const [buffer] = await encodeRecords([record], DEFAULT_TOPIC_CONFIG, 0)
  if (buffer === undefined) throw new Error('no batch')
  stampBatch(buffer, { baseOffset, partitionLeaderEpoch: 0, groupStart })
  return buffer
}

const first = await batch(0, { value: Buffer.from('a "quoted") = 1\n') })
const second = await batch(1, { value: Buffer.from('b') })
const third = await batch(2, { value: Buffer.from('c') }, true)

const made = (path: string): string =>
  `openat(AT_FDCWD</>, "${path}", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 9<${path}>`
const wrote = (path: string, bytes: Buffer, position = 0): string =>
  `pwritev(9<${path}>, [{iov_base=${quoted(bytes)}, iov_len=${bytes.length}}], 1, ${position}) = ${bytes.length}`
const synced = (path: string): string => `fdatasync(9<${path}>) = 0`
const said = (text: string): string =>
  `write(1</dev/null>, "${text}\\n", ${text.length + 1}) = ${text.length + 1}`
const madeDirectory = (path: string): string => `mkdir("${path}", 0700) = 0`

/** A log that is durable. */
const setUp = [
  ...[madeDirectory('/disk/data'), synced('/disk'), madeDirectory('/disk/data/a-0')],
  ...[synced('/disk/data'), made(LOG), synced('/disk/data/a-0')],
]

describe('SyncOrder', () => {
  it('reports no violation for a trace that is in order', () => {
    const order = [wrote(LOG, first), synced(LOG), said('ACK a-0 0')]
    expect(violationsIn(...setUp, ...order)).toEqual([])
  })

  it('reports an acknowledgement without a sync', () => {
    expect(violationsIn(...setUp, wrote(LOG, first), said('ACK a-0 0'))).toEqual([
      'a-0 0 is acknowledged before it is synced',
    ])
  })

  it('reports an acknowledgement of a record that was never written', () => {
    expect(violationsIn(...setUp, said('ACK a-0 0'))).toEqual([
      'a-0 0 is acknowledged and was never written',
    ])
  })

  it('ignores a sync that began before the write had returned', () => {
    const { length } = first
    const order = new SyncOrder('/disk')
    for (const line of setUp) order.read(`1 ${line}`)
    order.read(`1 pwrite64(9<${LOG}>, ${quoted(first)}, ${length}, 0 <unfinished ...>`)
    order.read(`2 fdatasync(9<${LOG}> <unfinished ...>`)
    order.read(`1 <... pwrite64 resumed>) = ${length}`)
    order.read(`2 <... fdatasync resumed>) = 0`)
    order.read(`1 ${said('ACK a-0 0')}`)
    expect(order.violations).toEqual([
      expect.stringContaining('a-0 0 is acknowledged before it is synced'),
    ])
  })

  it('ignores a sync that has not returned, or of another file', () => {
    const order = [wrote(LOG, first), synced(NEXT_LOG), `fdatasync(9<${LOG}> <unfinished ...>`]
    expect(violationsIn(...setUp, ...order, said('ACK a-0 0'))).toEqual([
      'a-0 0 is acknowledged before it is synced',
    ])
  })

  it('reports a sync that failed', () => {
    const failed = `fdatasync(9<${LOG}>) = -1 EIO (Input/output error)`
    expect(violationsIn(...setUp, wrote(LOG, first), failed, said('ACK a-0 0'))).toEqual([
      `fdatasync of ${LOG} has failed`,
      'a-0 0 is acknowledged before it is synced',
    ])
  })

  it('reports a write of a group before the previous one is synced', () => {
    const order = [wrote(LOG, first), wrote(LOG, second, first.length), synced(LOG)]
    expect(violationsIn(...setUp, ...order)).toEqual([
      `a group is written to ${LOG} before the one in front of it is synced (R2)`,
    ])
    expect(violationsIn(...setUp, said('RELAXED a-0'), ...order)).toEqual([])
  })

  it('reports a record in a file whose name, or whose directory, is not durable', () => {
    const order = [made(LOG), wrote(LOG, first), synced(LOG), said('ACK a-0 0')]
    const withoutName = [...setUp.slice(0, 4), ...order]
    expect(violationsIn(...withoutName)).toEqual([
      `a-0 0 is acknowledged before ${LOG}, created, is synced (R3)`,
    ])
    expect(violationsIn(madeDirectory('/disk/data'), ...setUp.slice(2), ...order.slice(1))).toEqual(
      ['a-0 0 is acknowledged before /disk/data, created, is synced (R3)'],
    )
  })

  it('reports a write to a new segment before the old one is synced', () => {
    const roll = [
      made(NEXT_LOG),
      synced('/disk/data/a-0'),
      wrote(NEXT_LOG, third),
      synced(NEXT_LOG),
    ]
    const both = Buffer.concat([first, second])
    expect(violationsIn(...setUp, wrote(LOG, both), ...roll)).toEqual([
      `${NEXT_LOG} is written to while ${LOG} is not synced (R4)`,
      'offset 2 of a-0 starts a group, and what is before it is not durable',
    ])
    expect(violationsIn(...setUp, wrote(LOG, both), synced(LOG), ...roll)).toEqual([])
  })

  it('reports a file that is replaced before its content is synced, or whose name is synced too late', () => {
    const [from, to] = ['/disk/data/a-0/epochs.tmp', '/disk/data/a-0/epochs']
    const renamed = `rename("${from}", "${to}") = 0`
    const text = Buffer.from('0')
    expect(violationsIn(...setUp, made(from), wrote(from, text), renamed)).toEqual([
      `${from} is renamed before its content is synced (F3)`,
    ])
    const replaced = [made(from), wrote(from, text), synced(from), renamed]
    expect(violationsIn(...setUp, ...replaced, wrote(LOG, first))).toEqual([
      `${LOG} is written to before the name of ${to} is synced (F3)`,
    ])
    const inOrder = [...replaced, synced('/disk/data/a-0'), wrote(LOG, first)]
    expect(violationsIn(...setUp, ...inOrder)).toEqual([])
  })

  it('reports a commit that is ahead of its records, or acknowledged before it is synced', async () => {
    const key = encodeOffsetCommitKey({ groupId: 'g', topic: 'a', partition: 0 })
    const commit = { offset: 1, leaderEpoch: 0, metadata: '', commitTimestamp: 0 }
    const bytes = await batch(0, { key, value: encodeOffsetCommitValue(commit) })
    const place = [
      ...[madeDirectory('/disk/data/__consumer_offsets-0'), synced('/disk/data'), made(COMMITS)],
      synced('/disk/data/__consumer_offsets-0'),
    ]
    const committed = [wrote(COMMITS, bytes), synced(COMMITS), said('COMMIT a-0 1')]
    expect(violationsIn(...setUp, ...place, wrote(LOG, first), ...committed)).toEqual([
      'offset 1 of a-0 is committed before it is durable (R7)',
    ])
    expect(violationsIn(...setUp, ...place, wrote(LOG, first), synced(LOG), ...committed)).toEqual(
      [],
    )
    const unsynced = [wrote(COMMITS, bytes), said('COMMIT a-0 1')]
    expect(violationsIn(...setUp, ...place, ...unsynced)).toEqual([
      'a commit of a-0 1 is acknowledged before it is synced',
    ])
  })

  it('reports acknowledgements that are out of order', () => {
    const both = Buffer.concat([first, second])
    const order = [wrote(LOG, both), synced(LOG), said('ACK a-0 1'), said('ACK a-0 0')]
    expect(violationsIn(...setUp, ...order)).toEqual(['a-0 0 is acknowledged behind 1 (R5)'])
  })

  it('reports what is not durable when the trace says that everything is', () => {
    expect(violationsIn(...setUp, wrote(LOG, first), said('DONE close'))).toEqual([
      `DONE close, but not durable: content of ${LOG}`,
    ])
    const cut = `ftruncate(9<${LOG}>, 0) = 0`
    expect(violationsIn(...setUp, wrote(LOG, first), synced(LOG), cut, said('DONE'))).toEqual([
      `DONE, but not durable: content of ${LOG}`,
    ])
    expect(violationsIn(...setUp, `unlink("${LOG}") = 0`, said('DONE'))).toEqual([
      `DONE, but not durable: ${LOG} removed`,
    ])
  })

  it('reports a change before the removal of the clean shutdown file is durable', () => {
    const removed = `unlink("/disk/data/.kafka_cleanshutdown") = 0`
    expect(violationsIn(...setUp, removed, made('/disk/data/x'), synced('/disk/data'))).toEqual([
      '/disk/data/x changes before the removal of .kafka_cleanshutdown is synced (F26)',
    ])
    expect(violationsIn(...setUp, removed, synced('/disk/data'), made('/disk/data/x'))).toEqual([])
  })

  it('reports a clean shutdown file that is written too early', () => {
    const [from, to] = ['/disk/data/.kafka_cleanshutdown.tmp', '/disk/data/.kafka_cleanshutdown']
    const marked = [made(from), synced(from), `rename("${from}", "${to}") = 0`]
    expect(violationsIn(...setUp, wrote(LOG, first), ...marked)).toEqual([
      `marked as closed before: content of ${LOG} (R9)`,
    ])
    expect(violationsIn(...setUp, wrote(LOG, first), synced(LOG), ...marked)).toEqual([])
  })

  it('reports calls that it cannot follow, and throws for lines that it cannot parse', () => {
    expect(violationsIn('io_uring_setup(64, {flags=0}) = 5')).toEqual([
      'io_uring_setup hides calls from the trace',
    ])
    expect(violationsIn(...setUp, `write(9<${LOG}>, "a", 1) = 1`)).toEqual([
      `write of ${LOG} is not followed`,
    ])
    expect(() => violationsIn('gibberish')).toThrow('not a call')
    expect(() => violationsIn(...setUp, `pwrite64(9<${LOG}>, "a"..., 9, 0) = 9`)).toThrow(
      'raise -s',
    )
  })
})
