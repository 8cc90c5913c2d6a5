import { LockLostError } from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import type { LogState, LogStateFiles } from '../storage/log-state.ts'
import { compareNames } from './topic-partition.ts'

/** For so long, and then until the next log is open, what an open has found stays unsaved. */
const PUT_OFF_MS = 5_000

/**
 * The checkpoints of all logs of a broker. Many logs save at about the same time, so saves that
 * come while one is being written share the next.
 */
export class LogStates {
  readonly #files: LogStateFiles
  #states: Map<string, LogState>
  /** Whether they are in the order of the files. That of a log stays where it is when it changes. */
  #isSorted = false
  /** Of which the files may say something else than memory. */
  readonly #unsaved = new Set<string>()
  #writing: Promise<void> = Promise.resolve()
  #next: Promise<void> | null = null
  #reading: Promise<void> = Promise.resolve()
  #nextRead: Promise<void> | null = null
  /** Whether a save need not be written yet; `null` while each is at once. */
  #mayWait: (() => boolean) | null = null

  constructor(files: LogStateFiles, states: Map<string, LogState>) {
    this.#files = files
    this.#states = states
  }

  /** What is known of a log, by `topic-partition`; offsets 0 for one that is new. */
  get(key: string): LogState {
    return this.#states.get(key) ?? { recoveryPoint: 0, logStartOffset: 0 }
  }

  /**
   * Reads again what the owner of the directory has saved: of every log, because one that was known may be
   * gone by now, and another have its name. Calls share a read that is yet to begin, as many logs are
   * looked at together; one under way may have missed what the caller knows of.
   */
  reload(): Promise<void> {
    this.#nextRead ??= this.#reading
      .catch(() => undefined)
      .then(() => {
        this.#nextRead = null
        this.#reading = this.#read()
        return this.#reading
      })
    return this.#nextRead
  }

  async #read(): Promise<void> {
    this.#states = await this.#files.read()
    this.#isSorted = false
  }

  /** Whether the logs are closed in order as of now. */
  areClean(): Promise<boolean> {
    return this.#files.hasCleanShutdownMark()
  }

  /**
   * Opens logs of which each saves its state. The files are of all logs, so they are not replaced for each, but
   * behind `open`, and with the first log that is open five seconds behind the last save: an open that is
   * killed again and again must get on. Until then they say less of what is durable than is true, and what is
   * opened must not be changed.
   *
   * @throws what `open` rejects with, or {@link LockLostError}. A directory opens on a full disk too: what cannot
   * be written now is with the next save of any log.
   */
  async whileOpening(clock: Clock, open: () => Promise<void>): Promise<void> {
    let dueMs = clock.monotonic() + PUT_OFF_MS
    this.#mayWait = () => {
      const nowMs = clock.monotonic()
      if (nowMs < dueMs) return true
      dueMs = nowMs + PUT_OFF_MS
      return false
    }
    try {
      await open()
    } catch (error) {
      // The caller hears of what came first.
      await this.#writePutOff().catch(() => undefined)
      throw error
    }
    try {
      await this.#writePutOff()
    } catch (error) {
      if (error instanceof LockLostError) throw error
    }
  }

  /** Replaces the state of one log; durable when it resolves, but while logs are opened. */
  async save(key: string, state: LogState): Promise<void> {
    const known = this.#states.get(key)
    // Of many logs that are closed or looked after most have not changed.
    if (known !== undefined && !this.#unsaved.has(key) && areSame(known, state)) return
    const before = this.get(key)
    if (known === undefined) this.#isSorted = false
    this.#states.set(key, state)
    this.#unsaved.add(key)
    if (this.#mayWait?.() === true) return
    try {
      await this.#write()
      if (this.#states.get(key) === state) this.#unsaved.delete(key)
    } catch (error) {
      // What was refused must not come into force with the next save of another log.
      if (this.#states.get(key) === state) this.#states.set(key, before)
      throw error
    }
  }

  /** Forgets logs that exist no more; durable when it resolves. */
  async forget(keys: readonly string[]): Promise<void> {
    const gone = new Set(keys)
    const known = [...this.#states].filter(([key]) => gone.has(key))
    if (known.length === 0) return
    for (const [key] of known) this.#states.delete(key)
    try {
      await this.#write()
    } catch (error) {
      // Otherwise the next attempt would find nothing to write, and the file would keep them.
      for (const [key, state] of known) this.#states.set(key, this.#states.get(key) ?? state)
      this.#isSorted = false
      throw error
    }
  }

  async #writePutOff(): Promise<void> {
    this.#mayWait = null
    if (this.#unsaved.size === 0) return
    const putOff = [...this.#unsaved].map((key) => [key, this.#states.get(key)] as const)
    await this.#write()
    for (const [key, state] of putOff)
      if (this.#states.get(key) === state) this.#unsaved.delete(key)
  }

  #write(): Promise<void> {
    if (this.#next !== null) return this.#next
    const next = this.#writing
      .catch(() => undefined)
      .then(() => {
        this.#next = null
        this.#sort()
        this.#writing = this.#files.write(this.#states)
        return this.#writing
      })
    this.#next = next
    return next
  }

  #sort(): void {
    if (!this.#isSorted) this.#states = new Map([...this.#states].sort(byKey))
    this.#isSorted = true
  }
}

function areSame(left: LogState, right: LogState): boolean {
  return left.recoveryPoint === right.recoveryPoint && left.logStartOffset === right.logStartOffset
}

function byKey([left]: [string, LogState], [right]: [string, LogState]): number {
  return compareNames(left, right)
}
