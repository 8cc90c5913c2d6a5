// Not the global of that name: that is behind a getter, which would be called for every record.
import { Buffer } from 'node:buffer'
import { inspect, types } from 'node:util'

const LONE_SURROGATE = /\p{Surrogate}/u

/** Refuses a value that an option must not have. @throws TypeError or RangeError naming both */
export type Check = (name: string, value: unknown) => void

/** Every key of an options object with the check of its value. */
export type Checks<T> = { readonly [Key in keyof Required<T>]: Check }

const MAX_TEXT_LENGTH = 60

/**
 * Checks an options object as a whole: what it is, which keys it has, and each value that is not
 * `undefined`. A misspelt option must not be ignored.
 *
 * @returns what the object had at the time of the call, and nothing that it inherits.
 * @throws TypeError for what is no plain object, and for a key without a check, naming the key that
 * was probably meant; what a check throws.
 */
export function checkOptions<T extends object>(what: string, options: T, checks: Checks<T>): T {
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
  return checked as T
}

/**
 * Whether an object, as a promise or a map, has its content where nobody reads it: it has none of these
 * fields, not even by its class, and is no plain object, which may be empty.
 */
export function isOpaque(value: object, fields: readonly string[]): boolean {
  return !isPlainObject(value) && !fields.some((field) => field in value)
}

/** The error for a key that nobody reads. */
export function unknownKey(what: string, key: string, known: readonly string[]): TypeError {
  const meant = closest(key, known)
  return new TypeError(
    `there is no ${describeValue(key)} in ${what}` +
      (meant === null ? '; known are ' : `, did you mean '${meant}'? Known are `) +
      known.join(', '),
  )
}

/**
 * Checks that `value` is a whole number in [`min`, `max`].
 *
 * @returns the number, and 0 for -0, which is told apart by those who compare what they get back.
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

/** Checks that `value` is a path: text without a null byte, and not empty. @throws TypeError when it is not. */
export function checkPath(name: string, value: unknown): string {
  if (typeof value === 'string' && value !== '' && !value.includes('\0')) return value
  throw new TypeError(`${name} must be a path, got ${describeValue(value)}`)
}

/** The check for {@link checkWholeNumber}. */
export function wholeNumber(min: number, max: number = Number.MAX_SAFE_INTEGER): Check {
  return (name, value) => {
    checkWholeNumber(name, value, min, max)
  }
}

/** The check for {@link checkOneOf}. */
export function oneOf(...allowed: readonly (string | number)[]): Check {
  return (name, value) => {
    checkOneOf(name, value, allowed)
  }
}

/** The check for a number from 0 to 1. */
export function fraction(name: string, value: unknown): void {
  if (typeof value !== 'number') {
    throw new TypeError(`${name} must be a number, got ${describeValue(value)}`)
  }
  if (!(value >= 0 && value <= 1)) {
    throw new RangeError(`${name} must be a number from 0 to 1, got ${value}`)
  }
}

/** The check for a truth value. What is merely truthy, such as the text 'false', is refused. */
export function boolean(name: string, value: unknown): void {
  if (typeof value !== 'boolean') {
    throw new TypeError(`${name} must be true or false, got ${describeValue(value)}`)
  }
}

/** The check for an {@link AbortSignal}. */
export function abortSignal(name: string, value: unknown): void {
  if (!(value instanceof AbortSignal)) {
    throw new TypeError(`${name} must be an AbortSignal, got ${describeValue(value)}`)
  }
}

/** Whether a text has no half of a surrogate pair, for which UTF-8 has no place: it comes back from the disk. */
export function isWellFormed(text: string): boolean {
  return !LONE_SURROGATE.test(text)
}

/** The check for a function. */
export function callback(name: string, value: unknown): void {
  if (typeof value !== 'function') {
    throw new TypeError(`${name} must be a function, got ${describeValue(value)}`)
  }
}

/** The check for an object, of any class, that has these methods. */
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

/** Whether it is a promise, or passes for one: what an asynchronous function gives where a value was due. */
function isThenable(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  return typeof (value as { then?: unknown }).then === 'function'
}

/**
 * Refuses what an asynchronous function gives where nobody waits for it. What it rejects with is handled:
 * it would end the process otherwise.
 *
 * @param rule what it breaks: the beginning of the message
 * @throws TypeError when `given` is a promise, or passes for one
 */
export function refuseThenable(rule: string, given: unknown): void {
  if (!isThenable(given)) return
  Promise.resolve(given).catch(() => undefined)
  throw new TypeError(`${rule}, got ${describeValue(given)}`)
}

/** Whether it is an object that has nothing but keys and values, and is not an instance of a class. */
export function isPlainObject(value: unknown): value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const prototype = Object.getPrototypeOf(value) as object | null
  // The prototype of another realm's objects is another one, but it too inherits nothing.
  if (prototype === null || prototype === Object.prototype) return true
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, 'hasOwnProperty')
}

/** A short text for a value in an error message. Never throws, whatever the value is. */
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

/** What a foreign object answers may be anything, an error included. */
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

/** The name that `key` is a likely slip of, `null` when none is near. */
function closest(key: string, known: readonly string[]): string | null {
  if (key.length > MAX_TEXT_LENGTH) return null
  const plain = normalize(key)
  let best: string | null = null
  // One slip in three letters is still a slip; more is another word.
  let bestDistance = Math.max(1, Math.floor(plain.length / 3)) + 1
  for (const name of known) {
    const distance = editDistance(plain, normalize(name))
    if (distance >= bestDistance) continue
    best = name
    bestDistance = distance
  }
  return best
}

/** Kafka's own spelling, `linger.ms`, is the same word. */
function normalize(key: string): string {
  return key.toLowerCase().replace(/[^a-z0-9]/g, '')
}

/** How many letters must be changed, added, left out or swapped with their neighbour. */
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
 * Whether it is an error, of whatever realm. Test runners give each file a realm of its own, with another
 * `Error` than that of Node.js.
 */
export function isError(value: unknown): value is Error {
  return types.isNativeError(value) || value instanceof Error
}

/** The same memory as a `Buffer`. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** What was thrown, as an error. */
export function errorOf(thrown: unknown): Error {
  return isError(thrown) ? thrown : new Error(reasonOf(thrown), { cause: thrown })
}

/** What a failure says, for another message. Anything can be thrown, so this never throws, whatever it is. */
export function reasonOf(failure: unknown): string {
  if (typeof failure === 'string') return failure
  try {
    const message: unknown = isError(failure) ? failure.message : null
    if (typeof message === 'string') return message
  } catch {
    // What says nothing is described.
  }
  return describeValue(failure)
}
