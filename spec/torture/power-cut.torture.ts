import { readdirSync, readlinkSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { LoopDisk, type DiskType } from './disks.ts'
import { PartitionLedger, type FoundRecord } from './partition-ledger.ts'
import { whatIsMissing } from './requirements.ts'
import { report, runs, seed } from './size.ts'

const CUTS = runs({ short: 20, full: 10_000 })
/** How many power cuts one disk goes through before it is formatted again. */
const GENERATIONS = 40
const SMALL = { segmentBytes: 4096, indexIntervalBytes: 256, ifNotExists: true } as const

/** One disk's life: what was sent to the log on it, and what was reported. */
class Life {
  readonly partitions = [
    new PartitionLedger('safe-0', true),
    new PartitionLedger('safe-1', true),
    new PartitionLedger('relaxed-0', false),
  ] as const
  committed = -1
  committing = -1
  acknowledged = 0
  /** Acknowledged while the power was failing: a machine without power would not have done so. */
  unheard = 0
  truncations = 0
}

async function everythingIn(partition: Partition): Promise<FoundRecord[]> {
  const found: FoundRecord[] = []
  for await (const { offset, value } of partition.records({ until: 'end' })) {
    found.push({ offset, value: value?.toString() ?? '' })
  }
  return found
}

async function lookAt(broker: Broker, life: Life): Promise<string[]> {
  const problems = broker.recovery.damaged.map(({ error }) => error.message)
  life.truncations += broker.recovery.truncations.length
  for (const ledger of life.partitions) {
    const [topic = '', index] = ledger.name.split('-')
    const partition = broker.topic(topic).partition(Number(index))
    const found = await everythingIn(partition)
    const { acknowledgedCount } = ledger
    problems.push(...ledger.look(found, partition.logStartOffset))
    if (ledger.isDurable) life.acknowledged += acknowledgedCount
  }
  const consumer = broker.consumer({ groupId: 'billing' })
  const committed = await consumer.committed({ topic: 'safe', partition: 0 })
  const offset = committed?.offset ?? -1
  if (offset < life.committed || offset > life.committing) {
    problems.push(`committed ${offset}, acknowledged ${life.committed}, asked ${life.committing}`)
  }
  if (offset > broker.topic('safe').partition(0).logEndOffset)
    problems.push('commit beyond the end')
  life.committed = offset
  life.committing = offset
  await consumer.close()
  return problems
}

function outcomeOf(error: unknown): 'not-written' | 'unknown' {
  const { outcome } = error as { outcome?: unknown }
  if (outcome === 'not-written' || outcome === 'unknown') return outcome
  throw new Error('an append failed without an outcome', { cause: error })
}

/** Appends, rolls, commits and deletes until the power is cut. */
class Workload {
  readonly #broker: Broker
  readonly #life: Life
  readonly #random: SeededRandom
  readonly #name: string
  isCut = false
  /** What was acknowledged, and when. It counts once it is known to have been before the cut. */
  readonly #acknowledgements: { at: bigint; note: (isBeforeCut: boolean) => void }[] = []
  #count = 0

  constructor(broker: Broker, life: Life, random: SeededRandom, name: string) {
    this.#broker = broker
    this.#life = life
    this.#random = random
    this.#name = name
  }

  /** @returns once nothing is in progress any more. */
  async run(): Promise<void> {
    while (!this.isCut) await this.round()
  }

  /** Holds the log to what was acknowledged before `cutAt`, and to nothing later. */
  settle(cutAt: bigint): void {
    for (const { at, note } of this.#acknowledgements) note(at < cutAt)
  }

  #acknowledged(note: (isBeforeCut: boolean) => void): void {
    this.#acknowledgements.push({ at: process.hrtime.bigint(), note })
  }

  async round(): Promise<void> {
    const calls: Promise<unknown>[] = []
    for (let i = this.#random.integer(8); i >= 0; i -= 1) calls.push(this.#append())
    if (this.#random.chance(0.2)) calls.push(this.#commit())
    if (this.#random.chance(0.05)) calls.push(this.#delete())
    const partition = this.#broker.topic('safe').partition(0)
    if (this.#random.chance(0.05)) calls.push(ignoringFailure(partition.log.checkpoint()))
    await Promise.all(calls)
  }

  async #append(): Promise<void> {
    const ledger = this.#random.pick(this.#life.partitions)
    const [topic = '', index] = ledger.name.split('-')
    const partition = this.#broker.topic(topic).partition(Number(index))
    const padding = '.'.repeat(this.#random.integer(this.#random.pick([10, 100, 1500])))
    const record = ledger.send(`${this.#name}:${(this.#count += 1)}${padding}`)
    try {
      const { baseOffset } = await partition.append({ value: record.value })
      this.#acknowledged((isBeforeCut) => {
        record.outcome = isBeforeCut ? 'acknowledged' : 'unknown'
        record.offset = baseOffset
        if (!isBeforeCut) this.#life.unheard += 1
      })
    } catch (error) {
      record.outcome = outcomeOf(error)
      this.isCut = true
    }
  }

  async #commit(): Promise<void> {
    const offset = this.#broker.topic('safe').partition(0).highWatermark
    const life = this.#life
    life.committing = Math.max(life.committing, offset)
    const consumer = this.#broker.consumer({ groupId: 'billing', enableAutoCommit: false })
    const commit = consumer.commit([{ topic: 'safe', partition: 0, offset }])
    await ignoringFailure(
      commit.then(() => {
        this.#acknowledged((isBeforeCut) => {
          if (isBeforeCut) life.committed = Math.max(life.committed, offset)
        })
      }),
    )
    await ignoringFailure(consumer.close())
  }

  async #delete(): Promise<void> {
    const ledger = this.#random.pick(this.#life.partitions)
    const [topic = '', index] = ledger.name.split('-')
    const partition = this.#broker.topic(topic).partition(Number(index))
    const { logStartOffset, highWatermark } = partition
    const offset = logStartOffset + this.#random.integer(highWatermark - logStartOffset + 1)
    ledger.deletingBelow = Math.max(ledger.deletingBelow, offset)
    await ignoringFailure(
      partition.deleteRecords(offset).then(() => {
        this.#acknowledged((isBeforeCut) => {
          if (isBeforeCut) ledger.deletedBelow = Math.max(ledger.deletedBelow, offset)
        })
      }),
    )
  }
}

