/** One record that was sent, and its reported outcome. */
export interface SentRecord {
  readonly value: string
  outcome: 'pending' | 'acknowledged' | 'not-written' | 'unknown'
  /** How many were sent when its outcome became unknown: later ones may follow without it. */
  doubtedAt: number
  /** Its offset, once acknowledged. */
  offset: number
}

/** A record as it was read. */
export interface FoundRecord {
  readonly offset: number
  readonly value: string
}

/** What one partition must hold, may hold and must not hold, over any number of stops. */
export class PartitionLedger {
  readonly name: string
  /** Whether acknowledged records survive the stop. If not, a prefix of what was sent is left. */
  readonly isDurable: boolean
  /** By offset: what the last check found. It had been synced before it became visible. */
  readonly #known: string[] = []
  #sent: SentRecord[] = []
  /**
   * Everything below was deleted with the deletion acknowledged; and everything below which a
   * deletion had been requested.
   */
  deletedBelow = 0
  deletingBelow = 0

  constructor(name: string, isDurable: boolean) {
    this.name = name
    this.isDurable = isDurable
  }

  /** All values must differ, so that none is mistaken for another. */
  send(value: string): SentRecord {
    const record: SentRecord = { value, outcome: 'pending', doubtedAt: Infinity, offset: -1 }
    this.#sent.push(record)
    return record
  }

  /**
   * Notes that its outcome is unknown: records sent from now on may follow even if it is missing.
   */
  doubt(record: SentRecord): void {
    record.outcome = 'unknown'
    record.doubtedAt = this.#sent.length
  }

  /** How many of the records sent since the last check were acknowledged. */
  get acknowledgedCount(): number {
    return this.#sent.filter((each) => each.outcome === 'acknowledged').length
  }

  /**
   * Compares the partition's content with what was sent.
   *
   * @param found every record from `logStartOffset` on.
   * @returns what is wrong; empty if nothing is. The next check then expects what was found.
   */
  look(found: readonly FoundRecord[], logStartOffset: number): string[] {
    const problems: string[] = []
    const wrong = (what: string): void => void problems.push(`${this.name}: ${what}`)
    if (logStartOffset < this.deletedBelow || logStartOffset > this.deletingBelow) {
      wrong(
        `starts at ${logStartOffset}, deleted below ${this.deletedBelow} to ${this.deletingBelow}`,
      )
    }
    found.forEach(({ offset }, index) => {
      if (offset !== logStartOffset + index) wrong(`offset ${offset} follows a gap`)
    })
    const byOffset = new Map(found.map(({ offset, value }) => [offset, value]))
    this.#known.forEach((value, offset) => {
      if (offset < logStartOffset) return
      const there = byOffset.get(offset)
      if (there !== value)
        wrong(
          `offset ${offset} was ${short(value)} and is ${there === undefined ? 'lost' : short(there)}`,
        )
    })
    const deleted = Math.max(0, logStartOffset - this.#known.length)
    this.#lookAtNew(
      found.filter(({ offset }) => offset >= this.#known.length),
      deleted,
      wrong,
    )
    for (const { value, outcome, offset } of this.#sent) {
      if (!this.isDurable || outcome !== 'acknowledged' || offset < logStartOffset) continue
      if (byOffset.get(offset) !== value)
        wrong(`${short(value)} at ${offset} was acknowledged and is lost`)
    }
    for (const { offset, value } of found) this.#known[offset] = value
    this.#known.length = Math.max(this.#known.length, logStartOffset)
    this.#sent = []
    return problems
  }

  /** Checks that new records are in sending order, and that only those that may be missing are. */
  #lookAtNew(found: readonly FoundRecord[], deleted: number, wrong: (what: string) => void): void {
    const candidates = this.#sent.filter((each) => each.outcome !== 'not-written')
    let next = deleted
    for (const { offset, value } of found) {
      const at = candidates.findIndex((each, index) => index >= next && each.value === value)
      if (at < 0) {
        wrong(
          `offset ${offset} is ${short(value)}: not sent, not in order, or said not to be written`,
        )
        continue
      }
      const sentAt = this.#sent.indexOf(candidates[at] as SentRecord)
      const skipped = candidates
        .slice(next, at)
        .filter(({ doubtedAt }) => doubtedAt > sentAt)
        .map((each) => short(each.value))
      if (skipped.length > 0) {
        wrong(
          `${skipped.join(', ')} is missing in front of offset ${offset}, which is ${short(value)}`,
        )
      }
      next = at + 1
    }
  }
}

/** The beginning of a value, enough to find it. */
function short(value: string): string {
  return value.length > 24 ? `${value.slice(0, 24)}…` : value
}
