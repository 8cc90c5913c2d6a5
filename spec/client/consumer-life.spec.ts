import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { OffsetReset } from '../../lib/client/consumer-options.ts'
import type { ConsumerRecord } from '../../lib/client/consumer-record.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import { PartitionWatch } from '../../lib/client/partition-watch.ts'
import { errorOf } from '../../lib/checks.ts'
import { VarveError } from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { withoutTurns } from '../helpers/held-turns.ts'
import { NO_WAIT, watch } from './consumer-harness.ts'

const PARTITIONS = 5
const STEPS = 90
const WAIT_MS = 100
const SEEDS = Array.from({ length: 48 }, (_, seed) => seed)

beforeEach(withoutTurns)
afterEach(() => {
  vi.restoreAllMocks()
})

/** A log as a plain list, and the consumers' positions in it. */
class ModelPartition {
  startOffset = 0
  /** By offset, from 0 on; `null` if the record is gone and its offset is not reused. */
  readonly records: ({ readonly value: string; readonly batch: number } | null)[] = []
  #batchCount = 0
  isAssigned = true
  isPaused = false
  position = 0
  /** Whether the application has chosen the position, so that it follows no truncatable record. */
  isSought = false
  /**
   * Where the log was truncated since records up to the position were read; `Infinity` if nowhere.
   */
  cutTo = Infinity

  begin(): void {
    this.isPaused = false
    this.#moveTo(0, false)
  }

  seek(position: number): void {
    this.#moveTo(position, true)
  }

  append(values: readonly string[]): void {
    this.#batchCount += 1
    for (const value of values) this.records.push({ value, batch: this.#batchCount })
  }

  get endOffset(): number {
    return this.records.length
  }

  /** Also removes the rest of the batch. */
  cut(offset: number): void {
    const batch = this.records[offset]?.batch
    if (offset === this.endOffset) return
    this.records.length = offset
    for (const [at, each] of this.records.entries()) {
      if (each !== null && each.batch === batch) this.records[at] = null
    }
    this.cutTo = Math.min(this.cutTo, offset)
  }

  /** The records to be delivered. A poll first moves the position if it is beyond what is left. */
  ahead(): { readonly offset: number; readonly value: string }[] {
    if (!this.isAssigned || this.isPaused) return []
    if (!this.isSought && this.position > this.cutTo) this.#moveTo(this.cutTo, false)
    if (this.position < this.startOffset || this.position > this.endOffset) {
      this.#moveTo(this.startOffset, false)
    }
    return this.records.flatMap((each, offset) =>
      each === null || offset < this.position ? [] : { offset, value: each.value },
    )
  }

  /** A poll has delivered everything below `offset`. */
  take(offset: number): void {
    this.#moveTo(offset, false)
  }

  #moveTo(position: number, isSought: boolean): void {
    this.position = position
    this.isSought = isSought
    this.cutTo = Infinity
  }
}

/** What a poll returned, and what it reported, in a form to be compared. */
type Outcome = { readonly records: string[] } | { readonly code: string }

type Poll = ReturnType<typeof watch<ConsumerRecord[]>>

function outcomeOf(poll: Poll): Outcome {
  if (poll.error instanceof VarveError) return { code: poll.error.code }
  if (poll.error !== undefined || poll.value === undefined) throw errorOf(poll.error)
  const records = poll.value.map(
    ({ partition, offset, value }) => `${partition}-${offset}: ${String(value)}`,
  )
  return { records }
}

/** What happens to a topic and its consumer. The model says what polls may return. */
class Life {
  readonly #random: SeededRandom
  readonly #clock: ManualClock
  readonly #broker: Broker
  readonly #consumer: Consumer
  readonly #isGroup: boolean
  readonly #minBytes: number
  readonly #mayCutAnytime: boolean
  readonly #told: (Outcome | OffsetReset)[] = []
  /** `null` while there is no topic. */
  #model: ModelPartition[] | null = null
  #assigned: number[] = Array.from({ length: PARTITIONS }, (_, index) => index)
  /** Paused partitions stay paused while there is no topic. */
  #paused: boolean[] = []
  #valueCount = 0
  #cutCount = 0
  /** Whether a group has yet to learn that its topic is another one. */
  #isTopicNew = false

