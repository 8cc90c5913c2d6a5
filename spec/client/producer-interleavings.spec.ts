import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ProducerOptions } from '../../lib/client/producer-options.ts'
import type { RecordMetadata } from '../../lib/client/send-completion.ts'
import { StorageError, VarveError } from '../../lib/errors.ts'
import { codecFor, registerCodec } from '../../lib/record/compression.ts'
import { setUp, type Bench, type FakePartition } from './fake-topic.ts'

const PARTITIONS = 2

// Compression in another thread takes a time that tests cannot wait for; here it takes one turn.
registerCodec({
  ...codecFor('gzip'),
  compress: async (bytes) => {
    await Promise.resolve()
    return gzipSync(bytes)
  },
})

type Step =
  | { readonly kind: 'send'; readonly partition: number; readonly size: number; form: string }
  | { readonly kind: 'settle'; readonly partition: number; readonly isFailure: boolean }
  | { readonly kind: 'advance'; readonly ms: number }
  | { readonly kind: 'alter'; readonly maxMessageBytes: number }
  | { readonly kind: 'flush' }
  | { readonly kind: 'turn' }

const partition = fc.nat({ max: PARTITIONS - 1 })

const send = fc.record({
  kind: fc.constant('send' as const),
  partition,
  size: fc.oneof(fc.nat({ max: 10 }), fc.nat({ max: 200 })),
  form: fc.constantFrom('promise', 'callback', 'throwing callback'),
})
const settle = fc.record({
  kind: fc.constant('settle' as const),
  partition,
  isFailure: fc.boolean(),
})

const alter = fc.record({
  kind: fc.constant('alter' as const),
  maxMessageBytes: fc.oneof(fc.integer({ min: 80, max: 500 }), fc.constant(1_048_588)),
})

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { arbitrary: send, weight: 6 },
    { arbitrary: settle, weight: 3 },
    { arbitrary: fc.record({ kind: fc.constant('turn' as const) }), weight: 3 },
    {
      arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.nat({ max: 30 }) }),
      weight: 1,
    },
    { arbitrary: alter, weight: 1 },
    { arbitrary: fc.record({ kind: fc.constant('flush' as const) }), weight: 1 },
  ),
  { maxLength: 60 },
)

const options: fc.Arbitrary<ProducerOptions> = fc.record({
  acks: fc.constantFrom(1 as const, 'all' as const),
  lingerMs: fc.constantFrom(0, 5),
  batchSize: fc.constantFrom(0, 100, 500, 65_536),
  batchRecords: fc.constantFrom(1, 3, Infinity),
  bufferMemory: fc.constantFrom(300, 1000, 33_554_432),
  maxBlockMs: fc.constantFrom(0, 20, 60_000),
  deliveryTimeoutMs: fc.constantFrom(15, 120_000),
  compressionType: fc.constantFrom('none' as const, 'gzip' as const),
})

/** One send and everything that was reported about it. */
interface Sent {
  readonly value: string
  readonly partition: number
  readonly form: string
  readonly outcomes: { error: Error | null; metadata: RecordMetadata | null }[]
}

class Run {
  readonly bench: Bench<string, string>
  readonly sent: Sent[] = []
  /** Sends in the order in which they were settled. */
  readonly settled: Sent[] = []
  readonly flushes: Promise<void>[] = []

  constructor(producerOptions: ProducerOptions) {
    this.bench = setUp(producerOptions, { partitions: PARTITIONS })
  }

