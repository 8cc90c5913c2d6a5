import {
  boolean,
  checkOneOf,
  checkOptions,
  describeValue,
  oneOf,
  wholeNumber,
  type Checks,
} from '../checks.ts'
import { FILE_SYSTEM_METHODS } from '../platform/file-system.ts'
import { requireErrorCode } from './simulated-error.ts'
import { normalPath } from './simulated-tree.ts'

/** The calls of a simulated file system and its files, as faults and the operation log name them. */
export type OperationKind =
  | 'open'
  | 'list'
  | 'stat'
  | 'createDirectory'
  | 'rename'
  | 'unlink'
  | 'removeDirectory'
  | 'syncDirectory'
  | 'freeBytes'
  | 'lock'
  | 'release'
  | 'read'
  | 'write'
  | 'truncate'
  | 'setModified'
  | 'datasync'
  | 'sync'
  | 'close'

const OPERATION_KINDS: readonly OperationKind[] = [
  ...FILE_SYSTEM_METHODS,
  'release',
  'read',
  'write',
  'truncate',
  'setModified',
  'datasync',
  'sync',
  'close',
]

/** How far the operation got that a crash interrupts. */
export type CrashMoment = 'before' | 'after' | 'torn'

/** Where and how the machine stops. */
export interface CrashPlan {
  /**
   * - `before`: the operation is not done.
   * - `after`: it is done, and its caller does not hear of it.
   * - `torn`: a write leaves a prefix of its bytes, cut anywhere, and `createDirectory` the topmost
   *   of its directories. What cannot be cut is done or not done.
   */
  readonly when: CrashMoment
  /** For `torn`: bytes (or directories) that are done, at most all. Random when left out. */
  readonly parts?: number
}

/** Which calls a fault strikes, and what else it does. */
export interface FaultOptions {
  /** Strike every later matching call too, until `clearFaults()`. */
  readonly persistent?: boolean
  /**
   * Strike only calls on this path, or on paths that match; a rename is on both of its own. A text may be relative, a
   * RegExp is tried on the absolute path with slashes.
   */
  readonly path?: string | RegExp
  /**
   * For `sync` and `datasync`: bring a random part of the content to the disk before failing. The
   * default brings nothing.
   */
  readonly partial?: boolean
}

/** What happens to one operation instead of its normal course. */
export type Fault =
  | ({ readonly effect: 'crash' } & CrashPlan)
  | { readonly effect: 'error'; readonly code: string; readonly partial: boolean }
  | { readonly effect: 'short'; readonly bytes: number }

const CRASH_PLAN: Checks<CrashPlan> = {
  when: oneOf('before', 'after', 'torn'),
  parts: wholeNumber(0),
}

const FAULT_OPTIONS: Checks<FaultOptions> = {
  persistent: boolean,
  path: (name, value) => {
    if ((typeof value === 'string' && value !== '') || value instanceof RegExp) return
    throw new TypeError(`${name} must be a path or a RegExp, got ${describeValue(value)}`)
  },
  partial: boolean,
}

interface ErrorRule extends Omit<FaultOptions, 'path'> {
  readonly code: string
  /** Normal where it is a text. */
  readonly path: string | RegExp | null
  readonly kind?: OperationKind
  /** Matching calls until the one that it strikes, which is counted too; `null` for the next that no other strikes. */
  callsLeft: number | null
}

/** The faults that a test has ordered, asked before every operation. */
export class FaultPlan {
  #crash: { number: number; plan: CrashPlan } | null = null
  #errors: ErrorRule[] = []
  #shorts: { kind: OperationKind; callsLeft: number; bytes: number }[] = []

  /** @throws TypeError or RangeError when there is no such plan */
  crashAt(number: number, plan: CrashPlan): void {
    const checked = checkOptions('crash plan', plan, CRASH_PLAN)
    // What is left out is not looked at, and this may not be.
    CRASH_PLAN.when('when', checked.when)
    this.#crash = { number, plan: checked }
  }

  /**
   * @param rule.kind which calls it strikes, all when left out
   * @param rule.nth which of these it strikes, 1 is the next; when left out, the next that no other rule strikes
   * @throws RangeError when no system error is called `code`; TypeError when there is no such kind or
   * option
   */
  addError(
    code: string,
    { kind, nth }: { readonly kind?: OperationKind; readonly nth?: number },
    options: FaultOptions = {},
  ): void {
    requireErrorCode(code)
    if (kind !== undefined) checkOneOf('kind', kind, OPERATION_KINDS)
    const checked = checkOptions('fault options', options, FAULT_OPTIONS)
    const { path = null } = checked
    this.#errors.push({
      ...checked,
      ...(kind === undefined ? {} : { kind }),
      path: typeof path === 'string' ? normalPath(path) : path,
      callsLeft: nth ?? null,
      code,
    })
  }

  addShort(kind: 'read' | 'write', callsLeft: number, bytes: number): void {
    this.#shorts.push({ kind, callsLeft, bytes })
  }

  clear(): void {
    this.#crash = null
    this.#errors = []
    this.#shorts = []
  }

  /** The fault of operation `number`, which is used up by the question; `null` when there is none. */
  take(number: number, kind: OperationKind, path: string, dest: string = path): Fault | null {
    const short = this.#takeShort(kind)
    const rule = this.#takeError(kind, [path, dest])
    if (this.#crash?.number === number) {
      return { effect: 'crash', ...this.#crash.plan }
    }
    if (rule !== undefined) {
      return { effect: 'error', code: rule.code, partial: rule.partial ?? false }
    }
    return short
  }

  #takeError(kind: OperationKind, paths: readonly string[]): ErrorRule | undefined {
    if (this.#errors.length === 0) return undefined
    const matching = this.#errors.filter((rule) => matches(rule, kind, paths))
    for (const rule of matching) if (rule.callsLeft !== null) rule.callsLeft -= 1
    const struck = matching.find(({ callsLeft }) => callsLeft === null || callsLeft <= 0)
    // What was ordered for this very call is used up with it, also where another rule has struck it.
    this.#errors = this.#errors.filter((rule) => {
      if (rule.persistent === true) return true
      return rule !== struck && (rule.callsLeft === null || rule.callsLeft > 0)
    })
    return struck
  }

  #takeShort(kind: OperationKind): Fault | null {
    if (this.#shorts.length === 0) return null
    const orders = this.#shorts.filter((order) => order.kind === kind)
    for (const order of orders) order.callsLeft -= 1
    const due = orders.find(({ callsLeft }) => callsLeft === 0)
    this.#shorts = this.#shorts.filter(({ callsLeft }) => callsLeft > 0)
    return due === undefined ? null : { effect: 'short', bytes: due.bytes }
  }
}

function matches(rule: ErrorRule, kind: OperationKind, paths: readonly string[]): boolean {
  if (rule.kind !== undefined && rule.kind !== kind) {
    return false
  }
  const wanted = rule.path
  if (wanted === null) {
    return true
  }
  return paths.some((path) =>
    typeof wanted === 'string' ? wanted === path : path.search(wanted) >= 0,
  )
}
