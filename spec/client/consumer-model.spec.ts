import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ConsumerRecord } from '../../lib/client/consumer-record.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import { WakeupError } from '../../lib/errors.ts'
import { ConsumerHarness, NO_WAIT } from './consumer-harness.ts'

/** With few partitions all are checked, with many only some. */
const PARTITION_COUNTS = [3, 12] as const
const MOST_PARTITIONS = 12

type Step =
  | { kind: 'append'; partition: number; count: number; isCompressed: boolean }
  | { kind: 'control'; partition: number }
  | { kind: 'missing'; partition: number; count: number }
  | { kind: 'compacted'; partition: number; count: number; kept: number[] }
  | { kind: 'seek'; partition: number; offset: number }
  | { kind: 'toBeginning' | 'toEnd' | 'pause' | 'resume' | 'trim'; partition: number }
  | { kind: 'poll' }
  | { kind: 'wakeup' }
  | { kind: 'abort' }
  | { kind: 'iterate'; count: number }

const partition = fc.nat(MOST_PARTITIONS - 1)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('append' as const),
      partition,
      count: fc.integer({ min: 1, max: 6 }),
      isCompressed: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('control' as const), partition }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('missing' as const),
      partition,
      count: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('compacted' as const),
      partition,
      count: fc.integer({ min: 1, max: 8 }),
      kept: fc.uniqueArray(fc.nat(7), { maxLength: 3 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('seek' as const), partition, offset: fc.nat(40) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom('toBeginning', 'toEnd', 'pause', 'resume', 'trim'),
      partition,
    }),
  },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('poll' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('wakeup', 'abort') }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('iterate' as const),
      count: fc.integer({ min: 1, max: 8 }),
    }),
  },
)

/** What is known about one partition, without any of the library's code. */
class ModelPartition {
  readonly offsets: number[] = []
  startOffset = 0
  endOffset = 0
  /** The end of the last batch: reading moves a position no further. */
  batchEnd = 0
  position = 0
  isPaused = false

  append(count: number, kept: readonly number[]): void {
    for (const delta of [...kept].sort((a, b) => a - b)) this.offsets.push(this.endOffset + delta)
    this.endOffset += count
    this.batchEnd = this.endOffset
  }

  /** The position at which a poll starts: the reset policy is `earliest`. */
  settle(): void {
    this.position = Math.max(this.position, this.startOffset)
  }

  /** The offsets that can be delivered, in order. */
  ahead(): number[] {
    return this.offsets.filter((offset) => offset >= this.position)
  }
}

class Comparison {
  readonly #harness: ConsumerHarness
  readonly #consumer: Consumer<string, string>
  readonly #model: readonly ModelPartition[]
  readonly #maxPollRecords: number
  #isWoken = false

  constructor(count: number, limits: { maxPollRecords: number; fetchMaxBytes: number }) {
    this.#harness = new ConsumerHarness({ t: count })
    this.#model = Array.from({ length: count }, () => new ModelPartition())
    this.#maxPollRecords = limits.maxPollRecords
    this.#consumer = this.#harness.consumer({ ...limits, maxPartitionFetchBytes: 300 })
    this.#consumer.assign(this.#model.map((_, at) => ({ topic: 't', partition: at })))
  }

  async run(next: Step): Promise<void> {
    if (next.kind === 'poll') {
      await this.#poll()
    } else if (next.kind === 'iterate') {
      await this.#iterate(next.count)
    } else if (next.kind === 'wakeup') {
      this.#consumer.wakeup()
      this.#isWoken = true
    } else if (next.kind === 'abort') {
      const signal = AbortSignal.abort('enough')
      const reason: unknown = await this.#consumer.poll({ signal }).catch((error: unknown) => error)
      if (reason instanceof WakeupError) this.#isWoken = false
      else expect(reason).toBe('enough')
    } else {
      await this.#change(next)
    }
  }

