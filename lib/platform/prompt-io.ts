import { behindMicrotasks, onNextTurn } from './event-loop.ts'
import { PromptRest } from './prompt-rest.ts'

/** Kinds of synchronous calls. Opening a file, its size and lists of names are reads. */
export type PromptKind = 'read' | 'write'

/**
 * Larger calls are worth the detour to another thread. The limit for writes is higher: this thread
 * has just encoded the bytes, at three times the cost of copying them to the page cache, and they
 * are in its processor's cache. On another processor the copy takes twice as long, while this
 * thread is idle because it encodes nothing more until the write is done. An append chain writes at
 * most 1 MiB at a time, unless one append is larger, and at most 4 MiB if a sync follows, beside
 * which the detour costs nothing.
 */
const MAX_BYTES = { read: 64 * 1024, write: 2 * 1024 * 1024 } as const

/**
 * How long reads may prolong one turn of the event loop; writes may do so for as long. Then timers
 * and sockets run. A reader that replays a log uses up all of its time, so with a common limit an
 * append would wait one turn for its write, and another for its sync.
 */
const MAX_TURN_MS = 1

/**
 * The same for reads while somebody waits for syncs. The loop must turn to report an
 * acknowledgement, and if each sync is made on a thread, a record waits for three or four turns. A
 * replay is not measurably slower because of this: a turn takes some 20 µs.
 */
const MAX_READ_TURN_BESIDE_SYNCS_MS = 0.5
/** How long after a sync the next one is expected: on a busy disk, groups are this far apart. */
const BESIDE_SYNCS_MS = 100

/** What a {@link PromptIo} needs of the system; replaced by specs only. */
export interface PromptIoSystem {
  /** Milliseconds since an arbitrary start; never decreases. */
  now(): number
  /** Calls `callback` in the next turn of the event loop. */
  nextTurn(callback: () => void): void
  /** Calls `callback` once everything that needs no turn of the event loop has ended. */
  behindMicrotasks(callback: () => void): void
  /** How often this process has waited for a disk read. Never decreases; may overcount. */
  diskReads(): number
}

// Captured before anybody can replace it.
const { performance } = globalThis
const SYSTEM: PromptIoSystem = {
  now: () => performance.now(),
  nextTurn: onNextTurn,
  behindMicrotasks,
  // Windows counts every read here, so there each slow read is taken for a disk read.
  diskReads: () => process.resourceUsage().fsRead,
}

/**
 * Decides which calls are made synchronously instead of on a thread of the pool.
 *
 * A few KiB are copied to or from the page cache in 1 to 4 µs. Handing them to another thread and
 * back takes 35 µs or more, which delays every record and acknowledgement. But a synchronous call
 * holds up everything else in the process. So only small calls are synchronous, for at most 1 ms of
 * one turn of the event loop for each kind, and 0.5 ms for reads while somebody waits for syncs,
 * even if a loop of awaits never lets it turn. After a call that took more than 1 ms, because the
 * bytes came from the disk or had to wait for it, its kind is left to the pool for a while, see
 * {@link PromptRest}. The system reports whether a read reached the disk; nothing reports it for a
 * write.
 *
 * The same applies to names and sizes of files, and to opening existing files: opening a log takes
 * dozens of these calls. It does not apply to calls that create or remove a name, which wait for
 * the disk or its journal by nature, nor to syncs, for which `PromptSync` requires proof.
 */
