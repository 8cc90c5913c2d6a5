// Imported because the global `Buffer` is a getter, which would be called for every record.
import { Buffer } from 'node:buffer'
import { inspect, types } from 'node:util'

const LONE_SURROGATE = /\p{Surrogate}/u

/** Checks the value of an option. @throws TypeError or RangeError naming option and value */
export type Check = (name: string, value: unknown) => void

/** The check for each key of an options object. */
export type Checks<T> = { readonly [Key in keyof Required<T>]: Check }

/** Options that have been checked: each is absent, or has a value. */
export type Given<T> = { [Key in keyof T]: Exclude<T[Key], undefined> }

/** Options that all have a value. */
export type Resolved<T> = Required<Given<T>>

const MAX_TEXT_LENGTH = 60

/**
 * Checks an options object: its type, its keys, and each value that is not `undefined`. A misspelt
 * option must not be ignored.
 *
 * @returns a copy with the object's own values at the time of the call, without inherited ones
 * @throws TypeError when it is not a plain object, or for an unknown key, suggesting the key that
 * was probably meant; and the errors of the checks
 */
export function checkOptions<T extends object>(
  what: string,
  options: T,
  checks: Checks<T>,
): Given<T> {
  if (!isPlainObject(options)) {
    throw new TypeError(`${what} must be a plain object, got ${describeValue(options)}`)
  }
  const checked = Object.create(null) as Record<string, unknown>
  for (const key of Object.keys(options)) {
    const check = Object.hasOwn(checks, key) ? checks[key as keyof T] : undefined
    if (check === undefined) throw unknownKey(what, key, Object.keys(checks))
    const value: unknown = options[key as keyof T]
    if (value === undefined) continue
    check(key, value)
    checked[key] = value
  }
  return checked as Given<T>
}

/**
 * Whether an object keeps its content out of its fields, as a promise or a map does: it has none of
 * these fields, not even inherited ones, and is not a plain object, which may be empty.
 */
export function isOpaque(value: object, fields: readonly string[]): boolean {
  return !isPlainObject(value) && !fields.some((field) => field in value)
}

/** The error for an unknown key. */
export function unknownKey(what: string, key: string, known: readonly string[]): TypeError {
  const meant = closest(key, known)
  return new TypeError(
    `unknown key ${describeValue(key)} in ${what}` +
      (meant === null ? '; known keys are ' : `, did you mean '${meant}'? Known keys are `) +
      known.join(', '),
  )
}

/**
 * Checks that `value` is a whole number in [`min`, `max`].
 *
 * @returns the number; 0 for -0, because callers that compare results could tell them apart
 * @throws TypeError when it is not a number.
 * @throws RangeError when it is not whole or out of range.
 */
