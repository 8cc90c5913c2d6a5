import { describe, expect, it, vi } from 'vitest'
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

  it.each([1, 2, 3, 4, 5, 6, 7, 20])(
    'does not count a carriage return of the line end to maxRowBytes, in pieces of %i bytes',
    (pieceBytes) => {
      const rows = (text: string, delimiter: string | null): [string, string | null][] =>
        split(text, { pieceBytes, maxRowBytes: 5, delimiter }).map(({ bytes, fault }) => [
          bytes.toString(),
          fault,
        ])
      const all = [
        ['abcde', null],
        ['abcde', 'too-long'],
        ['abcde', 'too-long'],
        ['12345', null],
        ['abcde', 'too-long'],
      ]
      expect(rows('abcde\r\nabcdef\r\nabcde\r\r\n12345\nabcde\r', null)).toEqual(all)
      expect(rows('abcde\r\nabcdef\r\nabcde\r\r\n12345\nabcde\r', ',')).toEqual(all)
      expect(rows('"a\nb"\r\n"abcd\r\n1\n', ',')).toEqual([
        ['"a\nb"', null],
        ['"abcd', 'open-quote'],
        ['1', null],
      ])
    },
  )

  it('reports a row longer than maxRowBytes as too long, and continues after it', () => {
    const long = 'z'.repeat(5000)
    const rows = split(`a\n${long}\nb\n`, { maxRowBytes: 10 })
    expect(rows.map(({ fault }) => fault)).toEqual([null, 'too-long', null])
    expect(rows[1]?.bytes.length).toBeLessThanOrEqual(1024)
    expect(rows[1]).toMatchObject({ startPosition: 2, endPosition: 5003 })
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

  it.each(['\n', '\r\n'])(
    'reports a quote that the next quote does not close as a fault of its own line only, %j',
    (lineEnd) => {
      const good = Array.from({ length: 20 }, (_, at) => `${at},z`)
      const lines = ['0,"ok"', '1,"open', ...good, '3,"y"', '4,z', '']
      const rows = split(lines.join(lineEnd), { delimiter: ',' })
      expect(rows.map(({ bytes }) => bytes.toString())).toEqual(lines.slice(0, -1))
      expect(rows.map(({ line }) => line)).toEqual(lines.slice(0, -1).map((_, at) => at + 1))
      const faults = rows.flatMap(({ fault }, at) => (fault === null ? [] : [[at, fault]]))
      expect(faults).toEqual([[1, 'stray-quote']])
    },
  )

  it('keeps the lines of closed fields in a row of which a later field is not closed', () => {
    expect(summary(split('1,"x\n2,y\nz","open\n3,4\n5,"y"\n', { delimiter: ',' }))).toEqual([
      '1,"x\n2,y\nz","open|1|18|3|stray-quote|false',
      '3,4|4|22|4|-|false',
      '5,"y"|5|28|5|-|false',
    ])
  })

  it.each(['"x\ny"\r\n', '"x\ny"\n', '"x\ny",z\n', '"x\ny"""\n', '"x\ny"\r', '"x"y\n'])(
    'leaves a row whose quotes end fields, or do so on their own line, in one piece: %j',
    (text) => {
      for (const pieceBytes of [1, 2, 100]) {
        expect(split(text, { delimiter: ',', pieceBytes })).toMatchObject([{ fault: null }])
      }
    },
  )

  it.each(['12" pipe,"blue\n', '",a"b or c,"d\n'])(
    'scans less than four times the bytes of a text with many unclosed quotes: %j',
    (line) => {
      const text = Buffer.from(line.repeat(10_000))
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
    },
  )

  it.each([null, ','])(
    'copies a long row once, however small its pieces, delimiter %j',
    (delimiter) => {
      const from = { position: 0, line: 0 }
      const splitter = new RowSplitter({ maxRowBytes: 100_000, delimiter, from })
      const row = Buffer.alloc(90_000, 'x')
      const joining = vi.spyOn(Buffer, 'concat')
      try {
        for (let at = 0; at < row.length; at += 100) {
          expect(splitter.push(row.subarray(at, at + 100))).toEqual([])
        }
        expect(splitter.push(Buffer.from('\n'))).toMatchObject([{ bytes: row, fault: null }])
        expect(joining).toHaveBeenCalledOnce()
      } finally {
        joining.mockRestore()
      }
    },
  )

  it('scans less than four times the bytes of lines in quotes whose row ends too far away', () => {
    const text = Buffer.from(`${'x","\n'.repeat(10_000)}"\nz\n`)
    const from = { position: 0, line: 0 }
    const splitter = new RowSplitter({ maxRowBytes: 20_000, delimiter: ',', from })
    const rows = [...splitter.push(text), ...splitter.end()]
    expect(rows.at(-1)?.bytes.toString()).toBe('z')
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
        // An import that continues after a row splits the rest as the first run would have done.
        const rows = split(text, { delimiter, maxRowBytes: 64 })
        for (const [at, { endPosition: position, endLine: line }] of rows.entries()) {
          const rest = Buffer.from(text).subarray(position)
          const splitter = new RowSplitter({ maxRowBytes: 64, delimiter, from: { position, line } })
          const later = [...splitter.push(rest), ...splitter.end()]
          expect(summary(later), `seed ${seed}, from row ${at + 1}`).toEqual(whole.slice(at + 1))
        }
        expect(whole.at(-1)?.split('|').at(-4)).toBe(String(Buffer.byteLength(text)))
      }
    },
  )
})