/** The power may fail during any call. Where its result matters, it is checked. */
async function ignoringFailure(call: Promise<unknown>): Promise<void> {
  await call.catch(() => undefined)
}

/** Writes some ranges of the log files back to the disk, in any order. */
async function writeSomeBack(disk: LoopDisk, random: SeededRandom): Promise<void> {
  const data = join(disk.path, 'data')
  const files = readdirSync(data, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.log'))
    .map((name) => join(data, name))
  for (let i = random.integer(4); i > 0 && files.length > 0; i -= 1) {
    const path = random.pick(files)
    const { size } = statSync(path, { throwIfNoEntry: false }) ?? { size: 0 }
    const offset = random.integer(size + 1)
    // A segment that was deleted in the meantime cannot be written back.
    await ignoringFailure(disk.writeBack(path, offset, 1 + random.integer(size - offset + 1)))
  }
}

function filesOpenBelow(path: string): string[] {
  return readdirSync('/proc/self/fd')
    .map((descriptor) => {
      try {
        return readlinkSync(`/proc/self/fd/${descriptor}`)
      } catch {
        // The descriptor of the directory listing itself is closed by now.
        return ''
      }
    })
    .filter((target) => target.startsWith(path))
}

/** @returns what is wrong after the power cut, and after the next open. */
async function generation(disk: LoopDisk, life: Life, random: SeededRandom, name: string) {
  await disk.mount()
  const broker = await Broker.open(join(disk.path, 'data'))
  await broker.createTopic('safe', { ...SMALL, partitions: 2 })
  await broker.createTopic('relaxed', { ...SMALL, flushMessages: 100_000 })
  const problems = await lookAt(broker, life)
  const workload = new Workload(broker, life, random, name)
  for (let rounds = random.integer(6); rounds > 0; rounds -= 1) await workload.round()
  await writeSomeBack(disk, random)
  const running = workload.run()
  await writeSomeBack(disk, random)
  const power = { isJournalWritten: random.chance(0.5), delayUs: random.integer(2000) }
  const cutAt = await disk.cutPower(power)
  await running
  workload.settle(cutAt)
  await ignoringFailure(broker.close())
  // Whatever has failed, no file may be left open.
  const openFiles = filesOpenBelow(disk.path)
  if (openFiles.length > 0) problems.push(`left open: ${openFiles.join(', ')}`)
  else await disk.unmount()
  return problems
}

describe('a power cut on a real file system', () => {
  for (const type of ['ext4', 'xfs'] satisfies DiskType[]) {
    const missing = whatIsMissing('linux', 'root', 'gcc', 'loop', type)
    if (missing !== null) console.log(`power cut on ${type}: skipped, needs ${missing}`)

    it.skipIf(missing !== null)(
      `loses nothing that was acknowledged: ${type} (needs root)`,
      async () => {
        const disk = new LoopDisk(type)
        const totals = { cuts: 0, acknowledged: 0, unheard: 0, truncations: 0 }
        try {
          let life = new Life()
          for (let cut = 0; cut < CUTS; cut += 1) {
            if (cut > 0 && cut % GENERATIONS === 0) {
              disk.format()
              life = new Life()
            }
            // A generation depends on all those before it, back to the empty disk.
            const { acknowledged, unheard, truncations } = life
            const problems = await generation(disk, life, new SeededRandom(seed + cut), `${cut}`)
            expect(problems, `found after cut ${cut} on ${type}, seed ${seed}`).toEqual([])
            totals.cuts += 1
            totals.acknowledged += life.acknowledged - acknowledged
            totals.unheard += life.unheard - unheard
            totals.truncations += life.truncations - truncations
            // A long run that is interrupted should still have reported something.
            if (totals.cuts % 1000 === 0) report(`power cut on ${type}`, totals)
          }
          if (CUTS % 1000 !== 0) report(`power cut on ${type}`, totals)
        } finally {
          await disk.remove()
        }
        expect(totals.acknowledged).toBeGreaterThan(CUTS)
      },
    )
  }
})