  private constructor(seed: number, clock: ManualClock, broker: Broker) {
    this.#random = new SeededRandom(seed)
    this.#clock = clock
    this.#broker = broker
    this.#isGroup = seed % 3 === 2
    this.#minBytes = seed % 4 === 3 ? 250 : 1
    this.#mayCutAnytime = cutsAnytime(seed)
    this.#consumer = broker.consumer({
      ...(this.#isGroup ? { groupId: 'g', enableAutoCommit: false } : {}),
      fetchMinBytes: this.#minBytes,
      onOffsetReset: (reset) => void this.#told.push(reset),
    })
  }

  /** @returns what polls have returned, and what was reported meanwhile */
  static async of(seed: number): Promise<readonly (Outcome | OffsetReset)[]> {
    const clock = new ManualClock()
    const fileSystem = new SimulatedFileSystem()
    const broker = await Broker.open('/data', { fileSystem, clock, random: new SeededRandom(1) })
    const life = new Life(seed, clock, broker)
    await life.#run()
    await broker.close()
    return life.#told
  }

  async #run(): Promise<void> {
    await this.#createTopic()
    if (this.#isGroup) this.#consumer.subscribe(['t'])
    else this.#assign(this.#assigned)
    await this.#poll()
    for (let step = 0; step < STEPS; step += 1) {
      if (this.#chance(3)) {
        await this.#waitingPoll()
      } else {
        for (let each = this.#random.integer(4); each >= 0; each -= 1) await this.#change()
        await this.#poll()
      }
    }
  }

  #chance(oneOf: number): boolean {
    return this.#random.integer(oneOf) === 0
  }

