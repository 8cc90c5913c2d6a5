import { behindMicrotasks, onNextTurn } from './event-loop.ts'
import { PromptRest } from './prompt-rest.ts'

/** What calls that are made at once do; an open, a size and a list of names count as reads. */
export type PromptKind = 'read' | 'write'

/**
 * Larger ones take long enough for another thread to be worth its while. That is more of a write than
 * of a read: what is written was made by this thread a moment ago, at a cost of three times that of
 * copying it to the page cache, and is in the cache of its processor. The system takes twice as long
 * to copy it for a thread on another one, and this one is idle meanwhile, as nothing more is made
 * until it is gone. An append chain asks for at most 1 MiB at a time, but for an append that is larger
 * by itself, and for 4 MiB where a sync follows, beside which the way to a thread is nothing.
 */
const MAX_BYTES = { read: 64 * 1024, write: 2 * 1024 * 1024 } as const

/**
 * For so long one turn of the event loop may be drawn out by what is read, and for as long by what is
 * written; then timers and sockets have theirs. A reader that goes through a log uses up all he is
 * given, so of one time for both an append would wait for a turn with its write, and for another
 * with its sync.
 */
const MAX_TURN_MS = 1

/**
 * The same for what is read while somebody waits for syncs. An acknowledgement is heard of when the
 * loop turns, and where the disk takes a thread for each sync, a record waits for three turns or
 * four. A replay loses nothing by it that could be measured: a turn takes some 20 µs.
 */
const MAX_READ_TURN_BESIDE_SYNCS_MS = 0.5
/** For so long after a sync the next is expected: on a disk that is busy, groups are as far apart. */
const BESIDE_SYNCS_MS = 100

/** What a {@link PromptIo} asks the system for; replaced by specs only. */
export interface PromptIoSystem {
  /** Milliseconds from any point on; never goes back. */
  now(): number
  /** Calls `callback` in the next turn of the event loop. */
  nextTurn(callback: () => void): void
  /** Calls `callback` once all that goes on without the event loop has come to its end. */
  behindMicrotasks(callback: () => void): void
  /** How often this process has waited for a disk to be read; never falls, and may rise for more. */
  diskReads(): number
}

// Taken before anybody can put others in their place.
const { performance } = globalThis
const SYSTEM: PromptIoSystem = {
  now: () => performance.now(),
  nextTurn: onNextTurn,
  behindMicrotasks,
  // Windows counts every read here, so there each slow one passes for one of the disk.
  diskReads: () => process.resourceUsage().fsRead,
}

/**
 * Decides which calls are made at once instead of by a thread of the pool.
 *
 * A few KiB go to or come from the page cache in 1 to 4 µs; handing them to another thread and back
 * takes 35 µs and more, so whoever waits for a record or an acknowledgement waits for that. But a
 * call made at once holds up everything else in the process. So only small ones are, for no more
 * than 1 ms of one turn of the event loop for each kind, and 0.5 ms for what is read while somebody
 * waits for syncs, also when a loop of awaits never lets it turn. After one that took more than 1 ms,
 * because the bytes came from the disk or had to wait for it, none of its kind is for a while, see
 * {@link PromptRest}. Whether a read has met the disk the system tells; a write meets it without
 * anybody being told.
 *
 * The same goes for the names and sizes of files, and for opening those that exist: an open of a log
 * asks for dozens of them. Nothing of that is for what makes or removes a name, which waits for the
 * disk by its nature, or for its journal; nor for syncs, of which `PromptSync` has to be convinced.
 */
export class PromptIo {
  readonly #system: PromptIoSystem
  /** When the first call of each kind was made in this turn; `null` before it. */
  readonly #startsMs: Record<PromptKind, number | null> = { read: null, write: null }
  #isTurnAwaited = false
  /** When somebody asked for a sync last. */
  #syncMs = -Infinity
  readonly #rests: Readonly<Record<PromptKind, PromptRest>>
  #diskReads: number
  /** Called when the loop has turned: whoever gets too late a part of the turn has a thread. */
  #callers: (() => void)[] = []
  /** Called one after the other, while there is time: what they do takes however long it takes. */
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
   * @param sizeBytes what is to be read or written.
   * @param call returns the bytes moved.
   * @returns what `call` does; -1 when it was not made, and has to be left to the pool.
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
   * The same for a call that moves no bytes: one that opens a file, or asks for its size.
   *
   * @param call may decline as well.
   * @param kind whose share of the turn the call is made in.
   * @returns `undefined` when it was not made.
   */
  attempt<T>(call: () => T | undefined, kind: PromptKind = 'read'): T | undefined {
    const rest = this.#rests.read
    const startMs = this.#system.now()
    if (!rest.isOver(startMs) || !this.#isInTime(kind, startMs)) return undefined
    return this.#timed(startMs, rest, call)
  }

  /** Whether a sync may be made now, by who judges for himself how long those like it take. */
  hasTime(): boolean {
    const nowMs = this.#system.now()
    this.#syncMs = nowMs
    return this.#rests.write.isOver(nowMs) && this.#isInTime('write', nowMs)
  }

  /**
   * Whether a call that was declined is worth another try once the event loop has turned: when that
   * is all that stands in its way, a thread of the pool would not be sooner.
   *
   * @returns `null` when it is not.
   */
  whenTurned(kind: PromptKind, sizeBytes: number): Promise<void> | null {
    const isResting = !this.#rests[kind].isOver(this.#system.now())
    if (sizeBytes > MAX_BYTES[kind] || isResting || this.#startsMs[kind] === null) return null
    return new Promise((resolve) => {
      this.#callers.push(resolve)
    })
  }

  /**
   * What work that needs no call has to wait for before it goes on: a loop over what is in memory
   * would never let the event loop turn, however often it awaits. To be asked in the step that does the
   * work: of a thousand who asked before any of them began, all would have had the time.
   *
   * Those who wait go on in their order, each once the one before waits for something else, as far as
   * there is time; the others wait for the turn that follows.
   *
   * @param kind whose share of the turn the work is done in.
   * @returns `null` while there is nothing to wait for.
   */
  turnIfDue(kind: PromptKind = 'read'): Promise<void> | null {
    if (this.#isInTime(kind, this.#system.now())) return null
    return new Promise((resolve) => {
      this.#workers[kind].push(resolve)
    })
  }

  /**
   * Counts the share of this turn from now on, if it has not begun. What is made ready for a call draws
   * the turn out as much as the call does, and while its code is new for much longer.
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
    // What is written is asked for slice by slice, and the first of them opens the account of the turn.
    const isFirst = kind === 'write' && this.#startsMs.write === null
    // Who hears that there is no time has a turn to come.
    if (workers.length === 0 || !(isFirst || this.#isInTime(kind, this.#system.now()))) return
    workers.shift()?.()
    if (workers.length === 0) return
    this.#system.behindMicrotasks(() => {
      this.#releaseNext(kind)
    })
  }

  /** Whether this turn has not been drawn out for too long by calls of this kind. */
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

/** One for the process: what it bounds is the time that the event loop has to wait. */
export const promptIo: PromptIo = new PromptIo()
