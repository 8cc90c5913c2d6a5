import type { FileSystem } from '../../lib/platform/file-system.ts'
import { Log } from '../../lib/storage/log.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { bytesOf, NOW, SMALL } from '../storage/log-fixtures.ts'
import type { Ledger, PartitionLedger } from './ledger.ts'

/** The directory of every workload's log. */
export const LOG = '/orders-0'

export function openSmallLog(fileSystem: FileSystem): Promise<Log> {
  return Log.open(LOG, { fileSystem, clock: new ManualClock(NOW), config: SMALL })
}

/** Drives a log without a broker, and notes what it is asked to do and what its answers promise. */
export class LogSession {
  readonly #fileSystem: FileSystem
  readonly #ledger: Ledger
  #log: Log | null = null
  #sent = 0
  /** The key of each record, by value. */
  readonly #keys = new Map<string, string>()

  constructor(fileSystem: FileSystem, ledger: Ledger) {
    this.#fileSystem = fileSystem
    this.#ledger = ledger
  }

  get log(): Log {
    if (this.#log === null) throw new Error('the log is not open')
    return this.#log
  }

  get partition(): PartitionLedger {
    const partition = this.#ledger.topics['orders']?.[0]?.partitions[0]
    if (partition === undefined) throw new Error('the ledger has no log')
    return partition
  }

  async open(): Promise<void> {
    this.#log = await openSmallLog(this.#fileSystem)
  }

  async close(): Promise<void> {
    await this.log.close()
    this.#promise(this.partition.history.length, true)
  }

  /** Appends `count` records in one batch. */
  async append(count = 1): Promise<void> {
    const values = this.#values(count)
    const { baseOffset } = await this.log.append(
      values.map((value, slot) => ({ value, timestamp: NOW + slot })),
    )
    this.#promise(baseOffset + count, true)
  }

  /** Appends one batch for each key. */
  async appendKeys(...keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const [value = ''] = this.#values(1)
      this.#keys.set(value, key)
      const { baseOffset } = await this.log.append([{ key, value, timestamp: NOW }])
      this.#promise(baseOffset + 1, true)
    }
  }

  /**
   * Rolls, and compacts the records with keys. Segments are replaced one group after the other, so
   * a crash may leave the log compacted up to any offset.
   */
  async compact(): Promise<void> {
    await this.log.roll()
    const { partition } = this
    const { history } = partition
    const keyOf = (value: string | null): string | undefined => this.#keys.get(value ?? '')
    const upTo = (end: number): PartitionLedger => ({
      ...partition,
      history: history.map((value, offset) => {
        const isLast = history.findLastIndex((each) => keyOf(each) === keyOf(value)) === offset
        return offset < end && !isLast ? null : value
      }),
    })
    this.#candidates(Array.from({ length: history.length + 1 }, (_, end) => upTo(end)))
    await this.log.cleaner.compact({ checkpoint: 0, dedupeBufferBytes: 4096 })
    this.#candidates([upTo(history.length)])
  }

  /** Appends `count` batches without a sync: until the next flush, a power loss may lose them. */
  async write(count = 1): Promise<void> {
    const values = this.#values(count)
    const result = await this.log.appendBatches(values.map((value) => bytesOf({ values: [value] })))
    this.#promise(result.baseOffset + count, false)
  }

  async flush(): Promise<void> {
    const end = this.partition.history.length
    await this.log.flush()
    this.#promise(end, true)
  }

  /** Truncates. The batch that holds `offset` is lost from its start, offset `restEnd`, on. */
  async truncateTo(offset: number, restEnd: number = offset): Promise<void> {
    const { partition } = this
    partition.written = Math.min(partition.written, restEnd)
    partition.durable = Math.min(partition.durable, restEnd)
    const before = { ...partition, history: [...partition.history] }
    const after = { ...partition, history: before.history.slice(0, offset) }
    after.history.fill(null, restEnd)
    this.#candidates([before, after])
    await this.log.truncateTo(offset)
    this.#candidates([after])
    this.#promise(restEnd, true)
  }

  async deleteBefore(offset: number): Promise<void> {
    this.partition.greatestStart = offset
    await this.log.advanceLogStartOffset(offset)
    this.partition.leastStart = offset
    this.#promise(offset, true)
  }

  #candidates(partitions: readonly PartitionLedger[]): void {
    this.#ledger.topics['orders'] = partitions.map((partition) => ({
      segmentBytes: SMALL.segmentBytes ?? 0,
      partitions: [partition],
    }))
  }

  #values(count: number): string[] {
    const values = Array.from({ length: count }, () => {
      this.#sent += 1
      return `${this.#sent}`
    })
    this.partition.history.push(...values)
    return values
  }

  #promise(end: number, isDurable: boolean): void {
    const { partition } = this
    partition.written = Math.max(partition.written, end)
    if (isDurable) partition.durable = Math.max(partition.durable, end)
  }
}
