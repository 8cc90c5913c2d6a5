import type { Partition } from '../../lib/broker/partition.ts'

/** The value of a key; -1 if it was deleted, or never existed. */
type Value = number

/** What a process was promised over all its lives, as it reported. Every violation is thrown. */
export class LifeLedger {
  readonly #events: Map<number, number>[]
  /** By partition, the number of the last event seen in the current check. */
  readonly #last: number[]
  /** By partition, the offsets seen in the current check. */
  readonly #seen: Set<number>[]
  readonly #commits: Map<string, number> = new Map()
  /** By key: the value acknowledged last, and those tried since. */
  readonly #table: Map<string, { acknowledged: Value; tried: Value[] }> = new Map()
  #eventCount = 0
  #writeCount = 0
  #commitCount = 0

  constructor(partitions: number) {
    this.#events = Array.from({ length: partitions }, () => new Map<number, number>())
    this.#seen = Array.from({ length: partitions }, () => new Set<number>())
    this.#last = Array.from({ length: partitions }, () => -1)
  }

  get figures(): Record<string, number> {
    return { events: this.#eventCount, writes: this.#writeCount, commits: this.#commitCount }
  }

  /** Notes a line of the process's output. A line that was cut off by the kill is ignored. */
  note(kind: string, words: readonly string[]): void {
    if (kind === 'e' && words.length === 4) {
      const [slot = 0, baseOffset = 0, first = 0, count = 0] = words.map(Number)
      for (let each = 0; each < count; each += 1)
        this.#events[slot]?.set(baseOffset + each, first + each)
      this.#eventCount += count
    } else if (kind === 'T' && words.length === 2) {
      this.#entry(String(words[0])).tried.push(Number(words[1]))
    } else if (kind === 't') {
      const entry = this.#entry(String(words[0]))
      entry.acknowledged = entry.tried.at(-1) ?? entry.acknowledged
      entry.tried = []
      this.#writeCount += 1
    } else if (kind === 'c' && words.length === 3) {
      this.#commits.set(`${String(words[0])} ${String(words[1])}`, Number(words[2]))
      this.#commitCount += 1
    }
  }

  /** Checks that an event is where it was acknowledged or seen, and follows no later event. */
  checkEvent(slot: number, offset: number, seq: number): void {
    const events = this.#events[slot]
    const known = events?.get(offset)
    const last = this.#last[slot] ?? -1
    if (known !== undefined && known !== seq) {
      throw new Error(`event ${seq} is at ${offset} of ${slot}, where ${known} was`)
    }
    if (seq <= last) throw new Error(`event ${seq} is behind ${last} at ${offset} of ${slot}`)
    this.#last[slot] = seq
    events?.set(offset, seq)
    this.#seen[slot]?.add(offset)
  }

  /** Checks that everything acknowledged and not deleted has been seen; then starts a new check. */
  checkAllSeen(slot: number, { logStartOffset }: Partition): void {
    const events = this.#events[slot] ?? new Map<number, number>()
    for (const [offset, seq] of events) {
      if (offset < logStartOffset) events.delete(offset)
      else if (this.#seen[slot]?.has(offset) !== true) {
        throw new Error(`event ${seq} is missing at ${offset} of ${slot}`)
      }
    }
    this.#seen[slot]?.clear()
    this.#last[slot] = -1
  }

  /** Checks that a group is not before the last offset that it was told is stored. */
  checkCommit(groupId: string, slot: number, found: number): void {
    const least = this.#commits.get(`${groupId} ${slot}`) ?? 0
    if (found < least)
      throw new Error(`${groupId} is at ${found} of ${slot}, and committed ${least}`)
  }

  /** Checks that every key has the value written last, or one whose write was in progress. */
  async checkTable(partition: Partition): Promise<void> {
    const found = new Map<string, Value>()
    for await (const { key, value } of partition.records({ until: 'end' })) {
      found.set(String(key), value === null ? -1 : Number(String(value)))
    }
    for (const key of new Set([...found.keys(), ...this.#table.keys()])) {
      const entry = this.#entry(key)
      const value = found.get(key) ?? -1
      if (value !== entry.acknowledged && !entry.tried.includes(value)) {
        throw new Error(
          `${key} is ${value}, not ${entry.acknowledged} or one of [${entry.tried.join(', ')}]`,
        )
      }
      entry.acknowledged = value
      entry.tried = []
    }
  }

  #entry(key: string): { acknowledged: Value; tried: Value[] } {
    const entry = this.#table.get(key) ?? { acknowledged: -1, tried: [] }
    this.#table.set(key, entry)
    return entry
  }
}
