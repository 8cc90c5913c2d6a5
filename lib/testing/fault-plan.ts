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

/** The calls of a simulated file system and its files, as named by faults and the operation log. */
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

/** How far the interrupted operation got before the crash. */
export type CrashMoment = 'before' | 'after' | 'torn'

/** How the machine crashes. */
export interface CrashPlan {
  /**
   * - `before`: the operation is not performed.
   * - `after`: it is performed, but its caller gets no result.
   * - `torn`: a write leaves a prefix of its bytes of any length, and `createDirectory` the topmost
   *   of its directories. An operation that cannot be torn is either performed or not.
   */
  readonly when: CrashMoment
  /** For `torn`: bytes (or directories) that are written, at most all. @defaultValue random */
  readonly parts?: number | undefined
}

/** Which calls a fault strikes, and its further effects. */
export interface FaultOptions {
  /** Strike every later matching call too, until `clearFaults()`. */
  readonly persistent?: boolean | undefined
  /**
   * Strike only calls on this path, or on paths that match. A rename has two paths, and either may
   * match. A string may be relative. A RegExp is tested against the absolute path with slashes.
   */
  readonly path?: string | RegExp | undefined
  /**
   * For `sync` and `datasync`: write a random part of the content to the disk before failing. By
   * default nothing is written.
   */
  readonly partial?: boolean | undefined
}

/** What happens to an operation instead of its normal effect. */
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
  /** Normalized if it is a string. */
  readonly path: string | RegExp | null
  readonly kind?: OperationKind
  /** Matching calls up to the one to strike; `null` for the next that no other rule strikes. */
  callsLeft: number | null
}

/** The faults that a test has scheduled, checked before every operation. */
export class FaultPlan {
  #crash: { number: number; plan: CrashPlan } | null = null
  #errors: ErrorRule[] = []
  #shorts: { kind: OperationKind; callsLeft: number; bytes: number }[] = []

  /** @throws TypeError or RangeError for an invalid plan */
  crashAt(number: number, plan: CrashPlan): void {
    const checked = checkOptions('crash plan', plan, CRASH_PLAN)
    // Options that are left out are not checked, but this one is required.
    CRASH_PLAN.when('when', checked.when)
    this.#crash = { number, plan: checked }
  }

  /**
   * @param rule.kind which calls it strikes; all calls by default
   * @param rule.nth which of these calls it strikes, 1 for the next; by default the next call that
   * no other rule strikes
   * @throws RangeError if `code` is not the name of a system error; TypeError for an unknown kind
   * or option
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

  /** The fault of operation `number`, `null` for none. To be called once: it uses up the fault. */
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
    // A fault scheduled for this very call is used up, even if another rule has struck it.
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
