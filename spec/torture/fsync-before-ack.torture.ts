import { spawn } from 'node:child_process'
import {
  createReadStream,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, it, onTestFinished } from 'vitest'
import { compiledUrl } from '../helpers/compiled-lib.ts'
import { whatIsMissing } from './requirements.ts'
import { report, runs, seed } from './size.ts'
import { TRACED_CALLS } from './strace-lines.ts'
import { SyncOrder } from './sync-order.ts'

const missing = whatIsMissing('linux', 'strace')
const ACKNOWLEDGEMENTS = runs({ short: 1000, full: 100_000 })
/** Acknowledgements between an open and a close of the directory. */
const PER_STAY = 250

/**
 * Appends in every possible way to topics that roll all the time, commits, deletes and creates, and
 * prints what it was told. Every fourth stay ends by a kill instead of a close.
 */
function childSource(): string {
  return `
  import { writeSync } from 'node:fs'
  import { Broker } from ${JSON.stringify(compiledUrl('index.ts'))}
  import { SeededRandom } from ${JSON.stringify(compiledUrl('testing/seeded-random.ts'))}
  const [dir, seed, count] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
  const random = new SeededRandom(seed)
  const say = (line) => writeSync(1, line + '\\n')
  const isKilled = process.argv[5] === '1'
  const broker = await Broker.open(dir)
  say('RELAXED relaxed-0')
  const small = { segmentBytes: 8192, indexIntervalBytes: 256, ifNotExists: true }
  const orders = await broker.createTopic('orders', { ...small, partitions: 2 })
  const sent = await broker.createTopic('sent', { ...small, partitions: 2 })
  const relaxed = await broker.createTopic('relaxed', { ...small, flushMessages: 64 })
  say('DONE open and create')
  const producer = broker.producer({ batchSize: 600 })
  const consumer = broker.consumer({ groupId: 'billing', enableAutoCommit: false })
  consumer.assign(['orders', 'relaxed'].map((topic) => ({ topic, partition: 0 })))
  const value = () => Buffer.alloc(1 + random.integer(200), 97 + random.integer(26))
  let acknowledged = 0
  while (acknowledged < count) {
    const under = []
    for (let i = random.integer(24); i >= 0; i -= 1) {
      const partition = random.integer(2)
      under.push(orders.partition(partition).append({ value: value() }).then(({ baseOffset }) => {
        say('ACK orders-' + partition + ' ' + baseOffset)
        acknowledged += 1
      }))
      under.push(producer.send({ topic: 'sent', partition, value: value() }).then(({ offset }) => {
        say('ACK sent-' + partition + ' ' + offset)
        acknowledged += 1
      }))
      under.push(relaxed.partition(0).append({ value: value() }, { acks: random.pick([1, 'all']) }).then(({ baseOffset }) => {
        say('WRITTEN relaxed-0 ' + baseOffset)
      }))
    }
    if (random.chance(0.3)) {
      const topic = random.pick([orders, relaxed])
      const { logStartOffset, highWatermark } = topic.partition(0)
      const offset = logStartOffset + random.integer(highWatermark - logStartOffset + 1)
      under.push(consumer.commit([{ topic: topic.name, partition: 0, offset }]).then(() => {
        say('COMMIT ' + topic.name + '-0 ' + offset)
      }))
    }
    await Promise.all(under)
    if (random.chance(0.05)) {
      await relaxed.partition(0).flush()
      const { logStartOffset, highWatermark } = orders.partition(0)
      await orders.partition(0).deleteRecords(logStartOffset + random.integer(highWatermark - logStartOffset + 1))
    }
    if (random.chance(0.03)) {
      await broker.createTopic('passing', { partitions: 2 })
      await broker.topic('passing').partition(1).append({ value: 'x' })
      await broker.topic('passing').addPartitions(3)
      await broker.topic('relaxed').partition(0).flush()
      await broker.deleteTopic('passing')
    }
    if (random.chance(0.05)) await orders.partition(1).log.checkpoint()
  }
  if (isKilled) process.kill(process.pid, 'SIGKILL')
  await broker.close()
  say('DONE close')
  `
}

async function trace(script: string, data: string, output: string): Promise<void> {
  const stays = Math.ceil(ACKNOWLEDGEMENTS / PER_STAY)
  const loop = `i=0; while [ $i -lt ${stays} ]; do "$0" "$1" "$2" $((${seed} + i)) ${PER_STAY} $((i % 4)) || [ $? -eq 137 ] || exit 1; i=$((i+1)); done`
  const options = ['-f', '--seccomp-bpf', '-y', '-s', '4000000', '-o', output]
  const child = spawn(
    'strace',
    [
      ...options,
      '-e',
      `trace=${TRACED_CALLS.join()}`,
      'sh',
      '-c',
      loop,
      process.execPath,
      script,
      data,
    ],
    // Tracers do not see calls that go through io_uring.
    { env: { ...process.env, UV_USE_IO_URING: '0' }, stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let complaints = ''
  child.stderr.on('data', (text: Buffer) => (complaints += text.toString()))
  const code = await new Promise((resolve) => child.once('close', resolve))
  // The shell reports each killed process.
  const rest = complaints.split('\n').filter((line) => line !== '' && !line.startsWith('Killed'))
  expect({ code, rest }, `seed ${seed}`).toEqual({ code: 0, rest: [] })
}

describe('a process under strace', () => {
  if (missing !== null) console.log(`fsync before acknowledgement: skipped, needs ${missing}`)

  it.skipIf(missing !== null)(
    `reports nothing as durable before it was synced (needs Linux and strace)`,
    async () => {
      const root = realpathSync(mkdtempSync(join(tmpdir(), 'varve-strace-')))
      onTestFinished(() => {
        rmSync(root, { recursive: true, force: true })
      })
      // The first parent directory that is created, whose name has to be synced too.
      mkdirSync(join(root, 'disk'))
      const script = join(root, 'child.mjs')
      writeFileSync(script, childSource())
      const output = join(root, 'trace')
      await trace(script, join(root, 'disk/data'), output)
      const order = new SyncOrder(join(root, 'disk'))
      for await (const line of createInterface({ input: createReadStream(output) }))
        order.read(line)
      report('fsync before acknowledgement', {
        ...order.counts,
        violations: order.violations.length,
      })
      expect(order.violations.slice(0, 20), `seed ${seed}`).toEqual([])
      expect(order.counts.acknowledged).toBeGreaterThanOrEqual(ACKNOWLEDGEMENTS)
      for (const [what, count] of Object.entries(order.counts))
        expect(count, what).toBeGreaterThan(0)
    },
  )
})
