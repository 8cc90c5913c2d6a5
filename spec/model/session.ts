import type { PartitionAssignmentStrategy } from '../../lib/broker/assignors/assignor.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import { Broker } from '../../lib/broker.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import type { Persona } from '../../lib/testing/crash-model.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { ensure, Model, ModelPartition, type Loss, type ModelTopic } from './model-broker.ts'
import { ModelTable } from './model-table.ts'

/** Everything that determines a run, besides its steps. */
export interface Setup {
  readonly seed: number
  readonly persona: Persona
  /** In which order the disk's calls take effect and complete. */
  readonly completion: 'in-order' | 'random'
  readonly segmentBytes: number
  /** Only has an effect on segments of more than one block. */
  readonly preallocate: boolean
  /** Of the topic that a run begins with. */
  readonly flushMessages: number
  readonly strategy: PartitionAssignmentStrategy
}

/** A partition, both in the model and in the broker. */
export interface Place {
  readonly topic: string
  readonly index: number
  readonly name: string
  readonly model: ModelPartition
  readonly real: Partition
}

/** A consumer of a group, and its positions in the model. */
export interface Member {
  readonly groupId: string
  readonly consumer: Consumer<string, string>
  /** The offset of the next record of every owned partition, by `topic-partition`. */
  readonly positions: Map<string, number>
  readonly paused: Set<string>
}

/** By slot: two members of one group, the only one of another. */
export const GROUP_OF_SLOT = ['billing', 'billing', 'audit'] as const
export const GROUPS = ['billing', 'audit', 'solo'] as const
export const DATA = '/data'

/** Records are deleted only by steps: the clock jumps by years. */
export const KEPT = { retentionMs: -1 } as const

/** A compacted topic whose tombstones are removed in the next pass. */
export const TABLE = 'table'
const COMPACTED = { cleanupPolicy: 'compact', deleteRetentionMs: 1000, ...KEPT } as const

/** The broker under test beside its model, and the disk, clock, clients and reader around it. */
export class Session {
  readonly model: Model = new Model()
  readonly table: ModelTable = new ModelTable()
  readonly setup: Setup
  fileSystem: SimulatedFileSystem
  clock: ManualClock = new ManualClock()
  members: (Member | null)[] = [null, null, null]
  /** Another process that only reads. */
  reader: { readonly broker: Broker; readonly clock: ManualClock } | null = null
  /** How far the reader has read each partition. */
  readonly seen: Map<ModelPartition, number> = new Map()
  #broker: Broker | null = null
  #sent = 0

  constructor(setup: Setup) {
    const { seed, persona, completion } = setup
    this.setup = setup
    this.fileSystem = new SimulatedFileSystem({ seed, persona, completion, sectorBytes: 64 })
  }

