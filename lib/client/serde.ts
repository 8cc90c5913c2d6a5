// Imported because the global `Buffer` is a getter, which would be called for every record.
import { Buffer } from 'node:buffer'
import { types } from 'node:util'
import { asBuffer, refuseThenable } from '../checks.ts'

/**
 * Converts keys or values of type `T` to bytes and back.
 *
 * A record without a key or value has `null` there, which is neither serialized nor deserialized:
 * `null` is stored as `null` and read as `null`. The serdes of this module also return `null` for
 * `null`. Their errors reach the application as the `cause` of a `SerializationError`.
 */
export interface Serde<T> {
  /**
   * Converts data to bytes. The bytes are read later, when a batch is written, so they must not be
   * changed afterwards.
   *
   * @returns `null` to store no key or no value
   */
  serialize(topic: string, data: T): Buffer | null
  /**
   * Converts bytes to data.
   *
   * @param bytes may be a view of a larger buffer; never `null`, possibly empty. A deserializer
   * that may throw must not write to them: the next poll reads the record from the same bytes again
   */
  deserialize(topic: string, bytes: Buffer): T
}

/** The part of a {@link Serde} that a producer needs. */
export type Serializer<T> = Pick<Serde<T>, 'serialize'>

/** The part of a {@link Serde} that a consumer needs. */
export type Deserializer<T> = Pick<Serde<T>, 'deserialize'>

// The byte order mark is kept, or a string that begins with one would be changed by a round trip.
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Serde for bytes, without a copy: accepts any `Uint8Array` and returns a `Buffer`. Anything else
 * is refused with a TypeError.
 */
export function bytes(): Serializer<Uint8Array> & Deserializer<Buffer> {
  return BYTES
}

/**
 * Serde for strings in UTF-8. Other values, and stored bytes that are not UTF-8, are refused with a
 * TypeError. A lone surrogate is stored as U+FFFD, as everywhere in Node.
 */
export function string(): Serde<string> {
  return STRING
}

/**
 * Serde for JSON text in UTF-8. Values without a JSON form (`undefined`, a function, a symbol, a
 * bigint, a cycle, a promise, a map, a set) are refused with a TypeError, stored bytes that are not
 * JSON with a SyntaxError. Within an object the rules of `JSON.stringify` apply: a map is stored as
 * `{}`. NaN and Infinity are stored as `null`, also on their own. Stored data is not checked to be
 * a `T`.
 */
export function json<T = unknown>(): Serde<T> {
  return {
    serialize: serializeJson,
    deserialize: (_topic, stored) => parseJson(stored) as T,
  }
}

/**
 * The serde used by default: accepts strings, which are stored in UTF-8, and any `Uint8Array`;
 * returns a `Buffer`.
 */
export function defaultSerde(): Serializer<string | Uint8Array | null> & Deserializer<Buffer> {
  return DEFAULT
}

// Nearly all bytes are Buffers, and the check for a Buffer takes a tenth of the time of the check
// for a Uint8Array.
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
    throw wrongType('the default serializer', 'a string, a Uint8Array or null', data)
  },
  deserialize: (_topic: string, stored: Buffer): Buffer => stored,
})

function serializeJson(_topic: string, data: unknown): Buffer | null {
  if (data === null) return null
  // A promise that was not awaited. Other data may have a field named `then`, which must not be
  // called.
  if (types.isPromise(data)) refuseThenable('json() takes a value that JSON can represent', data)
  // The declared type is wrong about values without a JSON form.
  const text = JSON.stringify(data) as string | undefined
  if (text === undefined || (text === '{}' && isHiddenFromJson(data))) {
    throw wrongType('json()', 'a value that JSON can represent', data)
  }
  return Buffer.from(text)
}

/** Whether an object's content is missing from its JSON, and not because of its own `toJSON`. */
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
  // 'Array', 'Date' or 'Object' says more than 'object', and cannot fail on an unusual prototype.
  if (typeof value === 'object') return Object.prototype.toString.call(value).slice(8, -1)
  return typeof value
}