  /** Expects that everything left is eventually delivered. */
  async finish(): Promise<void> {
    this.#consumer.resume(this.#consumer.paused())
    for (const each of this.#model) each.isPaused = false
    for (let poll = 0; this.#isAnythingAhead(); poll++) {
      expect(poll).toBeLessThan(1000)
      await this.#poll()
    }
    expect(await this.#consumer.poll(NO_WAIT)).toEqual([])
    for (const [at, { batchEnd, endOffset }] of this.#model.entries()) {
      const position = this.#consumer.position({ topic: 't', partition: at })
      expect(position).toBeGreaterThanOrEqual(batchEnd)
      expect(position).toBeLessThanOrEqual(endOffset)
    }
  }

  async #change(
    next: Exclude<Step, { kind: 'poll' | 'wakeup' | 'abort' | 'iterate' }>,
  ): Promise<void> {
    const partition = next.partition % this.#model.length
    const place = { topic: 't', partition }
    const actual = this.#harness.partition('t', partition)
    const model = this.#of(partition)
    switch (next.kind) {
      case 'append': {
        const deltas = Array.from({ length: next.count }, (_, delta) => delta)
        const values = deltas.map((delta) => String(model.endOffset + delta))
        if (next.isCompressed) await actual.appendCompressed('gzip', ...values)
        else actual.append(...values)
        model.append(next.count, deltas)
        return
      }
      case 'control':
        actual.appendControl()
        model.append(1, [])
        return
      case 'missing':
        // A power loss leaves many of these at once.
        for (const [at, each] of this.#model.slice(0, partition + 1).entries()) {
          this.#harness.partition('t', at).skipOffsets(next.count)
          each.endOffset += next.count
        }
        return
      case 'compacted': {
        const kept = next.kept.filter((delta) => delta < next.count).sort((a, b) => a - b)
        const values = kept.map((delta) => [delta, String(model.endOffset + delta)] as const)
        actual.appendCompacted(next.count, new Map(values))
        model.append(next.count, kept)
        return
      }
      case 'seek':
        // When a position beyond the end is noticed depends on what else can be read.
        model.position = Math.min(next.offset, model.endOffset)
        this.#consumer.seek(place, model.position)
        return
      case 'toBeginning':
        this.#consumer.seekToBeginning([place])
        model.position = this.#consumer.position(place)
        expect(model.position).toBe(model.startOffset)
        return
      case 'toEnd':
        this.#consumer.seekToEnd([place])
        model.position = this.#consumer.position(place)
        expect(model.position).toBe(model.endOffset)
        return
      case 'pause':
        this.#consumer.pause([place])
        model.isPaused = true
        return
      case 'resume':
        this.#consumer.resume([place])
        model.isPaused = false
        return
      case 'trim':
        // Buffered records may still be delivered, so only records before the position are deleted
        // here.
        if (model.position < model.startOffset) return
        model.startOffset = model.position
        actual.deleteRecords(model.startOffset)
    }
  }

  async #poll(): Promise<void> {
    let records: ConsumerRecord<string, string>[]
    try {
      records = await this.#consumer.poll(NO_WAIT)
    } catch (error) {
      expect(error).toBeInstanceOf(WakeupError)
      expect(this.#isWoken).toBe(true)
      this.#isWoken = false
      return
    }
    expect(this.#isWoken).toBe(false)
    this.#settle()
    const aheadCount = this.#aheadCount()
    expect(records.length).toBeLessThanOrEqual(this.#maxPollRecords)
    if (aheadCount > 0) expect(records.length).toBeGreaterThan(0)
    for (const record of records) this.#expectNext(record)
  }

  async #iterate(count: number): Promise<void> {
    this.#settle()
    const wanted = this.#isWoken ? 0 : Math.min(count, this.#aheadCount())
    if (wanted === 0) return
    let seen = 0
    for await (const record of this.#consumer) {
      seen += 1
      const model = this.#of(record.partition)
      const before = model.position
      this.#expectNext(record)
      // The loop is left in the body of the last record, so that record is delivered again.
      if (seen === wanted) {
        model.position = before
        break
      }
    }
    expect(seen).toBe(wanted)
  }

  #expectNext(record: ConsumerRecord<string, string>): void {
    const model = this.#of(record.partition)
    expect(model.isPaused).toBe(false)
    expect(record.offset).toBe(model.ahead()[0])
    expect(record.value).toBe(String(record.offset))
    model.position = record.offset + 1
  }

  #settle(): void {
    for (const model of this.#model) if (!model.isPaused) model.settle()
  }

  #aheadCount(): number {
    const ahead = this.#model.map((model) => (model.isPaused ? 0 : model.ahead().length))
    return ahead.reduce((sum, count) => sum + count, 0)
  }