  async take(step: Step): Promise<void> {
    switch (step.kind) {
      case 'send':
        this.#send(step)
        break
      case 'settle':
        this.#settle(this.bench.topic.partition(step.partition), step.isFailure)
        break
      case 'advance':
        await this.bench.clock.advance(step.ms)
        break
      case 'alter':
        this.#alter(step.maxMessageBytes)
        break
      case 'flush':
        this.flushes.push(this.#flush())
        break
      case 'turn':
        await this.bench.clock.advance(0)
        break
    }
    for (const { appends } of this.bench.topic.partitions) {
      expect(appends.filter(({ isSettled }) => !isSettled).length).toBeLessThanOrEqual(1)
    }
  }

  /** Acknowledges everything until nothing is left. */
  async finish(): Promise<void> {
    const state = { isClosed: false }
    void this.bench.producer.close().then(() => {
      state.isClosed = true
    })
    for (let turn = 0; turn < 200 && !state.isClosed; turn += 1) {
      for (const each of this.bench.topic.partitions) this.#settle(each, false)
      await this.bench.clock.advance(0)
    }
    expect(state.isClosed).toBe(true)
    await Promise.all(this.flushes)
  }

  #send({ partition: index, size, form }: Step & { kind: 'send' }): void {
    const value = `${this.sent.length}:`.padEnd(size, '.')
    const entry: Sent = { value, partition: index, form, outcomes: [] }
    this.sent.push(entry)
    const record = { topic: 't', partition: index, value }
    const hear = (error: Error | null, metadata: RecordMetadata | null): void => {
      entry.outcomes.push({ error, metadata })
      this.settled.push(entry)
    }
    if (form === 'promise') {
      this.bench.producer.send(record).then(
        (metadata) => {
          hear(null, metadata)
        },
        (error: unknown) => {
          hear(error as Error, null)
        },
      )
      return
    }
    this.bench.producer.send(record, (error, metadata) => {
      hear(error, metadata)
      if (form === 'throwing callback') throw new Error('mine')
    })
  }

  #alter(maxMessageBytes: number): void {
    const { topic } = this.bench
    topic.config = { ...topic.config, maxMessageBytes }
  }

  #settle({ appends }: FakePartition, isFailure: boolean): void {
    const inFlight = appends.find(({ isSettled }) => !isSettled)
    if (inFlight === undefined) return
    if (!isFailure) inFlight.succeed()
    else inFlight.fail(new StorageError('the disk is full', { path: '/d', outcome: 'not-written' }))
  }

  /** All earlier sends are settled when it resolves. */
  async #flush(): Promise<void> {
    const before = [...this.sent]
    await this.bench.producer.flush()
    // Their promises resolved earlier, but the handlers run in this tick.
    await Promise.resolve()
    for (const each of before) expect(each.outcomes).toHaveLength(1)
  }
}

/** Errors of records that never joined a batch. */
const REFUSALS = ['BufferExhaustedError', 'RecordTooLargeError']

async function check(run: Run): Promise<void> {
  for (const each of run.sent) expect(each.outcomes).toHaveLength(1)
  for (const { index } of run.bench.topic.partitions) {
    const records = await run.bench.topic.partition(index).records()
    const stored = records.map(({ value }) => String(value))
    const here = run.sent.filter((each) => each.partition === index)
    const numberOf = new Map(here.map((each, number) => [each.value, number]))

    // In the log: in the order of the sends, and none of them twice.
    const numbers = stored.map((value) => numberOf.get(value) ?? -1)
    expect(numbers).toEqual([...new Set(numbers)].sort((left, right) => left - right))

    for (const { value, outcomes } of here) {
      const [outcome] = outcomes
      const error: object | null = outcome?.error ?? null
      if (error === null) {
        // Acknowledged: at the reported offset.
        expect(stored[outcome?.metadata?.offset ?? -1]).toBe(value)
      } else {
        expect(error).toBeInstanceOf(VarveError)
        if ('outcome' in error && error.outcome === 'not-written')
          expect(stored).not.toContain(value)
      }
    }

    // Settled in the order of the sends, except those that never joined a batch. The handlers of
    // promises run a moment after the callbacks.
    for (const isPromise of [true, false]) {
      const order = run.settled
        .filter((each) => each.partition === index && (each.form === 'promise') === isPromise)
        .filter(({ outcomes }) => !REFUSALS.includes(outcomes[0]?.error?.name ?? ''))
        .map((each) => here.indexOf(each))
      expect(order).toEqual([...order].sort((left, right) => left - right))
    }
  }
  expect(run.bench.producer.usedBytes).toBe(0)
  expect(run.bench.clock.pendingTimers).toBe(0)
}

describe('a producer under random sends, writes, failures and timeouts', () => {
  it('settles each record once and in order, and neither loses nor duplicates any', async () => {
    await fc.assert(
      fc.asyncProperty(options, steps, async (producerOptions, taken) => {
        const run = new Run(producerOptions)
        for (const step of taken) await run.take(step)
        await run.finish()
        await check(run)
      }),
      { numRuns: 150 },
    )
  })
})
