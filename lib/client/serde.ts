// Not the global of that name: that is behind a getter, which would be called for every record.
import { Buffer } from 'node:buffer'
import { types } from 'node:util'
import { asBuffer, refuseThenable } from '../checks.ts'

/**
 * Turns keys or values of type `T` into bytes and back.
 *
 * A record without a key or value has `null` there, which is neither serialized nor deserialized:
 * `null` in is `null` stored, and that is read as `null`. The serdes of this module give `null`
 * for `null` as well. What they throw reaches the application as the `cause` of a
 * `SerializationError`.
 */
export interface Serde<T> {
  /**
   * The bytes are read later, when a batch is written, so they must not be changed afterwards.
   *
   * @returns `null` to store no key or no value
   */
  serialize(topic: string, data: T): Buffer | null
  /**
   * The data that the bytes stand for.
   *
   * @param bytes may be a view of a larger buffer; never `null`, perhaps empty. Not to be written into by
   * who may throw: the record is read from them again in the next poll
   */
  deserialize(topic: string, bytes: Buffer): T
}

/** The half of a {@link Serde} that a producer needs. */
export type Serializer<T> = Pick<Serde<T>, 'serialize'>

/** The half of a {@link Serde} that a consumer needs. */
export type Deserializer<T> = Pick<Serde<T>, 'deserialize'>

// The byte order mark stays, or a string that begins with one would not come back as it was.
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Bytes as they are, without a copy: takes any `Uint8Array`, gives a `Buffer`. Anything else is
 * refused with a TypeError.
 */
export function bytes(): Serializer<Uint8Array> & Deserializer<Buffer> {
  return BYTES
}

/**
 * Strings in UTF-8. Anything else is refused with a TypeError, and so are stored bytes that are not
 * UTF-8. Half of a surrogate pair is stored as U+FFFD, as everywhere in Node.
 */
export function string(): Serde<string> {
  return STRING
}

/**
 * JSON text in UTF-8. What JSON cannot say at all (`undefined`, a function, a symbol, a bigint, a
 * cycle, a promise, a map, a set) is refused with a TypeError, stored bytes that are not JSON with a
 * SyntaxError. Within an object it is as with `JSON.stringify`: a map is stored as `{}`, NaN and
 * Infinity, also alone, as `null`. Nobody checks that what was stored is a `T`.
 */
export function json<T = unknown>(): Serde<T> {
  return {
    serialize: serializeJson,
    deserialize: (_topic, stored) => parseJson(stored) as T,
  }
}

/**
 * What is used when no serde is given: takes strings, which are stored in UTF-8, and any
 * `Uint8Array`; gives a `Buffer`.
 */
export function defaultSerde(): Serializer<string | Uint8Array | null> & Deserializer<Buffer> {
  return DEFAULT
}

// Nearly all bytes come in buffers, and to ask whether it is one takes a tenth of the time that it
// takes to ask for a Uint8Array.
const BYTES: Serializer<Uint8Array> & Deserializer<Buffer> = Object.freeze({
  serialize(_topic: string, data: unknown): Buffer | null {
    if (data === null || Buffer.isBuffer(data)) return data
    if (!types.isUint8Array(data)) throw wrongType('bytes()', 'a Uint8Array', data)
    return asBuffer(data)
  },
  deserialize: (_topic: string, stored: Buffer): Buffer => stored,
})

const STRING: Serde<string> = Object.freeze({
  serialize(_topic: string, data: unknown): Buffer | null {
    if (data === null) return null
    if (typeof data !== 'string') throw wrongType('string()', 'a string', data)
    return Buffer.from(data)
  },
  deserialize: (_topic: string, stored: Buffer): string => UTF8.decode(stored),
})

const DEFAULT: Serializer<string | Uint8Array | null> & Deserializer<Buffer> = Object.freeze({
  serialize(_topic: string, data: unknown): Buffer | null {
    if (data === null || Buffer.isBuffer(data)) return data
    if (typeof data === 'string') return Buffer.from(data)
    if (types.isUint8Array(data)) return asBuffer(data)
    throw wrongType('without a serializer, a key or value', 'a string, a Uint8Array or null', data)
  },
  deserialize: (_topic: string, stored: Buffer): Buffer => stored,
})

function serializeJson(_topic: string, data: unknown): Buffer | null {
  if (data === null) return null
  // One that was not awaited. Data may have a field of that name, which is no reason to call it.
  if (types.isPromise(data)) refuseThenable('json() takes a value that JSON can represent', data)
  // The declared type is wrong about values that JSON leaves out.
  const text = JSON.stringify(data) as string | undefined
  if (text === undefined || (text === '{}' && isHiddenFromJson(data))) {
    throw wrongType('json()', 'a value that JSON can represent', data)
  }
  return Buffer.from(text)
}

/** Whether what an object holds is left out of its JSON, and not because it says so itself. */
function isHiddenFromJson(data: unknown): boolean {
  const hasHidden = types.isMap(data) || types.isSet(data)
  return hasHidden && !('toJSON' in data)
}

function parseJson(stored: Buffer): unknown {
  let text: string
  try {
    text = UTF8.decode(stored)
  } catch (cause) {
    throw new SyntaxError('the bytes are not JSON: they are not UTF-8', { cause })
  }
  return JSON.parse(text)
}

function wrongType(who: string, wanted: string, got: unknown): TypeError {
  return new TypeError(`${who} takes ${wanted}, got ${typeName(got)}`)
}

function typeName(value: unknown): string {
  // 'Array', 'Date' or 'Object' says more than 'object', and cannot fail on a strange prototype.
  if (typeof value === 'object') return Object.prototype.toString.call(value).slice(8, -1)
  return typeof value
}
