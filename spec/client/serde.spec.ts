import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { bytes, defaultSerde, json, string } from '../../lib/client/serde.ts'
import type { Deserializer, Serde, Serializer } from '../../lib/client/serde.ts'

/** What an application without types may pass. */
function untyped(serde: Serializer<never>): Serializer<unknown> {
  return serde
}

function roundTrip<T>(serde: Serde<T>, data: T): T {
  const stored = serde.serialize('t', data)
  if (stored === null) throw new Error('nothing was stored')
  return serde.deserialize('t', stored)
}

describe('every serde', () => {
  it.each([
    ['bytes()', bytes()],
    ['string()', string()],
    ['json()', json()],
    ['defaultSerde()', defaultSerde()],
  ])('%s stores null as null', (_name, serde) => {
    expect(untyped(serde).serialize('t', null)).toBeNull()
  })

  it('is assignable to the Serde or Deserializer type that fits it', () => {
    const serdes: [Serde<Buffer>, Serde<string>, Serde<{ id: number }>, Deserializer<Buffer>] = [
      bytes(),
      string(),
      json<{ id: number }>(),
      defaultSerde(),
    ]
    for (const serde of serdes) expect(serde.deserialize('t', Buffer.from('1'))).toBeDefined()
  })
})

describe('bytes', () => {
  it('returns a Buffer unchanged in both directions', () => {
    const data = Buffer.from('abc')
    expect(bytes().serialize('t', data)).toBe(data)
    expect(bytes().deserialize('t', data)).toBe(data)
  })

  it('shares the memory of any other Uint8Array, limited to the part in its view', () => {
    const data = Uint8Array.of(1, 2, 3, 4).subarray(1, 3)
    const stored = bytes().serialize('t', data)
    expect(stored).toEqual(Buffer.of(2, 3))
    data[0] = 9
    expect(stored).toEqual(Buffer.of(9, 3))
  })

  it('accepts a Uint8Array of another realm', () => {
    const data = runInNewContext('Uint8Array.of(1, 2)') as Uint8Array
    expect(bytes().serialize('t', data)).toEqual(Buffer.of(1, 2))
  })

  it('stores empty bytes as empty bytes, not as null', () => {
    expect(bytes().serialize('t', new Uint8Array())).toEqual(Buffer.alloc(0))
  })

  it.each([
    ['abc', 'string'],
    [1, 'number'],
    [undefined, 'undefined'],
    [[1, 2], 'Array'],
    [{}, 'Object'],
    [new ArrayBuffer(2), 'ArrayBuffer'],
    [new Uint16Array(2), 'Uint16Array'],
    [Object.create(null), 'Object'],
  ])('throws a TypeError that names the type for %j', (data, type) => {
    expect(() => untyped(bytes()).serialize('t', data)).toThrow(TypeError)
    expect(() => untyped(bytes()).serialize('t', data)).toThrow(
      `bytes() takes a Uint8Array, got ${type}`,
    )
  })
})

describe('string', () => {
  it('stores UTF-8', () => {
    expect(string().serialize('t', 'é€😀')).toEqual(
      Buffer.of(0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80),
    )
  })

  it('returns every well-formed string unchanged', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(roundTrip(string(), text)).toBe(text)
      }),
    )
  })

  it.each(['', '\ufeffmark', '\u0000', '__proto__'])('returns %j unchanged', (text) => {
    expect(roundTrip(string(), text)).toBe(text)
  })

  it('stores a lone surrogate as the replacement character', () => {
    expect(roundTrip(string(), 'a\ud83d')).toBe('a\ufffd')
  })

  it.each([
    [Buffer.from('a'), 'Uint8Array'],
    [1, 'number'],
    [undefined, 'undefined'],
    [Object('a'), 'String'],
    [Symbol('a'), 'symbol'],
  ])('throws a TypeError that names the type for %s', (data, type) => {
    expect(() => untyped(string()).serialize('t', data)).toThrow(TypeError)
    expect(() => untyped(string()).serialize('t', data)).toThrow(
      `string() takes a string, got ${type}`,
    )
  })

  it.each([
    ['a lone continuation', [0x61, 0x80]],
    ['a cut sequence', [0xe2, 0x82]],
    ['an overlong slash', [0xc0, 0xaf]],
    ['a surrogate', [0xed, 0xa0, 0x80]],
  ])('throws a TypeError when it reads %s', (_name, stored) => {
    expect(() => string().deserialize('t', Buffer.from(stored))).toThrow(TypeError)
  })

  it('reads valid bytes after it has refused invalid ones', () => {
    expect(() => string().deserialize('t', Buffer.of(0xe2, 0x82))).toThrow()
    expect(string().deserialize('t', Buffer.from('é'))).toBe('é')
  })
})

