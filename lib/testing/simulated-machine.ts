import { isError } from '../checks.ts'
import type { Random } from '../platform/random.ts'
import { FaultPlan, type CrashPlan, type OperationKind } from './fault-plan.ts'
import { simulatedError } from './simulated-error.ts'

/** Minimum number of recent lines that the operation log keeps. */
const KEPT_LINES = 10_000
/** Errors of opening a directory that syncing it does not return. */
const OPEN_ERRORS: ReadonlySet<string> = new Set(['EACCES', 'EMFILE', 'ENFILE', 'ENOENT', 'EPERM'])
/** Awaited to let one microtask turn pass. */
const SOON = Promise.resolve()

/** The machine has stopped. The call has no result, whether or not it took effect. */
export class SimulatedCrash extends Error {
  override readonly name = 'SimulatedCrash'
}

/** One call, as run by the machine. */
export interface Operation<T> {
  readonly kind: OperationKind
  readonly path: string
  /** Name of the system call, for errors. */
  readonly syscall: string
  /** Whether it opens `path`, which may fail before the rest is tried. */
  readonly opens?: boolean
  /** Second path of a rename. */
  readonly dest?: string
  /** Text after the path in the log. */
  readonly detail?: string
  /**
   * Performs the operation at once.
   *
   * @param parts maximum number of its parts (bytes of a write, directories) to perform
   */
  readonly run: (parts: number) => T
  /** Number of its parts, for an operation that can be torn. */
  readonly countParts?: () => number
  /** Effect if it fails by a scheduled fault. */
  readonly onFault?: (partial: boolean) => void
}

/** What an observer sees of an operation before it happens. */
export type ObservedOperation = Pick<Operation<unknown>, 'kind' | 'path' | 'dest' | 'detail'>

/** Options of a simulated machine. */
export interface MachineOptions {
  readonly random: Random
  /** Maximum microtask turns by which a call is delayed, before its effect and after it. */
  readonly maxDelayTurns: number
  /** Whether calls never take effect synchronously. */
  readonly isAwaited: boolean
}

/**
 * Runs the calls of one simulated file system one at a time: numbers them, logs them, strikes them
 * with faults, and stops permanently at a crash.
 *
 * A call takes effect between its start and its completion, one microtask or more after the start
 * unless it is synchronous. Without delays, calls take effect in the order of their start.
 */
export class SimulatedMachine {
  readonly faults: FaultPlan = new FaultPlan()
  /** Called for every operation just before it takes effect or fails. */
  observer: ((operation: ObservedOperation) => void) | null = null
  /** Called once, when the machine has stopped. */
  onStopped: ((crash: SimulatedCrash) => void) | null = null
  readonly #random: Random
  readonly #maxDelayTurns: number
  readonly #isAwaited: boolean
  #operationCount = 0
  #lines: string[] = []
  #crash: SimulatedCrash | null = null

  constructor(options: MachineOptions) {
    this.#random = options.random
    this.#maxDelayTurns = options.maxDelayTurns
    this.#isAwaited = options.isAwaited
  }

  get crashed(): boolean {
    return this.#crash !== null
  }

  /** The error that says why the machine has stopped, `null` while it runs. */
  get crash(): SimulatedCrash | null {
    return this.#crash
  }

  get operationCount(): number {
    return this.#operationCount
  }

  get operations(): readonly string[] {
    return this.#lines
  }

  /** Stops the machine between operations. */
  stop(reason: string): void {
    if (this.#crash !== null) return
    this.#crash = new SimulatedCrash(reason)
    this.onStopped?.(this.#crash)
  }

  /** Runs `operation`. @throws {@link SimulatedCrash} if the machine stops before it completes */
  async perform<T>(operation: Operation<T>): Promise<T> {
    this.#requireRunning()
    await SOON
    for (let turns = this.#drawDelay(); turns > 0; turns -= 1) await SOON
    this.#requireRunning()
    const value = this.#execute(operation)
    for (let turns = this.#drawDelay(); turns > 0; turns -= 1) await SOON
    this.#requireRunning()
    return value
  }

  /**
   * Runs `operation` synchronously. Returns `null`, without any effect, if it has to be delayed.
   *
   * @throws {@link SimulatedCrash} if the machine has stopped
   */
  performNow<T>(operation: Operation<T>): T | null {
    this.#requireRunning()
    return this.#isAwaited || this.#drawDelay() > 0 ? null : this.#execute(operation)
  }

  #execute<T>(operation: Operation<T>): T {
    this.#operationCount += 1
    const { kind, path, syscall, dest } = operation
    this.observer?.(operation)
    const fault = this.faults.take(this.#operationCount, kind, path, dest)
    if (fault?.effect === 'crash') {
      this.#crashIn(operation, fault)
    }
    if (fault?.effect === 'error') {
      const isOpening = operation.opens === true && OPEN_ERRORS.has(fault.code)
      if (!isOpening) operation.onFault?.(fault.partial)
      this.#log(operation, ` ! ${fault.code}`)
      throw simulatedError(fault.code, isOpening ? 'open' : syscall, path, dest)
    }
    const isShort = fault?.effect === 'short'
    try {
      const value = operation.run(isShort ? fault.bytes : Infinity)
      this.#log(operation, isShort ? ` (short ${fault.bytes})` : '')
      return value
    } catch (error) {
      this.#log(operation, ` ! ${failureOf(error)}`)
      throw error
    }
  }

  #crashIn<T>(operation: Operation<T>, plan: CrashPlan): never {
    let note: string = plan.when
    try {
      const parts = this.#partsDone(operation, plan)
      note = Number.isFinite(parts) && parts > 0 ? `${note} after ${parts}` : note
      if (parts > 0) {
        operation.run(parts)
      }
    } catch {
      // The caller sees only the crash, whatever else would have been wrong with the call.
    }
    this.#log(operation, ` (crash ${note})`)
    const reason = `the machine stopped in ${this.#lines.at(-1) ?? ''}`
    this.stop(reason)
    throw new SimulatedCrash(reason)
  }

  #partsDone<T>(operation: Operation<T>, plan: CrashPlan): number {
    if (plan.when !== 'torn') {
      return plan.when === 'after' ? Infinity : 0
    }
    if (operation.countParts === undefined) {
      return this.#random.integer(2) === 0 ? 0 : Infinity
    }
    const count = operation.countParts()
    return Math.min(count, plan.parts ?? this.#random.integer(count + 1))
  }

  /** In microtask turns. */
  #drawDelay(): number {
    return this.#maxDelayTurns === 0 ? 0 : this.#random.integer(this.#maxDelayTurns + 1)
  }

  #requireRunning(): void {
    if (this.#crash !== null) {
      throw new SimulatedCrash(this.#crash.message)
    }
  }

  #log<T>({ kind, path, dest, detail }: Operation<T>, note: string): void {
    if (this.#lines.length >= 2 * KEPT_LINES) {
      this.#lines = this.#lines.slice(KEPT_LINES)
    }
    const target = dest === undefined ? path : `${path} -> ${dest}`
    const text = detail === undefined ? target : `${target} ${detail}`
    this.#lines.push(`#${this.#operationCount} ${kind} ${text}${note}`)
  }
}

function failureOf(error: unknown): string {
  return isError(error) && 'code' in error ? String(error.code) : String(error)
}