  async #createTopic(): Promise<void> {
    await this.#broker.createTopic('t', { partitions: PARTITIONS, segmentBytes: 400 })
    this.#model = Array.from({ length: PARTITIONS }, () => new ModelPartition())
    for (const [index, each] of this.#model.entries()) {
      each.isAssigned = this.#isGroup || this.#assigned.includes(index)
      each.isPaused = this.#paused[index] ?? false
    }
  }

  #assign(indexes: readonly number[]): void {
    this.#assigned = [...indexes]
    this.#consumer.assign(indexes.map((partition) => ({ topic: 't', partition })))
    for (const [index, each] of (this.#model ?? []).entries()) {
      const isAssigned = indexes.includes(index)
      if (isAssigned && !each.isAssigned) each.begin()
      each.isAssigned = isAssigned
    }
  }

  async #change(isWaiting = false): Promise<void> {
    const index = this.#random.integer(PARTITIONS)
    const model = this.#model?.[index]
    const kind = this.#random.integer(40)
    if (model === undefined || kind === 0) return this.#changeTopic(isWaiting)
    const place = { topic: 't', partition: index }
    const actual = this.#broker.topic('t').partition(index)
    const isGiven = this.#consumer.assignment().length > 0 && !this.#isTopicNew
    const canSteer = model.isAssigned && isGiven
    const anyOffset =
      model.startOffset + this.#random.integer(model.endOffset - model.startOffset + 1)
    if (kind < 18) {
      const values = Array.from({ length: 1 + this.#random.integer(3) }, () => this.#nextValue())
      await actual.append(values.map((value) => ({ value })))
      model.append(values)
    } else if (kind < 22) {
      // One that a waiting poll comes upon late has had another turn by then.
      if (isWaiting && !this.#mayCutAnytime) return
      await actual.log.truncateTo(anyOffset)
      model.cut(anyOffset)
      this.#cutCount += 1
    } else if (kind < 25) {
      await actual.deleteRecords(anyOffset)
      model.startOffset = anyOffset
    } else if (kind < 29 && canSteer) {
      const offset = this.#random.integer(model.endOffset + 3)
      this.#consumer.seek(place, offset)
      model.seek(offset)
    } else if (kind < 36 && canSteer) {
      model.isPaused = kind < 32
      if (model.isPaused) this.#consumer.pause([place])
      else this.#consumer.resume([place])
    } else if (!this.#isGroup) {
      const all = Array.from({ length: PARTITIONS }, (_, each) => each)
      this.#assign(all.filter((each) => each === index || !this.#chance(4)))
    }
  }

  async #changeTopic(isWaiting: boolean): Promise<void> {
    if (this.#model === null) return this.#createTopic()
    this.#isTopicNew = this.#isGroup
    // A group that loses its topic forgets its paused partitions.
    this.#paused = (this.#isGroup ? [] : this.#model).map(({ isPaused }) => isPaused)
    this.#model = null
    await this.#broker.deleteTopic('t')
    if (!isWaiting && this.#chance(2)) await this.#createTopic()
  }

  #nextValue(): string {
    this.#valueCount += 1
    return String(this.#valueCount)
  }

  #isAnythingAhead(): boolean {
    return (this.#model ?? []).filter((each) => each.ahead().length > 0).length > 0
  }

  async #poll(): Promise<void> {
    const poll = watch(this.#consumer.poll(NO_WAIT))
    await this.#clock.advance(1)
    this.#note(poll)
  }

  async #waitingPoll(): Promise<void> {
    const poll = watch(this.#consumer.poll({ maxWaitMs: WAIT_MS }))
    await this.#clock.advance(1)
    const cutCount = this.#cutCount
    // A truncation does not wake a waiting poll. Whether the poll notices it in time is left open.
    for (
      let change = 0;
      change < 3 && !poll.isSettled && this.#cutCount === cutCount;
      change += 1
    ) {
      const isAnythingAhead = this.#isAnythingAhead()
      if (this.#minBytes <= 1) expect(isAnythingAhead).toBe(false)
      await this.#change(true)
      await this.#clock.advance(1)
    }
    await this.#clock.advance(2 * WAIT_MS)
    this.#note(poll)
  }

  /** What follows where a partition was moved, or a read has ended, may come with the next poll. */
  #note(poll: Poll): void {
    const outcome = outcomeOf(poll)
    this.#told.push(outcome)
    this.#isTopicNew = false
    const isMissed = this.#assigned.some((index) => this.#paused[index] !== true)
    if (this.#model === null && !this.#isGroup && isMissed) {
      expect(outcome).toEqual({ code: 'UNKNOWN_TOPIC_OR_PARTITION' })
      return
    }
    const records = 'records' in outcome ? outcome.records : []
    expect(outcome).toEqual({ records })
    if (this.#isAnythingAhead()) expect(records).not.toEqual([])
    for (const [index, model] of (this.#model ?? []).entries()) {
      const ahead = model.ahead()
      const given = records.filter((each) => each.startsWith(`${index}-`))
      const expected = ahead.slice(0, given.length)
      expect(given).toEqual(expected.map(({ offset, value }) => `${index}-${offset}: ${value}`))
      const last = expected.at(-1)
      if (last !== undefined) model.take(last.offset + 1)
    }
  }
}

/** Whether logs are also truncated while a poll waits, which changes the order of partitions. */
function cutsAnytime(seed: number): boolean {
  return seed % 2 === 0
}

function sorted(told: readonly (Outcome | OffsetReset)[]): unknown[] {
  return told.map((each) => {
    if (!('records' in each)) return each
    const partitions = Array.from({ length: PARTITIONS }, (_, index) => `${index}-`)
    return partitions.flatMap((name) => each.records.filter((record) => record.startsWith(name)))
  })
}

it.each(SEEDS)(
  'returns the expected records, and reports the same as if it looked at all partitions: seed %d',
  async (seed) => {
    const told = await Life.of(seed)
    vi.spyOn(PartitionWatch.prototype, 'mayRest', 'get').mockReturnValue(false)
    const toldByAll = await Life.of(seed)
    expect(sorted(told)).toEqual(sorted(toldByAll))
    if (!cutsAnytime(seed)) expect(told).toEqual(toldByAll)
  },
)
