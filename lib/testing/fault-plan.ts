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

interface Rule {
  readonly fault: Fault
  readonly kind: OperationKind | null
  /** Normalized if it is a string. */
  readonly path: string | RegExp | null
  readonly persistent: boolean
  /** Matching calls up to the one to strike; `null` for the next that no other rule strikes. */
  callsLeft: number | null
}

/** The faults that a test has scheduled, checked before every operation. */
export class FaultPlan {
  #crash: { number: number; plan: CrashPlan } | null = null
  #rules: Rule[] = []

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
    const { path = null, persistent = false, partial = false } = checked
    this.#rules.push({
      fault: { effect: 'error', code, partial },
      kind: kind ?? null,
      path: typeof path === 'string' ? normalPath(path) : path,
      persistent,
      callsLeft: nth ?? null,
    })
  }

  addShort(kind: 'read' | 'write', callsLeft: number, bytes: number): void {
    const fault = { effect: 'short', bytes } as const
    this.#rules.push({ fault, kind, path: null, persistent: false, callsLeft })
  }

  clear(): void {
    this.#crash = null
    this.#rules = []
  }

  /** The fault of operation `number`, `null` for none. To be called once: it uses up the fault. */
  take(number: number, kind: OperationKind, path: string, dest: string = path): Fault | null {
    const fault = this.#strike(kind, [path, dest])
    return this.#crash?.number === number ? { effect: 'crash', ...this.#crash.plan } : fault
  }

  #strike(kind: OperationKind, paths: readonly string[]): Fault | null {
    if (this.#rules.length === 0) return null
    const matching = this.#rules.filter((rule) => matches(rule, kind, paths))
    for (const rule of matching) if (rule.callsLeft !== null) rule.callsLeft -= 1
    const due = matching.filter(({ callsLeft }) => callsLeft === null || callsLeft <= 0)
    const struck = due.find(({ fault }) => fault.effect === 'error') ?? due[0]
    // A fault scheduled for this very call is used up, even if another rule has struck it.
    this.#rules = this.#rules.filter((rule) => {
      if (rule.persistent) return true
      return rule !== struck && (rule.callsLeft === null || rule.callsLeft > 0)
    })
    return struck?.fault ?? null
  }
}

function matches(rule: Rule, kind: OperationKind, paths: readonly string[]): boolean {
  if (rule.kind !== null && rule.kind !== kind) {
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
