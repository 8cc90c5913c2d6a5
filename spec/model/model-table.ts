import type { Partition } from '../../lib/broker/partition.ts'
import { compactionComplaints } from '../crash/compacted-promises.ts'
import { ensure, type Loss } from './model-broker.ts'

/** A compacted topic of one partition, strict, as its user knows it. */
export class ModelTable {
  readonly #keys: string[] = []
  /** By offset; `'null'` for a tombstone. */
  readonly #values: string[] = []
  /** Everything below was acknowledged. */
  #durable = 0

  /** Adds records to the model, before they are appended. @returns where they end */
  give(records: readonly { readonly key: string; readonly value: string | null }[]): number {
    this.#keys.push(...records.map(({ key }) => key))
    this.#values.push(...records.map(({ value }) => String(value)))
    return this.#keys.length
  }

  acknowledged(end: number): void {
    this.#durable = Math.max(this.#durable, end)
  }

  /** Adopts what an open found: from now on, that is the content. */
  async found(real: Partition, loss: Loss): Promise<void> {
    const { logEndOffset: end } = real
    const least = loss === 'none' ? this.#keys.length : this.#durable
    ensure(end >= least, () => `the table ends at ${end}, and ${least} was acknowledged`)
    ensure(end <= this.#keys.length, () => `the table ends at ${end}, beyond what was sent`)
    this.#keys.length = this.#values.length = this.#durable = end
    await this.check(real)
  }

  /**
   * Checks that the last record of each key is present, unless it is a tombstone and all earlier
   * records of the key are gone too. The broker compacts whenever a pass is due, so any other
   * record may be gone.
   */
  async check(real: Partition): Promise<void> {
    const [start, end] = [real.logStartOffset, real.highWatermark]
    ensure(start === 0, () => `the table starts at ${start}`)
    const records: { offset: number; value: string }[] = []
    for await (const { offset, value } of real.records({ until: 'end' })) {
      records.push({ offset, value: String(value) })
    }
    const compaction = { keys: this.#keys, below: Infinity, tombstonesBelow: Infinity }
    const complaints = compactionComplaints(
      'the table',
      { history: this.#values, compaction },
      { start, end, records },
    )
    ensure(complaints.length === 0, () => complaints.join('\n'))
  }
}
