/**
 * What a user of a broker may rely on, as arrays and maps. Every change is noted twice: when it is
 * requested, and when the answer confirms it. A crash in between may leave either state. This file
 * uses nothing of the library.
 */

/** The broker's state is not what was promised. */
export class BrokenPromise extends Error {
  override readonly name = 'BrokenPromise'
}

/** @throws {@link BrokenPromise} if `isKept` is false. */
export function ensure(isKept: boolean, complaint: () => string): void {
  if (!isKept) throw new BrokenPromise(complaint())
}

/** How an open finds the directory: after a clean close, a killed process, or a power loss. */
export type Loss = 'none' | 'process' | 'power'

export interface ModelRecord {
  readonly value: string
  readonly timestamp: number
  /**
   * Counts the times at which records may have been lost. A record of a later era is not the record
   * that it replaces.
   */
  readonly era: number
}

/** One partition. All ends are exclusive, and ascend in the order below. */
export class ModelPartition {
  /** Every record that was ever appended, by offset, including deleted ones. */
  readonly records: ModelRecord[] = []
  /** The log starts at this offset or above: the deletion of everything below was confirmed. */
  start = 0
  /** The log starts at this offset or below: no deletion beyond it was requested. */
  greatestStart = 0
  /** Everything below survives a power loss. */
  durable = 0
  /** Everything below is visible to consumers. */
  visible = 0
  /** Everything below survives a crash of the process. */
  written = 0
  /** The highest leader epoch of an acknowledged record; -1 before the first. */
  epoch = -1
  readonly flushMessages: number

  constructor(flushMessages: number) {
    this.flushMessages = flushMessages
  }

  /** Notes that an append resolved, which ended at `end`. */
  acknowledged(end: number, acks: 0 | 1 | 'all'): void {
    if (acks === 0) return
    this.written = Math.max(this.written, end)
    if (acks === 1) return
    this.visible = Math.max(this.visible, end)
    this.durable = Math.max(this.durable, end - this.flushMessages + 1)
  }

  /** Notes that a reader saw the records below `end`. On a strict topic none of them may vanish. */
  seen(end: number): void {
    this.visible = Math.max(this.visible, end)
    this.written = Math.max(this.written, end)
    if (this.flushMessages === 1) this.durable = Math.max(this.durable, end)
  }

  /** Notes that a reader in another process has seen the records below `end`. */
  followed(end: number): void {
    this.written = Math.max(this.written, end)
  }

  /** Notes that everything below `end` was made durable. */
  covered(end: number): void {
    this.seen(end)
    this.durable = Math.max(this.durable, end)
  }

  deleted(offset: number): void {
    this.start = Math.max(this.start, offset)
    this.covered(offset)
  }

  /** Notes that everything from `end` on was lost by accident. */
  cutTo(end: number): void {
    this.records.length = end
    this.written = this.visible = this.durable = end
  }

  /** Adopts what an open found: from now on, that is the content. */
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

  /** Where the records of `era` and of all earlier eras end. */
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

/** The model of a whole broker. */
export class Model {
  readonly topics: Map<string, ModelTopic> = new Map()
  /**
   * By `group topic-partition`, oldest first: the last confirmed commit, and all requested since.
   */
  readonly commits: Map<string, ModelCommit[]> = new Map()
  era = 0
  /**
   * The change of topics in progress: the topic that the name will have, `null` after a deletion.
   */
  changing: { readonly name: string; readonly after: ModelTopic | null } | null = null

  /** Whether it is being closed cleanly. A new directory counts as closed cleanly. */
  isClosing = true

  /** Notes that the change of topics in progress is done. */
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

  /** Adopts the topics that an open found, with their numbers of partitions. */
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

  /** Notes that the commit was confirmed: it is durable, and so is everything below it. */
  committed(key: string, partition: ModelPartition, commit: ModelCommit): void {
    const commits = this.commitsOf(key)
    this.commits.set(key, commits.slice(Math.max(0, commits.indexOf(commit))))
    partition.covered(commit.offset)
  }

  /** Notes that the commit was refused, and does not apply to the group. */
  refusedCommit(key: string, commit: ModelCommit): void {
    this.commits.set(
      key,
      this.commitsOf(key).filter((each) => each !== commit),
    )
  }

  commitsOf(key: string): readonly ModelCommit[] {
    return this.commits.get(key) ?? [NO_COMMIT]
  }

  /** Adopts the committed offset that an open found, and the one that it was clamped from. */
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