describe('json', () => {
  it('stores JSON text', () => {
    expect(json().serialize('t', { id: 1, name: 'é' })?.toString()).toBe('{"id":1,"name":"é"}')
  })

  it('returns every JSON value but null unchanged', () => {
    fc.assert(
      fc.property(
        fc.jsonValue().filter((value) => value !== null),
        (value) => {
          // JSON has no -0, so the expectation goes through JSON as well.
          expect(roundTrip(json(), value)).toEqual(JSON.parse(JSON.stringify(value)))
        },
      ),
    )
  })

  it('does not set the prototype from a property called __proto__', () => {
    const data = json<object>().deserialize('t', Buffer.from('{"__proto__":{"admin":true}}'))
    expect(Object.getPrototypeOf(data)).toBe(Object.prototype)
    expect('admin' in data).toBe(false)
  })

  it.each([
    ['undefined', undefined, 'undefined'],
    ['a function', () => 1, 'function'],
    ['a symbol', Symbol('a'), 'symbol'],
    ['what makes itself undefined', { toJSON: () => undefined }, 'Object'],
    ['a map', new Map([[1, 2]]), 'Map'],
    ['a set', new Set([1]), 'Set'],
    ['a promise that was not awaited', Promise.resolve({ id: 1 }), 'an instance of Promise'],
  ])('throws a TypeError that names the type for %s', (_name, data, type) => {
    expect(() => json().serialize('t', data)).toThrow(TypeError)
    expect(() => json().serialize('t', data)).toThrow(
      `json() takes a value that JSON can represent, got ${type}`,
    )
  })

  it('stores an object without own properties, or whose toJSON returns one, as {}', () => {
    const map = Object.assign(new Map([[1, 2]]), { toJSON: () => ({}) })
    for (const data of [{}, Object.create({ id: 1 }), map]) {
      expect(json().serialize('t', data)?.toString()).toBe('{}')
    }
  })

  it('stores data with a function property called then, without calling it', () => {
    const then = vi.fn()
    expect(json().serialize('t', { id: 1, then })?.toString()).toBe('{"id":1}')
    expect(then).not.toHaveBeenCalled()
  })

  it('throws a TypeError for a bigint and for a cycle', () => {
    const cycle: { self?: unknown } = {}
    cycle.self = cycle
    expect(() => json().serialize('t', { id: 1n })).toThrow(TypeError)
    expect(() => json().serialize('t', cycle)).toThrow(TypeError)
  })

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['text', Buffer.from('abc')],
    ['a cut object', Buffer.from('{"id":')],
    ['bytes that are not UTF-8', Buffer.of(0x22, 0x80, 0x22)],
  ])('throws a SyntaxError when it reads %s', (_name, stored) => {
    expect(() => json().deserialize('t', stored)).toThrow(SyntaxError)
  })
})

describe('defaultSerde', () => {
  it('stores strings in UTF-8 and bytes as they are', () => {
    const data = Buffer.from('abc')
    expect(defaultSerde().serialize('t', 'é')).toEqual(Buffer.of(0xc3, 0xa9))
    expect(defaultSerde().serialize('t', data)).toBe(data)
    expect(defaultSerde().serialize('t', Uint8Array.of(7))).toEqual(Buffer.of(7))
  })

  it('returns the stored bytes', () => {
    const stored = Buffer.from('abc')
    expect(defaultSerde().deserialize('t', stored)).toBe(stored)
  })

  it.each([
    [{ id: 1 }, 'Object'],
    [1, 'number'],
    [undefined, 'undefined'],
  ])('throws a TypeError that names the type for %j', (data, type) => {
    expect(() => untyped(defaultSerde()).serialize('t', data)).toThrow(TypeError)
    expect(() => untyped(defaultSerde()).serialize('t', data)).toThrow(`got ${type}`)
  })
})