  #isAnythingAhead(): boolean {
    this.#settle()
    return this.#isWoken || this.#aheadCount() > 0
  }

  #of(index: number): ModelPartition {
    const model = this.#model[index]
    if (model === undefined) throw new Error(`there is no partition ${index}`)
    return model
  }
}

describe('a consumer under random operations', () => {
  it('returns the same records as a model of plain offset lists, in the same order', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 60 }),
        fc.constantFrom(...PARTITION_COUNTS),
        fc.record({
          maxPollRecords: fc.integer({ min: 1, max: 8 }),
          fetchMaxBytes: fc.constantFrom(1, 400, 1_000_000),
        }),
        async (steps, count, limits) => {
          const comparison = new Comparison(count, limits)
          for (const each of steps) await comparison.run(each)
          await comparison.finish()
        },
      ),
      { numRuns: 200 },
    )
  })
})

const member = fc.nat(3)
const groupStep = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('append' as const), at: fc.nat(4) }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('poll' as const), at: member }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('iterate' as const), at: member }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('close' as const), at: member }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave' as const), at: member }) },
)

describe.each(['range', 'roundrobin', 'sticky', 'cooperative-sticky'] as const)(
  'a group whose members come and go (%s)',
  (partitionAssignmentStrategy) => {
    it('delivers every record exactly once while the group removes no member', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(groupStep, { maxLength: 50 }), async (steps) => {
          const harness = new ConsumerHarness({ t: 5 })
          const consumers = new Map<number, Consumer<string, string>>()
          const delivered = new Map<string, number>()
          let appended = 0
          const consumerAt = (at: number): Consumer<string, string> => {
            let consumer = consumers.get(at)
            if (consumer === undefined) {
              consumer = harness.consumer({
                groupId: 'g',
                partitionAssignmentStrategy,
                maxPollRecords: 2,
              })
              consumer.subscribe(['t'])
              consumers.set(at, consumer)
            }
            return consumer
          }
          const poll = async (at: number): Promise<void> => {
            for (const { partition: index, offset } of await consumerAt(at).poll(NO_WAIT)) {
              const key = `${index}-${offset}`
              delivered.set(key, (delivered.get(key) ?? 0) + 1)
            }
          }
          for (const { kind, at } of steps) {
            if (kind === 'append') {
              harness.partition('t', at).append('x', 'y', 'z')
              appended += 3
            } else if (kind === 'poll') {
              await poll(at)
            } else if (kind === 'iterate') {
              // Left at once: the record that it received does not count.
              const iterator = consumerAt(at)[Symbol.asyncIterator]()
              const next = iterator.next()
              await iterator.return?.()
              await next
            } else if (kind === 'leave') {
              consumers.get(at)?.unsubscribe()
              consumers.get(at)?.subscribe(['t'])
            } else {
              await consumers.get(at)?.close()
              consumers.delete(at)
            }
          }
          for (let round = 0; round < 40 && delivered.size < appended; round++) {
            for (const at of [...consumers.keys(), 0]) await poll(at)
          }
          expect(delivered.size).toBe(appended)
          expect([...delivered.values()].filter((count) => count !== 1)).toEqual([])
        }),
        { numRuns: 60 },
      )
    })
  },
)
