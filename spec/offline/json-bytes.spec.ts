import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { JsonBytes } from '../../lib/offline/json-bytes.ts'

const textOf = (json: JsonBytes): string => json.bytes.toString('utf8')

const ANY_TEXT = fc.string({ unit: 'grapheme', maxLength: 40 })
const CONTROL = fc.string({
  unit: fc.integer({ min: 0, max: 0x7f }).map((code) => String.fromCharCode(code)),
  maxLength: 40,
})

describe('JsonBytes', () => {
  it('escapes strings like JSON.stringify', () => {
    fc.assert(
      fc.property(fc.oneof(ANY_TEXT, CONTROL), (text) => {
        const json = new JsonBytes()
        json.string(Buffer.from(text))
        expect(textOf(json)).toBe(JSON.stringify(text))
      }),
    )
  })

  it.each([
    [
      'a string',
      (json: JsonBytes, text: string) => {
        json.string(Buffer.from(text))
      },
    ],
    [
      'text',
      (json: JsonBytes, text: string) => {
        json.text(JSON.stringify(text))
      },
    ],
    [
      'bytes',
      (json: JsonBytes, text: string) => {
        json.raw(Buffer.from(JSON.stringify(text)))
      },
    ],
    [
      'a line of JSON',
      (json: JsonBytes, text: string) => {
        json.jsonLine(Buffer.from(JSON.stringify(text)))
      },
    ],
    [
      'ASCII',
      (json: JsonBytes, text: string) => {
        json.ascii(JSON.stringify(text))
      },
    ],
  ])('grows with what is added as %s, and keeps what it contains', (_what, add) => {
    const json = new JsonBytes()
    const texts = ['\u0001'.repeat(5), '"'.repeat(9000), 'a'.repeat(70_000), '\n\\'.repeat(50_000)]
    for (const text of texts) add(json, text)
    expect(textOf(json)).toBe(texts.map((text) => JSON.stringify(text)).join(''))
    json.clear()
    add(json, 'again')
    expect(textOf(json)).toBe('"again"')
  })

  it('writes times like toISOString', () => {
    const json = new JsonBytes()
    const [first, last] = [
      Date.parse('0001-01-01T00:00:00Z'),
      Date.parse('9999-12-31T23:59:59.999Z'),
    ]
    const times = fc.array(
      fc.oneof(fc.integer({ min: first, max: last }), fc.integer({ min: -70_000, max: 70_000 })),
      { minLength: 1, maxLength: 5 },
    )
    fc.assert(
      fc.property(times, (each) => {
        json.clear()
        for (const ms of each) json.time(ms)
        expect(textOf(json)).toBe(each.map((ms) => JSON.stringify(new Date(ms))).join(''))
      }),
      { examples: [[[first, last, 0, -1, 59_999, 60_000]]] },
    )
  })

  it('writes JSON of several lines on one line', () => {
    const json = new JsonBytes()
    json.jsonLine(Buffer.from('{\r\n"a":\n"\\n"}'))
    expect(textOf(json)).toBe('{  "a": "\\n"}')
  })
})
