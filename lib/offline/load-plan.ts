import { InvalidGroupIdError, type Broker } from '../index.ts'
import {
  boolean,
  checkOptions,
  checkWholeNumber,
  describeValue,
  isPlainObject,
  isWellFormed,
  reasonOf,
} from '../checks.ts'
import { checkBroker, nonEmptyString } from './arguments.ts'
import type { LoadTask } from './load-task.ts'
import { overlaps } from './offset-ranges.ts'

/** A {@link LoadPlan} as plain data, for JSON. */
export interface LoadPlanJson {
  readonly name: string
  /** Whether the plan starts at the load's committed offsets. */
  readonly resumes: boolean
  readonly tasks: readonly LoadTask[]
  /** Starts of partitions with nothing to load and no committed offset. @defaultValue none */
  readonly begins?: readonly LoadStart[]
}

/** The offset at which a load starts in a partition. */
export interface LoadStart {
  readonly topic: string
  readonly partition: number
  readonly startOffset: number
}

const TASK_KEYS: readonly (keyof LoadTask)[] = ['topic', 'partition', 'startOffset', 'endOffset']

/**
 * The work of a load, fixed when the plan is created: tasks that do not overlap, in offset order
 * within a partition. A plan can be stored as JSON and restored, also in another process.
 */
export class LoadPlan {
  /** The group under which the load's offsets are committed. */
  readonly name: string
  readonly tasks: readonly LoadTask[]
  /**
   * Whether the plan starts at the load's committed offsets. A run then also skips what has been
   * committed since.
   */
  readonly resumes: boolean
  /** @internal */
  readonly begins: readonly LoadStart[]
  readonly #broker: Broker

  /** @internal */
  constructor(broker: Broker, { name, resumes, tasks, begins = [] }: LoadPlanJson) {
    this.#broker = broker
    this.name = name
    this.resumes = resumes
    this.tasks = frozen(tasks)
    this.begins = frozen(begins)
  }

  /**
   * Restores a plan from the result of its `toJSON`, from the text that `JSON.stringify` returns for
   * it, or from the plan itself.
   *
   * @throws TypeError or RangeError if it is not a plan, and {@link InvalidGroupIdError} if its name
   * cannot be that of a group.
   */
  static restore(broker: Broker, json: LoadPlanJson | string): LoadPlan {
    checkBroker('broker', broker)
    const given = typeof json === 'string' ? parsed(json) : json
    const plan = given instanceof LoadPlan ? given.toJSON() : given
    const { name, resumes, tasks, begins } = checkOptions('a load plan', plan, {
      name: checkLoadName,
      resumes: boolean,
      tasks: checkTasks,
      begins: checkStarts,
    }) as Partial<LoadPlanJson>
    if (name === undefined || resumes === undefined || tasks === undefined) {
      throw new TypeError(
        `a load plan must have name, resumes and tasks, got ${Object.keys(plan).join(', ') || 'none'}`,
      )
    }
    return new LoadPlan(broker, {
      name,
      resumes,
      tasks,
      begins: begins ?? [],
    })
  }

  /** @internal */
  get broker(): Broker {
    return this.#broker
  }

  /** The plan as plain data, for `JSON.stringify` and {@link LoadPlan.restore}. */
  toJSON(): LoadPlanJson {
    const { name, resumes, tasks, begins } = this
    return begins.length === 0 ? { name, resumes, tasks } : { name, resumes, tasks, begins }
  }

  /** Iterates over the tasks. */
  [Symbol.iterator](): IterableIterator<LoadTask> {
    return this.tasks[Symbol.iterator]()
  }
}

/** @throws TypeError for text that is not JSON; whether it is a plan is checked later. */
function parsed(text: string): LoadPlanJson {
  try {
    return JSON.parse(text) as LoadPlanJson
  } catch (error) {
    const got = `${describeValue(text)}: ${reasonOf(error)}`
    throw new TypeError(`a load plan must be JSON, got ${got}`, { cause: error })
  }
}

/** A deeply frozen copy. */
function frozen<T extends object>(all: readonly T[]): readonly T[] {
  return Object.freeze(all.map((each) => Object.freeze({ ...each })))
}

/** Bytes of the longest name that a group can have. */
const MAX_LOAD_NAME_BYTES = 32_767

/** @throws TypeError or {@link InvalidGroupIdError} if the value cannot be the name of a load. */
export function checkLoadName(name: string, value: unknown): void {
  nonEmptyString(name, value)
  const sizeBytes = Buffer.byteLength(value)
  if (sizeBytes > MAX_LOAD_NAME_BYTES) {
    throw new InvalidGroupIdError(
      `${name} must have at most ${MAX_LOAD_NAME_BYTES} bytes, got ${sizeBytes}`,
    )
  }
  if (isWellFormed(value)) return
  throw new InvalidGroupIdError(`${name} must be well-formed Unicode, got a lone surrogate`)
}

/** @throws TypeError or RangeError if the value is not a task. */
export function checkTask(name: string, value: unknown): LoadTask {
  const task = checkOptions(name, value as LoadTask, {
    topic: nonEmptyString,
    partition: (key, each) => checkWholeNumber(key, each, 0, 0x7fff_ffff),
    startOffset: (key, each) => checkWholeNumber(key, each, 0, Number.MAX_SAFE_INTEGER),
    endOffset: (key, each) => checkWholeNumber(key, each, 1, Number.MAX_SAFE_INTEGER),
  })
  const missing = TASK_KEYS.find((key) => !Object.hasOwn(task, key))
  if (missing !== undefined) throw new TypeError(`${name} has no ${missing}`)
  if (task.endOffset <= task.startOffset) {
    throw new RangeError(
      `endOffset of ${name} must be above startOffset (${task.startOffset}), got ${task.endOffset}`,
    )
  }
  return task
}

function checkStarts(name: string, value: unknown): void {
  if (!Array.isArray(value)) {
    throw new TypeError(`${name} must be an array, got ${describeValue(value)}`)
  }
  for (const [index, each] of (value as LoadStart[]).entries()) {
    // The same rules as for the start of a task.
    const endOffset = Number.MAX_SAFE_INTEGER
    checkTask(`${name}[${index}]`, isPlainObject(each) ? { ...each, endOffset } : each)
  }
}

function checkTasks(name: string, value: unknown): void {
  if (!Array.isArray(value)) {
    throw new TypeError(`${name} must be an array, got ${describeValue(value)}`)
  }
  const last = new Map<string, LoadTask>()
  for (const [index, each] of value.entries()) {
    const task = checkTask(`${name}[${index}]`, each)
    const key = `${task.topic}-${task.partition}`
    const before = last.get(key)
    if (before !== undefined && (overlaps(before, task) || before.startOffset > task.startOffset)) {
      throw new RangeError(
        `${name}[${index}] begins at offset ${task.startOffset} of ${key}, ` +
          `but the task before it ends at ${before.endOffset}`,
      )
    }
    last.set(key, task)
  }
}
