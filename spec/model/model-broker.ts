/**
 * What a user of a broker may rely on, as arrays and maps. Every change is noted twice: what is asked
 * for, when the call is made, and what its answer promises, when that comes. A crash in between may
 * leave the one or the other. Nothing of the library is used here.
 */

/** What is there is not what was promised. */
export class BrokenPromise extends Error {
  override readonly name = 'BrokenPromise'
}

/** @throws {@link BrokenPromise} unless it is `true`. */
export function ensure(isKept: boolean, complaint: () => string): void {
  if (!isKept) throw new BrokenPromise(complaint())
}

/** How an open finds the directory: closed in order, its process killed, or its power lost. */
export type Loss = 'none' | 'process' | 'power'

export interface ModelRecord {
  readonly value: string
  readonly timestamp: number
  /** Counts the times at which records may have been lost: a later one is not what it replaces. */
  readonly era: number
}

/** One partition. All ends are exclusive, and grow in this order. */
export class ModelPartition {
  /** Everything that was ever given to it, by offset, also what is deleted. */
  readonly records: ModelRecord[] = []
  /** It begins here or above: what is below was deleted, and that was answered. */
  start = 0
  /** It begins here or below: nothing above was asked to be deleted. */
  greatestStart = 0
  /** Outlives a power loss. */
  durable = 0
  /** Is shown to consumers. */
  visible = 0
  /** Outlives the process. */
  written = 0
  /** The highest leader epoch that a record was acknowledged in; -1 before the first. */
  epoch = -1
  readonly flushMessages: number

  constructor(flushMessages: number) {
    this.flushMessages = flushMessages
  }

  /** An append resolved, which ended at `end`. */
  acknowledged(end: number, acks: 0 | 1 | 'all'): void {
    if (acks === 0) return
    this.written = Math.max(this.written, end)
    if (acks === 1) return
    this.visible = Math.max(this.visible, end)
    this.durable = Math.max(this.durable, end - this.flushMessages + 1)
  }

  /** Somebody has seen the records below `end`, and on a strict topic nothing vanishes that was seen. */
  seen(end: number): void {
    this.visible = Math.max(this.visible, end)
    this.written = Math.max(this.written, end)
    if (this.flushMessages === 1) this.durable = Math.max(this.durable, end)
  }

  /** Somebody beside the broker has seen the records below `end`. */
  followed(end: number): void {
    this.written = Math.max(this.written, end)
  }

  /** Everything below `end` was made durable. */
  covered(end: number): void {
    this.seen(end)
    this.durable = Math.max(this.durable, end)
  }

  deleted(offset: number): void {
    this.start = Math.max(this.start, offset)
    this.covered(offset)
  }

  /** Everything from `end` on is lost by accident, and known to be. */
  cutTo(end: number): void {
    this.records.length = end
    this.written = this.visible = this.durable = end
  }

  /** What an open has found: from now on that is what there is. */
  found(name: string, found: { start: number; end: number }, loss: Loss): void {
    const least = { none: this.records.length, process: this.written, power: this.durable }[loss]
    const { start, end } = found
    ensure(end >= least, () => `${name} ends at ${end}, and ${least} was promised`)
    ensure(end <= this.records.length, () => `${name} ends at ${end}, beyond what was sent`)
    ensure(start >= this.start, () => `${name} starts at ${start}, ${this.start} was promised`)
    ensure(start <= this.greatestStart, () => `${name} starts at ${start}, and nobody asked for it`)
    this.cutTo(end)
    this.start = this.greatestStart = start
  }

  /** Where the records of `era` and of all before it end. */
  endOfEra(era: number): number {
    const end = this.records.findIndex((each, at) => at >= this.start && each.era > era)
    return end < 0 ? this.records.length : end
  }
}

export interface ModelTopic {
  readonly flushMessages: number
  readonly flushMs: number
  readonly partitions: readonly ModelPartition[]
}

/** An offset that a group may have committed, -1 for none, with the era of the record before it. */
export interface ModelCommit {
  readonly offset: number
  readonly era: number
}

const NO_COMMIT: ModelCommit = { offset: -1, era: Infinity }

/** The whole of it. */
export class Model {
  readonly topics: Map<string, ModelTopic> = new Map()
  /** By `group topic-partition`, oldest first: the last that was answered, and those asked for since. */
  readonly commits: Map<string, ModelCommit[]> = new Map()
  era = 0
  /** The change of topics under way: what becomes of a name, `null` for nothing. */
  changing: { readonly name: string; readonly after: ModelTopic | null } | null = null

  /** Whether it is being closed in order, as a directory that is made anew counts as being. */
  isClosing = true

  /** The change of topics under way is done. */
  changed(): void {
    if (this.changing === null) return
    const { name, after } = this.changing
    this.changing = null
    if (after !== null) this.topics.set(name, after)
    else this.topics.delete(name)
    for (const key of this.commits.keys()) {
      if (after === null && key.includes(` ${name}-`)) this.commits.delete(key)
    }
  }

  /** Which topics an open has found, with the numbers of their partitions. */
  foundTopics(counts: ReadonlyMap<string, number>): void {
    const name = this.changing?.name ?? ''
    const after = this.changing?.after?.partitions.length
    if (counts.get(name) === after) this.changed()
    this.changing = null
    for (const each of new Set([...counts.keys(), ...this.topics.keys()])) {
      const [found, known] = [counts.get(each) ?? 0, this.topics.get(each)?.partitions.length ?? 0]
      ensure(found === known, () => `topic ${each} has ${found} partitions, not ${known}`)
    }
  }

  mayCommit(key: string, partition: ModelPartition, offset: number): ModelCommit {
    const commit = { offset, era: partition.records[offset - 1]?.era ?? Infinity }
    this.commits.set(key, [...this.commitsOf(key), commit])
    return commit
  }

  /** The commit was answered: it is durable, with all that is below it. */
  committed(key: string, partition: ModelPartition, commit: ModelCommit): void {
    const commits = this.commitsOf(key)
    this.commits.set(key, commits.slice(Math.max(0, commits.indexOf(commit))))
    partition.covered(commit.offset)
  }

  /** The commit was refused, and is not what the group is at. */
  refusedCommit(key: string, commit: ModelCommit): void {
    this.commits.set(
      key,
      this.commitsOf(key).filter((each) => each !== commit),
    )
  }

  commitsOf(key: string): readonly ModelCommit[] {
    return this.commits.get(key) ?? [NO_COMMIT]
  }

  /** What an open has found a group at, and what it says it has taken back. */
  foundCommit(key: string, partition: ModelPartition, found: number, clampedFrom: number): void {
    const commits = this.commitsOf(key)
    const kept = commits.find(({ offset, era }) => {
      const to = Math.min(offset, partition.endOfEra(era))
      return to === found && clampedFrom === (to < offset ? offset : -1)
    })
    const list = commits.map(({ offset, era }) => `${offset} of era ${era}`).join(' or ')
    const taken = clampedFrom < 0 ? '' : `, taken back from ${clampedFrom}`
    ensure(kept !== undefined, () => `${key} is at ${found}${taken}, and committed was ${list}`)
    this.commits.set(key, [{ offset: found, era: partition.records[found - 1]?.era ?? Infinity }])
  }
}
