import { expect, it } from 'vitest'
import { exactJson } from '../../lib/offline/raw-fields.ts'

it.each([
  ['12345678901234567890', '12345678901234567890'],
  ['-9007199254740993', '-9007199254740993'],
  ['9007199254740991', 9007199254740991],
  ['123456789012345678e3', '123456789012345678e3'],
  ['0.30000000000000004', 0.30000000000000004],
  ['0.1234567890123456789', '0.1234567890123456789'],
  ['1.50000000000000000', 1.5],
  ['1e400', '1e400'],
  ['5e-400', '5e-400'],
  ['0e5', 0],
  ['1e21', 1e21],
  ['"12345678901234567890"', '12345678901234567890'],
  ['"\\\\" ', '\\'],
  [
    '["\\"", 12345678901234567890, "\\\\", {"1e400": 1e400}]',
    ['"', '12345678901234567890', '\\', { '1e400': '1e400' }],
  ],
])('keeps all digits of %s', (json, value) => {
  expect(exactJson(json)).toEqual(value)
})

it('throws a SyntaxError for text that is not JSON', () => {
  for (const json of ['1e400 2', '01234567890123456789', '{"a":-}12345678901234567890']) {
    expect(() => exactJson(json), json).toThrow(SyntaxError)
  }
})

it.each([
  ['of plain characters', 'x'],
  ['of escaped ones', '"'],
])('takes a string of any length beside a number that must not lose digits: %s', (_, character) => {
  const text = character.repeat(10_000_000)
  const json = `{"before":"${'1'.repeat(20)}","text":${JSON.stringify(text)},"number":12345678901234567890}`
  const value = exactJson(json) as Record<string, unknown>
  expect(value['text'] === text).toBe(true)
  expect(value['number']).toBe('12345678901234567890')
  expect(value['before']).toBe('1'.repeat(20))
})