export class PromptIo {
  readonly #system: PromptIoSystem
  /** When the first call of each kind was made in this turn; `null` if there was none. */
  readonly #startsMs: Record<PromptKind, number | null> = { read: null, write: null }
  #isTurnAwaited = false
  /** When a sync was last requested. */
  #syncMs = -Infinity
  readonly #rests: Readonly<Record<PromptKind, PromptRest>>
  #diskReads: number
  /** Called when the loop has turned. A caller that then finds no time left uses a thread. */
  #callers: (() => void)[] = []
  /** Called one after another while there is time, however long their work takes. */
  readonly #workers: Record<PromptKind, (() => void)[]> = { read: [], write: [] }
  readonly #endTurn = (): void => {
    this.#startsMs.read = null
    this.#startsMs.write = null
    this.#isTurnAwaited = false
    const callers = this.#callers
    this.#callers = []
    for (const resolve of callers) resolve()
    this.#releaseNext('read')
    this.#releaseNext('write')
  }

  constructor(system: PromptIoSystem = SYSTEM) {
    this.#system = system
    this.#diskReads = system.diskReads()
    const hasReadDisk = (): boolean => this.#hasReadDisk()
    this.#rests = { read: new PromptRest(hasReadDisk), write: new PromptRest(() => true) }
  }

  /**
   * Makes a call, or declines to.
   *
   * @param sizeBytes bytes to be read or written.
   * @param call returns the number of bytes moved.
   * @returns the result of `call`; -1 if it was not made, and has to be left to the pool.
   * @throws what `call` throws.
   */
  try(kind: PromptKind, sizeBytes: number, call: () => number): number {
    if (sizeBytes > MAX_BYTES[kind]) return -1
    const rest = this.#rests[kind]
    const startMs = this.#system.now()
    if (!rest.isOver(startMs) || !this.#isInTime(kind, startMs)) return -1
    return this.#timed(startMs, rest, call)
  }

  /**
   * The same for a call that moves no bytes: one that opens a file, or reads its size.
   *
   * @param call may decline as well.
   * @param kind whose share of the turn the call is made in.
   * @returns `undefined` if it was not made.
   */
  attempt<T>(call: () => T | undefined, kind: PromptKind = 'read'): T | undefined {
    const rest = this.#rests.read
    const startMs = this.#system.now()
    if (!rest.isOver(startMs) || !this.#isInTime(kind, startMs)) return undefined
    return this.#timed(startMs, rest, call)
  }

  /**
   * Makes a call that {@link PromptIo.attempt} has declined once the event loop has turned, if only
   * the time of this turn was used up.
   * @returns `undefined` if it was not made, and has to be left to the pool.
   */
  async attemptNextTurn<T>(call: () => T | undefined): Promise<T | undefined> {
    const turn = this.whenTurned('read', 0)
    if (turn === null) return undefined
    await turn
    return this.attempt(call)
  }

  /** Notes that a sync is requested. @returns whether there is time to make it now */
  hasTime(): boolean {
    const nowMs = this.#system.now()
    this.#syncMs = nowMs
    return this.#rests.write.isOver(nowMs) && this.#isInTime('write', nowMs)
  }

  /**
   * Resolves once the event loop has turned, if a declined call is then worth another try: if only
   * the time of this turn is used up, a thread of the pool would not be faster.
   *
   * @returns `null` if it is not worth one.
   */
  whenTurned(kind: PromptKind, sizeBytes: number): Promise<void> | null {
    const isResting = !this.#rests[kind].isOver(this.#system.now())
    if (sizeBytes > MAX_BYTES[kind] || isResting || this.#startsMs[kind] === null) return null
    return new Promise((resolve) => {
      this.#callers.push(resolve)
    })
  }

  /**
   * Makes work that needs no call wait once its time is used up: a loop over data in memory would
   * never let the event loop turn, however often it awaits. To be called in the step that does the
   * work: if a thousand callers asked before any of them began, all would have time.
   *
   * Waiting callers continue in order, each once the previous one waits for something else, as long
   * as there is time. The others wait for the next turn.
   *
   * @param kind whose share of the turn the work is done in.
   * @returns `null` if there is no need to wait.
   */
  turnIfDue(kind: PromptKind = 'read'): Promise<void> | null {
    if (this.#isInTime(kind, this.#system.now())) return null
    return new Promise((resolve) => {
      this.#workers[kind].push(resolve)
    })
  }

  /**
   * Starts this turn's share of a kind, unless it has started. Preparing a call prolongs the turn
   * as much as the call does, and much longer while its code is not optimized yet.
   */
  begin(kind: PromptKind): void {
    if (this.#startsMs[kind] === null) this.#isInTime(kind, this.#system.now())
  }

  /** Whether somebody waits for the event loop to turn. */
  get isAwaited(): boolean {
    return this.#callers.length + this.#workers.read.length + this.#workers.write.length > 0
  }

  /** Calls `callback` once the event loop has turned. */
  nextTurn(callback: () => void): void {
    this.#system.nextTurn(callback)
  }

  #releaseNext(kind: PromptKind): void {
    const workers = this.#workers[kind]
    // Writes arrive slice by slice, and the first of them starts the share of the turn.
    const isFirst = kind === 'write' && this.#startsMs.write === null
    // If there is no time left, the next turn is already scheduled.
    if (workers.length === 0 || !(isFirst || this.#isInTime(kind, this.#system.now()))) return
    workers.shift()?.()
    if (workers.length === 0) return
    this.#system.behindMicrotasks(() => {
      this.#releaseNext(kind)
    })
  }

  /** Whether calls of this kind have time left in this turn. */
  #isInTime(kind: PromptKind, nowMs: number): boolean {
    const startMs = this.#startsMs[kind]
    if (startMs !== null) return nowMs - startMs <= this.#shareMs(kind, nowMs)
    this.#startsMs[kind] = nowMs
    if (!this.#isTurnAwaited) this.#system.nextTurn(this.#endTurn)
    this.#isTurnAwaited = true
    return true
  }

  #shareMs(kind: PromptKind, nowMs: number): number {
    const isBesideSyncs = kind === 'read' && nowMs - this.#syncMs <= BESIDE_SYNCS_MS
    return isBesideSyncs ? MAX_READ_TURN_BESIDE_SYNCS_MS : MAX_TURN_MS
  }

  #timed<T>(startMs: number, rest: PromptRest, call: () => T): T {
    let hasFailed = true
    try {
      const result = call()
      hasFailed = false
      return result
    } finally {
      const endMs = this.#system.now()
      rest.note(endMs - startMs, endMs, hasFailed)
    }
  }

  #hasReadDisk(): boolean {
    const before = this.#diskReads
    this.#diskReads = this.#system.diskReads()
    return this.#diskReads !== before
  }
}

/** One for the process, because it limits how long the event loop has to wait. */
export const promptIo: PromptIo = new PromptIo()