export function checkWholeNumber(name: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number') {
    throw new TypeError(`${name} must be a number, got ${describeValue(value)}`)
  }
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${name} must be a whole number from ${min} to ${max}, got ${value}`)
  }
  return value + 0
}

/**
 * Checks that `value` is one of `allowed`.
 *
 * @throws TypeError when it is not.
 */
export function checkOneOf<T extends string | number>(
  name: string,
  value: unknown,
  allowed: readonly T[],
): T {
  const found = allowed.find((candidate) => candidate === value)
  if (found === undefined) {
    throw new TypeError(
      `${name} must be one of ${allowed.map((each) => JSON.stringify(each)).join(', ')}, ` +
        `got ${describeValue(value)}`,
    )
  }
  return found
}

/**
 * Checks that `value` is a path: text that is not empty and has no null byte.
 * @throws TypeError when it is not
 */
export function checkPath(name: string, value: unknown): string {
  if (typeof value === 'string' && value !== '' && !value.includes('\0')) return value
  const allowed = typeof value === 'string' ? 'a path' : 'a string'
  throw new TypeError(`${name} must be ${allowed}, got ${describeValue(value)}`)
}

/** A {@link Check} with {@link checkWholeNumber}. */
export function wholeNumber(min: number, max: number = Number.MAX_SAFE_INTEGER): Check {
  return (name, value) => {
    checkWholeNumber(name, value, min, max)
  }
}

/** A {@link Check} with {@link checkOneOf}. */
export function oneOf(...allowed: readonly (string | number)[]): Check {
  return (name, value) => {
    checkOneOf(name, value, allowed)
  }
}

/** Checks for a number from 0 to 1. */
export function fraction(name: string, value: unknown): void {
  if (typeof value !== 'number') {
    throw new TypeError(`${name} must be a number, got ${describeValue(value)}`)
  }
  if (!(value >= 0 && value <= 1)) {
    throw new RangeError(`${name} must be a number from 0 to 1, got ${value}`)
  }
}

/** Checks for a boolean. Values that are only truthy, such as the text 'false', are refused. */
export function boolean(name: string, value: unknown): void {
  if (typeof value !== 'boolean') {
    throw new TypeError(`${name} must be true or false, got ${describeValue(value)}`)
  }
}

/** Checks for an {@link AbortSignal}. */
export function abortSignal(name: string, value: unknown): void {
  if (!(value instanceof AbortSignal)) {
    throw new TypeError(`${name} must be an AbortSignal, got ${describeValue(value)}`)
  }
}

/**
 * Whether a text has no lone surrogate. UTF-8 cannot represent one, so the text would change on
 * disk.
 */
export function isWellFormed(text: string): boolean {
  return !LONE_SURROGATE.test(text)
}

/** Checks for a function. */
export function callback(name: string, value: unknown): void {
  if (typeof value !== 'function') {
    throw new TypeError(`${name} must be a function, got ${describeValue(value)}`)
  }
}

/** Creates a check for an object, of any class, with these methods. */
export function objectWith(...methods: readonly string[]): Check {
  return (name, value) => {
    const isObject = typeof value === 'object' && value !== null
    const missing = methods.find(
      (each) => !isObject || typeof (value as Record<string, unknown>)[each] !== 'function',
    )
    if (missing === undefined) return
    throw new TypeError(
      `${name} must be an object with ${methods.map((each) => `${each}()`).join(', ')}, ` +
        `got ${describeValue(value)}${isObject ? ` without ${missing}()` : ''}`,
    )
  }
}

/**
 * Whether the value is a promise or has a `then` method, as the result of an asynchronous function.
 */
function isThenable(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  return typeof (value as { then?: unknown }).then === 'function'
}

/**
 * Refuses the result of an asynchronous function where it would not be awaited. Its rejection is
 * handled: otherwise it would end the process.
 *
 * @param rule the violated rule: the beginning of the message
 * @throws TypeError when `given` is a promise or has a `then` method
 */
export function refuseThenable(rule: string, given: unknown): void {
  if (!isThenable(given)) return
  Promise.resolve(given).catch(() => undefined)
  throw new TypeError(`${rule}, got ${describeValue(given)}`)
}

/** Whether the value is an object with keys and values only, not an instance of a class. */
export function isPlainObject(value: unknown): value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const prototype = Object.getPrototypeOf(value) as object | null
  // Plain objects of another realm have another prototype, but it too inherits nothing.
  if (prototype === null || prototype === Object.prototype) return true
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, 'hasOwnProperty')
}

/** Describes a value briefly for an error message. Never throws, whatever the value is. */
export function describeValue(value: unknown): string {
  switch (typeof value) {
    case 'string': {
      const text = JSON.stringify(value.slice(0, MAX_TEXT_LENGTH))
      return value.length > MAX_TEXT_LENGTH ? `${text}… (${value.length} characters)` : text
    }
    case 'bigint':
      return shorten(inspect(value))
    case 'symbol':
      return shorten(String(value))
    case 'number':
      return Object.is(value, -0) ? '-0' : String(value)
    case 'function':
      return 'a function'
    case 'object':
      return value === null ? 'null' : describeObject(value)
    case 'boolean':
    case 'undefined':
      return String(value)
  }
}

/** Accessing a foreign object may return anything, or throw. */
function describeObject(value: object): string {
  try {
    if (Array.isArray(value)) return 'an array'
    const isPlain: boolean = isPlainObject(value)
    if (isPlain) return 'an object'
    const constructor: unknown = value.constructor
    const name: unknown = typeof constructor === 'function' ? constructor.name : ''
    return typeof name === 'string' && name !== '' && name !== 'Object'
      ? `an instance of ${shorten(name)}`
      : 'an object'
  } catch {
    return 'an object'
  }
}

function shorten(text: string): string {
  return text.length > MAX_TEXT_LENGTH ? `${text.slice(0, MAX_TEXT_LENGTH)}…` : text
}

/** The name that `key` is probably a misspelling of; `null` if none is close. */
function closest(key: string, known: readonly string[]): string | null {
  if (key.length > MAX_TEXT_LENGTH) return null
  const plain = normalize(key)
  let best: string | null = null
  // One error in three letters is still a typo; more is another word.
  let bestDistance = Math.max(1, Math.floor(plain.length / 3)) + 1
  for (const name of known) {
    const distance = editDistance(plain, normalize(name))
    if (distance >= bestDistance) continue
    best = name
    bestDistance = distance
  }
  return best
}

/** Kafka's own spelling, `linger.ms`, counts as the same word. */
function normalize(key: string): string {
  return key.toLowerCase().replace(/[^a-z0-9]/g, '')
}

/** Number of letters to change, insert, delete or swap with their neighbour. */
function editDistance(left: string, right: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: right.length + 1 }, (_, at) => at)
  for (let row = 1; row <= left.length; row += 1) {
    const next = [row]
    for (let at = 1; at <= right.length; at += 1) {
      const isSame = left[row - 1] === right[at - 1]
      let cost = Math.min(
        (last[at] ?? 0) + 1,
        (next[at - 1] ?? 0) + 1,
        (last[at - 1] ?? 0) + (isSame ? 0 : 1),
      )
      const isSwap = left[row - 1] === right[at - 2] && left[row - 2] === right[at - 1]
      if (isSwap && row > 1 && at > 1) cost = Math.min(cost, (beforeLast[at - 2] ?? 0) + 1)
      next.push(cost)
    }
    beforeLast = last
    last = next
  }
  return last[right.length] ?? 0
}

/**
 * Whether the value is an error, of any realm. Test runners give each file its own realm, with
 * another `Error` than that of Node.js.
 */
export function isError(value: unknown): value is Error {
  return types.isNativeError(value) || value instanceof Error
}

/** Returns a `Buffer` over the same memory. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Returns a thrown value as an error. */
export function errorOf(thrown: unknown): Error {
  return isError(thrown) ? thrown : new Error(reasonOf(thrown), { cause: thrown })
}

/**
 * The message of a failure, for use in another message. Any value can be thrown, so this function
 * itself never throws.
 */
export function reasonOf(failure: unknown): string {
  if (typeof failure === 'string') return failure
  try {
    const message: unknown = isError(failure) ? failure.message : null
    if (typeof message === 'string') return message
  } catch {
    // A value without a usable message is described instead.
  }
  return describeValue(failure)
}
