import type { WorkloadRecord } from '../workload.ts'

/** A larger transaction gains nothing and blocks the event loop. */
const MOST_RECORDS = 10_000

interface Waiting {
  readonly resolve: () => void
  readonly reject: (reason: unknown) => void
}

/**
 * The few lines that users of a database write to get one promise per record at a good rate:
 * records that are appended while a commit is in flight go into the next one. Records are committed
 * in the order of the calls.
 */
export class GroupCommit {
  readonly #commit: (records: readonly WorkloadRecord[]) => Promise<void> | undefined
  #records: WorkloadRecord[] = []
  #waiting: Waiting[] = []
  #isRunning = false

  /** @param commit returns a promise; `undefined` if it has already committed. */
  constructor(commit: (records: readonly WorkloadRecord[]) => Promise<void> | undefined) {
    this.#commit = commit
  }

  append(record: WorkloadRecord): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#records.push(record)
      this.#waiting.push({ resolve, reject })
      if (this.#isRunning) return
      this.#isRunning = true
      queueMicrotask(() => {
        void this.#run()
      })
    })
  }

  async #run(): Promise<void> {
    while (this.#records.length > 0) {
      const records = this.#records
      const waiting = this.#waiting
      this.#records = []
      this.#waiting = []
      try {
        for (let from = 0; from < records.length; from += MOST_RECORDS) {
          const end = Math.min(from + MOST_RECORDS, records.length)
          const whole = from === 0 && end === records.length
          const done = this.#commit(whole ? records : records.slice(from, end))
          if (done !== undefined) await done
          for (let index = from; index < end; index++) waiting[index]?.resolve()
        }
      } catch (error) {
        for (const { reject } of waiting) reject(error)
      }
    }
    this.#isRunning = false
  }
}
