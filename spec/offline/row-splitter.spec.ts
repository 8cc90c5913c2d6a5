import { describe, expect, it } from 'vitest'
import { RowSplitter, type TextRow } from '../../lib/offline/row-splitter.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'

function split(
  text: string,
  options: { pieceBytes?: number; maxRowBytes?: number; delimiter?: string | null } = {},
): TextRow[] {
  const { pieceBytes = 7, maxRowBytes = 1000, delimiter = null } = options
  const from = { position: 0, line: 0 }
  const splitter = new RowSplitter({ maxRowBytes, delimiter, from })
  const bytes = Buffer.from(text)
  const rows: TextRow[] = []
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    rows.push(...splitter.push(bytes.subarray(at, at + pieceBytes)))
  }
  return [...rows, ...splitter.end()]
}

function summary(rows: readonly TextRow[]): string[] {
  return rows.map(({ bytes, line, endPosition, endLine, fault, isOpenEnd }) =>
    [bytes.toString(), line, endPosition, endLine, fault ?? '-', isOpenEnd].join('|'),
  )
}

describe('RowSplitter', () => {
  it('returns each line with the position and line number where it ends', () => {
    expect(summary(split('a\r\nbb\n\nccé'))).toEqual([
      'a|1|3|1|-|false',
      'bb|2|6|2|-|false',
      '|3|7|3|-|false',
      'ccé|4|11|3|-|true',
    ])
  })

  it('keeps a quoted field of several lines in one row, with its doubled quotes', () => {
    expect(summary(split('1,"x\n""y"\n2,a"b\n', { delimiter: ',' }))).toEqual([
      '1,"x\n""y"|1|10|2|-|false',
      '2,a"b|3|16|3|-|false',
    ])
  })

  it('keeps the last row together if the text ends with a quoted field of several lines', () => {
    expect(summary(split('id\n1,"x\n2,""y""\nz"', { delimiter: ',' }))).toEqual([
      'id|1|3|1|-|false',
      '1,"x\n2,""y""\nz"|2|18|3|-|true',
    ])
    expect(split('1,"x\n2,y\nz",', { delimiter: ',' })).toHaveLength(1)
    // Neither one longer than a row may be, nor one that is not closed.
    expect(split('1,"x\n2,y\nz"', { delimiter: ',', maxRowBytes: 8 })).toHaveLength(3)
    expect(split('1,"x\n2,y\nz""', { delimiter: ',' })).toHaveLength(3)
  })

  it('reports a row longer than maxRowBytes as too long, and continues after it', () => {
    const long = 'z'.repeat(5000)
    const rows = split(`a\n${long}\nb\n`, { maxRowBytes: 10 })
    expect(rows.map(({ fault }) => fault)).toEqual([null, 'too-long', null])
    expect(rows[1]?.bytes.length).toBeLessThanOrEqual(1024)
    expect(rows[2]).toMatchObject({ line: 3, endPosition: 5005, endLine: 3 })
    expect(split(long, { maxRowBytes: 10 })).toMatchObject([
      { fault: 'too-long', endPosition: 5000, isOpenEnd: true },
    ])
  })

  it('reports an unclosed quote as a fault of its own line only', () => {
    const text = `1,"open\n${'2,3\n'.repeat(50)}`
    const rows = split(text, { delimiter: ',', maxRowBytes: 40 })
    expect(rows).toHaveLength(51)
    expect(rows[0]).toMatchObject({ fault: 'open-quote', endPosition: 8, endLine: 1 })
    expect(rows.slice(1).every(({ fault }) => fault === null)).toBe(true)
    expect(rows.at(-1)).toMatchObject({ endPosition: Buffer.byteLength(text), endLine: 51 })
    expect(split('1,"open', { delimiter: ',' })).toMatchObject([{ fault: 'open-quote' }])
  })

  it('scans less than four times the bytes of a text with many unclosed quotes', () => {
    const text = Buffer.from('12" pipe,"blue\n'.repeat(10_000))
    const splitter = new RowSplitter({
      maxRowBytes: 100_000,
      delimiter: ',',
      from: { position: 0, line: 0 },
    })
    let count = 0
    for (let at = 0; at < text.length; at += 4096) {
      count += splitter.push(text.subarray(at, at + 4096)).length
    }
    expect(count + splitter.end().length).toBe(10_000)
    expect(splitter.scannedBytes).toBeLessThan(4 * text.length)
  })

  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'splits any text the same in pieces of any size, seed %i',
    (seed) => {
      const random = new SeededRandom(seed)
      const letters = ['a', ',', '"', '\n', '\r\n', '""', 'é', 'zzzzzzzzzzzz']
      let text = ''
      for (let count = 0; count < 400; count += 1)
        text += letters[random.integer(letters.length)] ?? ''
      for (const delimiter of [null, ',']) {
        const whole = summary(split(text, { delimiter, maxRowBytes: 64, pieceBytes: 1e6 }))
        for (const pieceBytes of [1, 3, 17, 100]) {
          const pieces = summary(split(text, { delimiter, maxRowBytes: 64, pieceBytes }))
          expect(pieces, `seed ${seed}, pieces of ${pieceBytes}`).toEqual(whole)
        }
        expect(whole.at(-1)?.split('|').at(-4)).toBe(String(Buffer.byteLength(text)))
      }
    },
  )
})