  get broker(): Broker {
    if (this.#broker === null) throw new Error('the broker is not open')
    return this.#broker
  }

  get realTable(): Partition {
    return this.broker.topic(TABLE).partition(0)
  }

  /** Returns a value that no other record has. */
  newValue(): string {
    this.#sent += 1
    return `v${this.#sent}`
  }

  /** Begins a run with a topic, strict or not, so that the steps have something to work on. */
  async begin(): Promise<void> {
    await this.open('none', true)
    const { segmentBytes, preallocate, flushMessages } = this.setup
    const segments = { segmentBytes, preallocate, indexIntervalBytes: 40 }
    await this.broker.createTopic(TABLE, { ...segments, ...COMPACTED })
    const topic = this.modelTopic(2, { flushMessages, flushMs: Number.MAX_SAFE_INTEGER })
    const options = { partitions: 2, ...segments, flushMessages, ...KEPT }
    await this.broker.createTopic('orders', options)
    this.model.topics.set('orders', topic)
  }

  /** Ends a run with a power loss that loses everything it may. */
  async end(): Promise<void> {
    this.restart('power', { unsynced: 'lost', seed: this.setup.seed })
    await this.open('power')
    for (const { name, real } of this.places()) {
      const [damage] = await real.log.verify()
      ensure(damage === undefined, () => `${name}: verify finds ${String(damage)}`)
    }
  }

  /** The n-th of all partitions, counted round and round; `null` if there are none. */
  place(n: number): Place | null {
    const places = this.places()
    return places[n % places.length] ?? null
  }

  places(): Place[] {
    return [...this.model.topics].flatMap(([topic, { partitions }]) =>
      partitions.map((model, index) => {
        const real = this.broker.topic(topic).partition(index)
        return { topic, index, name: `${topic}-${index}`, model, real }
      }),
    )
  }

  /** Adds `count` new records to the model. @returns them, and where they end. */
  give(
    partition: ModelPartition,
    count: number,
    sizeBytes: number,
  ): { values: string[]; end: number } {
    const values = Array.from({ length: count }, () => {
      this.#sent += 1
      return `v${this.#sent}`.padEnd(sizeBytes, '.')
    })
    const timestamp = this.clock.now()
    const { era } = this.model
    partition.records.push(...values.map((value) => ({ value, timestamp, era })))
    return { values, end: partition.records.length }
  }

  /** Opens the broker, and compares everything with the model. */
  async open(loss: Loss, isFirst = false): Promise<void> {
    const { fileSystem, clock, model } = this
    this.members = [null, null, null]
    this.#broker = null
    if (loss !== 'none') model.era += 1
    const broker = await Broker.open(DATA, { fileSystem, clock, random: new SeededRandom(3) })
    this.#broker = broker
    const { recovery } = broker
    ensure(recovery.damaged.length === 0, () => `damaged: ${String(recovery.damaged[0]?.error)}`)
    // The clean-shutdown mark is the last step of a close: stopping after it is a clean close.
    const isClean = recovery.cleanShutdown
    ensure(isClean ? model.isClosing : loss !== 'none', () => `closed in order: ${isClean}`)
    model.isClosing = false
    const found = isClean ? 'none' : loss
    const repairs = [...recovery.truncations, ...recovery.rebuiltIndexes]
    ensure(!isClean || repairs.length === 0, () => `repaired: ${JSON.stringify(repairs)}`)
    model.foundTopics(
      new Map(
        broker
          .topics()
          .filter(({ name }) => name !== TABLE)
          .map(({ name, partitions }) => [name, partitions.length]),
      ),
    )
    if (isFirst) return
    await this.table.found(this.realTable, found)
    for (const place of this.places()) {
      const { logStartOffset: start, logEndOffset: end } = place.real
      place.model.found(place.name, { start, end }, found)
      const { leaderEpoch } = place.real.log
      const least = place.model.epoch + (isClean || place.model.epoch < 0 ? 0 : 1)
      ensure(leaderEpoch >= least, () => `${place.name} has epoch ${leaderEpoch} again`)
    }
    await this.#checkCommits()
    await this.check()
  }

  /** Compares every partition with the model, which has to be certain about it. */
  async check(): Promise<void> {
    for (const { name, model, real } of this.places()) {
      const { logStartOffset, highWatermark } = real
      const { start, greatestStart, visible, records } = model
      const isWithin = logStartOffset >= start && logStartOffset <= greatestStart
      ensure(isWithin, () => `${name} starts at ${logStartOffset}, not at ${start}`)
      const isShown = highWatermark >= visible && highWatermark <= records.length
      ensure(isShown, () => `${name} is shown up to ${highWatermark}, not ${visible}`)
      await this.checkRecords(name, model, real)
      model.seen(highWatermark)
    }
    await this.table.check(this.realTable)
  }

  /**
   * Checks that every visible record is the one sent there, with none missing. @returns the end.
   */
  async checkRecords(name: string, model: ModelPartition, real: Partition): Promise<number> {
    let next = real.logStartOffset
    const end = real.highWatermark
    for await (const record of real.records({ until: 'end' })) {
      this.checkRecord(name, model, record, next)
      next += 1
    }
    ensure(next === end, () => `${name} has records up to ${next} and is shown up to ${end}`)
    return end
  }

  checkRecord(
    name: string,
    model: ModelPartition,
    record: { offset: number; timestamp: number; value: Buffer | string | null },
    expected: number,
  ): void {
    const { offset, timestamp } = record
    ensure(offset === expected, () => `${name} gives offset ${offset}, not ${expected}`)
    const sent = model.records[offset]
    const isSame = sent?.value === String(record.value) && sent.timestamp === timestamp
    ensure(
      isSame,
      () => `${name} has ${String(record.value)} at ${offset}, not ${sent?.value ?? 'nothing'}`,
    )
  }

  async #checkCommits(): Promise<void> {
    const clamped = new Map(
      this.broker.recovery.clampedOffsets.map((each) => [
        `${each.groupId} ${each.topic}-${each.partition}`,
        each.offset,
      ]),
    )
    for (const groupId of GROUPS) {
      const consumer = this.broker.consumer({ groupId, enableAutoCommit: false })
      for (const { topic, index, name, model } of this.places()) {
        const found = (await consumer.committed({ topic, partition: index }))?.offset ?? -1
        const key = `${groupId} ${name}`
        this.model.foundCommit(key, model, found, clamped.get(key) ?? -1)
        clamped.delete(key)
      }
      await consumer.close()
    }
    ensure(clamped.size === 0, () => `taken back without a commit: ${[...clamped.keys()].join()}`)
  }

  /** Waits for everything that was requested: nothing fails unless a step makes it fail. */
  async settleAppends(): Promise<void> {
    // One turn of the event loop runs all pending work of the simulated disk.
    await new Promise((resolve) => setImmediate(resolve))
    for (const { name, model, real } of this.places()) {
      const [end, sent] = [real.logEndOffset, model.records.length]
      ensure(end === sent, () => `${name} ends at ${end}, and ${sent} were sent`)
      model.acknowledged(end, 1)
    }
  }

  /** Stops the machine and starts it again, with whatever the loss leaves. */
  restart(loss: 'process' | 'power', options: { unsynced: 'random' | 'lost'; seed: number }): void {
    this.fileSystem = this.fileSystem.restart(loss, options)
    // Timers of the old broker stay with its clock.
    this.clock = new ManualClock(this.clock.now())
    this.reader = null
    this.seen.clear()
    this.members = [null, null, null]
  }

  /** The model of a topic to be created; with `from`, of that topic with more partitions. */
  modelTopic(
    count: number,
    like: Omit<ModelTopic, 'partitions'>,
    from: readonly ModelPartition[] = [],
  ): ModelTopic {
    const { flushMessages, flushMs } = like
    const added = Array.from(
      { length: count - from.length },
      () => new ModelPartition(flushMessages),
    )
    return { flushMessages, flushMs, partitions: [...from, ...added] }
  }
}
