import { describe, expect, it } from 'vitest'
import {
  abortSignal,
  boolean,
  callback,
  checkOneOf,
  checkOptions,
  checkPath,
  checkWholeNumber,
  describeValue,
  objectWith,
  wholeNumber,
} from '../lib/checks.ts'

interface Options {
  lingerMs?: number
  readOnly?: boolean
}

function check(options: unknown): Options {
  return checkOptions<Options>('some options', options as Options, {
    lingerMs: wholeNumber(0, 10),
    readOnly: boolean,
  })
}

describe('options', () => {
  it.each([
    [null, 'some options must be a plain object, got null'],
    [[1], 'got an array'],
    ['x', 'got "x"'],
    [() => 1, 'got a function'],
    [new Map(), 'got an instance of Map'],
    [Promise.resolve(), 'got an instance of Promise'],
    [Object.create({ lingerMs: 5 }), 'got an object'],
    [{ b: 1 }, 'unknown key "b" in some options; known keys are lingerMs, readOnly'],
    [{ lingerMS: 5 }, `key "lingerMS" in some options, did you mean 'lingerMs'? Known keys are`],
    [{ 'linger.ms': 5 }, "did you mean 'lingerMs'?"],
    [{ lignerMs: 5 }, "did you mean 'lingerMs'?"],
    [{ readonly: true }, "did you mean 'readOnly'?"],
    [JSON.parse('{"__proto__": {"readOnly": true}}'), 'unknown key "__proto__" in'],
    [{ constructor: 1 }, 'unknown key "constructor" in'],
    [{ readOnly: 'false' }, 'readOnly must be true or false, got "false"'],
    [{ readOnly: null }, 'readOnly must be true or false, got null'],
    [{ lingerMs: 10n }, 'lingerMs must be a number, got 10n'],
  ])('are rejected with a message that names the mistake: row %#', (options, message) => {
    expect(() => check(options)).toThrow(TypeError)
    expect(() => check(options)).toThrow(message)
  })

  it('are rejected with the range of a number that is out of it', () => {
    const error = new RangeError('lingerMs must be a whole number from 0 to 10, got 11')
    expect(() => check({ lingerMs: 11 })).toThrow(error)
  })

  it('are read only once, and undefined ones are left out', () => {
    let reads = 0
    const options = {
      get lingerMs() {
        reads += 1
        return reads
      },
      readOnly: undefined,
    }
    expect({ ...check(options) }).toEqual({ lingerMs: 1 })
    expect(reads).toBe(1)
    expect(check(Object.assign(Object.create(null), { lingerMs: 3 })).lingerMs).toBe(3)
  })
})

describe('checks of values', () => {
  it('return the value that they have checked', () => {
    expect(checkWholeNumber('n', 5, 5, 5)).toBe(5)
    expect(checkWholeNumber('n', -0, 0, 5)).toBe(0)
    expect(checkOneOf('n', 'a', ['a', 'b'])).toBe('a')
    expect(checkPath('dir', '/a')).toBe('/a')
  })

  it.each([
    [() => checkOneOf('n', {}, ['a']), 'n must be one of "a", got an object'],
    [() => checkPath('dir', ''), 'dir must be a path, got ""'],
    [() => checkPath('dir', 'a\0b'), 'dir must be a path, got "a\\u0000b"'],
    [() => checkPath('dir', undefined), 'dir must be a string, got undefined'],
    [() => checkPath('dir', new URL('file:///d')), 'dir must be a string, got an instance of URL'],
    [
      () => {
        abortSignal('signal', {})
      },
      'signal must be an AbortSignal, got an object',
    ],
    [
      () => {
        callback('f', 1)
      },
      'f must be a function, got 1',
    ],
    [
      () => {
        objectWith('now', 'go')('c', { now: () => 1 })
      },
      'c must be an object with now(), go(), got an object without go()',
    ],
    [
      () => {
        objectWith('now')('c', null)
      },
      'c must be an object with now(), got null',
    ],
  ])('throw an error that names the value and what is allowed: row %#', (run, message) => {
    expect(run).toThrow(new TypeError(message))
  })
})

describe('describeValue', () => {
  it.each([
    [undefined, 'undefined'],
    [null, 'null'],
    [-0, '-0'],
    [NaN, 'NaN'],
    [10n, '10n'],
    [Symbol('x'), 'Symbol(x)'],
    [() => 1, 'a function'],
    [[], 'an array'],
    [{}, 'an object'],
    [Object.create(null), 'an object'],
    [new Date(0), 'an instance of Date'],
    [
      Object.defineProperty({}, 'constructor', {
        get: () => {
          throw new Error('no')
        },
      }),
      'an object',
    ],
    [
      Object.create({
        get constructor(): never {
          throw new Error('no')
        },
      }),
      'an object',
    ],
    ['x'.repeat(100), `"${'x'.repeat(60)}"… (100 characters)`],
  ])('returns what the value is: row %#', (value, text) => {
    expect(describeValue(value)).toBe(text)
  })

  it('returns a text for a revoked proxy', () => {
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    expect(describeValue(proxy)).toBe('an object')
  })

  it('returns a short text, however large the value is', () => {
    const name = 'y'.repeat(1000)
    const large = [
      10n ** 1000n,
      Symbol(name),
      Object.create({ constructor: Object.defineProperty(() => 1, 'name', { value: name }) }),
      '\0'.repeat(1e6),
    ]
    for (const value of large) expect(describeValue(value).length).toBeLessThan(420)
  })
})
