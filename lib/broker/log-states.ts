import { lockLossIn } from '../errors/lock-lost-by.ts'
import type { Clock } from '../platform/clock.ts'
import type { LogState, LogStateFiles } from '../storage/log-state.ts'
import { compareNames } from './topic-partition.ts'

/**
 * How long after the last save an open may leave further states unsaved; then the next opened log
 * saves.
 */
const PUT_OFF_MS = 5_000

/**
 * The checkpoints of all logs of a broker. Many logs save at about the same time, so saves
 * requested during a write share the next write.
 */
export class LogStates {
  readonly #files: LogStateFiles
  #states: Map<string, LogState>
  /** Whether the map is in file order. A changed log keeps its place. */
  #isSorted = false
  /** Logs whose state on disk may differ from memory. */
  readonly #unsaved = new Set<string>()
  #writing: Promise<void> = Promise.resolve()
  #next: Promise<void> | null = null
  #reading: Promise<void> = Promise.resolve()
  #nextRead: Promise<void> | null = null
  /** Whether a save may be postponed; `null` while every save is written at once. */
  #mayWait: (() => boolean) | null = null

  constructor(files: LogStateFiles, states: Map<string, LogState>) {
    this.#files = files
    this.#states = states
  }

  /** State of a log, by `topic-partition`; offsets are 0 for a new log. */
  get(key: string): LogState {
    return this.#states.get(key) ?? { recoveryPoint: 0, logStartOffset: 0 }
  }

  /**
   * Reads again what the owner of the directory has saved. It reads the states of all logs, because
   * a known log may be gone, and another have its name. Calls share the next read, because many
   * logs are refreshed together; a read in progress may have missed what the caller knows of.
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

  /** Whether the mark of a clean shutdown exists at the moment. */
  areClean(): Promise<boolean> {
    return this.#files.hasCleanShutdownMark()
  }

  /**
   * Opens logs, each of which saves its state.
   *
   * The checkpoint files cover all logs, so they are not replaced for each one. They are written
   * after `open` and, during it, when a log has been opened five seconds after the last save,
   * because an open that is killed repeatedly must still make progress. Until then they understate
   * what is durable, and what is opened must not be changed.
   *
   * @throws the error of `open`, or {@link LockLostError}. A directory can be opened on a full
   * disk, too: a state that cannot be written now is written with the next save of any log.
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
      // The caller gets the first error.
      await this.#writePutOff().catch(() => undefined)
      throw error
    }
    try {
      await this.#writePutOff()
    } catch (error) {
      const lost = lockLossIn(error)
      if (lost !== null) throw lost
    }
  }

  /**
   * Replaces the state of one log; durable when it resolves, except during
   * {@link LogStates.whileOpening}.
   */
  async save(key: string, state: LogState): Promise<void> {
    const known = this.#states.get(key)
    // When many logs are closed or maintained, most states have not changed.
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
      // A refused state must not take effect with the next save of another log.
      if (this.#states.get(key) === state) this.#states.set(key, before)
      throw error
    }
  }

  /** Forgets logs that no longer exist; durable when it resolves. */
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
