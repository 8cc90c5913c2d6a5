import { gzipSync } from 'node:zlib'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parquetMetadata } from 'hyparquet'
import { parquetWriteBuffer, type ColumnSource, type SchemaElement } from 'hyparquet-writer'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Broker, CreateTopicOptions, StoredRecord } from '../../lib/index.ts'
import { IllegalStateError, UnknownTopicOrPartitionError } from '../../lib/index.ts'
import {
  importFile,
  ImportFileChangedError,
  ImportFileError,
  type ImportOptions,
  type ImportRecord,
  type ImportReject,
  type ImportResult,
} from '../../lib/offline/index.ts'
import { compressLz4Block } from '../../lib/record/codecs/lz4-block.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'

interface Setting {
  readonly broker: Broker
  readonly fileSystem: SimulatedFileSystem
  readonly rejects: ImportReject[]
  readonly put: (path: string, content: string | Uint8Array) => void
  readonly run: (path: string, options?: Partial<ImportOptions<never>>) => Promise<ImportResult>
  readonly records: () => Promise<StoredRecord[]>
  readonly values: () => Promise<string[]>
}

async function setUp(topic: CreateTopicOptions = {}): Promise<Setting> {
  const fileSystem = new SimulatedFileSystem()
  const broker = await tempBroker({ fileSystem })
  await broker.createTopic('t', topic)
  const rejects: ImportReject[] = []
  const records = async (): Promise<StoredRecord[]> => {
    const found: StoredRecord[] = []
    for (const partition of broker.topic('t').partitions) {
      for await (const record of partition.records({ until: 'end' })) found.push(record)
    }
    return found
  }
  return {
    broker,
    fileSystem,
    rejects,
    records,
    put: (path, content) => {
      fileSystem.writeFile(path, Buffer.from(content))
    },
    run: (path, options = {}) =>
      importFile(broker, path, {
        topic: 't',
        name: 'n',
        fileSystem,
        rejects: (each: ImportReject) => void rejects.push(each),
        ...options,
      }),
    values: async () => (await records()).map(({ value }) => value?.toString() ?? 'null'),
  }
}

/** Interrupts an import after a row. Each row is a batch. */
function until(row: number): Partial<ImportOptions<never>> {
  return {
    batchRecords: 1,
    onProgress: ({ rows }) => {
      if (rows === row) throw new Error('broken off')
    },
  }
}

describe('an import of NDJSON', () => {
  it('stores each line unchanged, with a header that contains the name and the row', async () => {
    const { put, run, records, broker } = await setUp()
    put('/f.ndjson', '\ufeff{"a": 1}\r\n\n[2]\n"drei"')
    expect(await run('/f.ndjson')).toEqual({
      rows: 3,
      imported: 3,
      skipped: 0,
      rejected: 0,
      bytes: 24,
      durationMs: expect.any(Number) as number,
    })
    expect(
      (await records()).map(({ key, value, headers }) => [key, value?.toString(), headers]),
    ).toEqual([
      [null, '{"a": 1}', [{ key: 'varve-import', value: Buffer.from('n:1') }]],
      [null, '[2]', [{ key: 'varve-import', value: Buffer.from('n:2') }]],
      [null, '"drei"', [{ key: 'varve-import', value: Buffer.from('n:3') }]],
    ])
    await broker.close()
  })

  it('is refused without a broker', async () => {
    const importing = importFile(null as never, '/f.ndjson', { topic: 't' })
    await expect(importing).rejects.toThrow('broker must be an object with')
  })

  it('rejects bad lines with their number and reason, and imports the others', async () => {
    const { put, run, values, rejects, broker } = await setUp()
    put('/f.jsonl', `{"id":1}\nnot json\n\n{"x":1}\n"${'y'.repeat(500)}"\n7\n{"id":null}\n`)
    const result = await run('/f.jsonl', { keyField: 'id', maxRowBytes: 100 })
    expect(result).toMatchObject({ rows: 6, imported: 2, skipped: 0, rejected: 4 })
    expect(await values()).toEqual(['{"id":1}', '{"id":null}'])
    expect(rejects.map(({ row, line, code }) => [row, line, code])).toEqual([
      [4, 5, 'TOO_LARGE'],
      [2, 2, 'MALFORMED'],
      [3, 4, 'REFUSED'],
      [5, 6, 'REFUSED'],
    ])
    expect(rejects[1]).toMatchObject({ text: 'not json' })
    expect(rejects[2]?.reason).toContain("no field 'id'")
    await broker.close()
  })

  it('rejects a row that is too long even if it begins with more blanks than an excerpt has', async () => {
    const { put, run, values, rejects } = await setUp()
    put('/f.ndjson', `1\n${' '.repeat(64)}{"id":1}\n2\n${'\t'.repeat(65)}`)
    const options = { maxRowBytes: 64 }
    expect(await run('/f.ndjson', options)).toMatchObject({ rows: 4, imported: 2, rejected: 2 })
    expect(await values()).toEqual(['1', '2'])
    const code = 'TOO_LARGE'
    expect(rejects).toMatchObject([
      { row: 2, line: 2, code },
      { row: 4, line: 4, code },
    ])
  })

  it('chooses the partition of a key like a producer, and keeps the order of the file', async () => {
    const { put, run, records, broker } = await setUp({ partitions: 3 })
    const rows = Array.from({ length: 60 }, (_, id) => ({ id, user: `u${id % 7}` }))
    put('/f.ndjson', rows.map((row) => JSON.stringify(row)).join('\n'))
    await run('/f.ndjson', { keyField: 'user', valueFields: ['id'], batchRecords: 7 })
    const producer = broker.producer()
    const placed = new Map<string, number>()
    const stored = await records()
    for (const { key, partition } of stored) placed.set(key?.toString() ?? '', partition)
    expect(placed.size).toBe(7)
    for (const [key, partition] of placed) {
      expect((await producer.send({ topic: 't', key, value: null })).partition).toBe(partition)
    }
    for (const user of placed.keys()) {
      const ids = stored
        .filter(({ key }) => key?.toString() === user)
        .map(({ value }) => (JSON.parse(value?.toString() ?? '') as { id: number }).id)
      expect(ids).toEqual(rows.filter((row) => row.user === user).map(({ id }) => id))
    }
    await broker.close()
  })

  it('keeps numbers of any size in keys and fields as written', async () => {
    const { put, run, records, broker } = await setUp()
    const rows = [
      '{"id":9007199254740993,"x":1e400,"y":[12345678901234567890],"z":1}',
      '{"id":9007199254740992,"x":5833968967.6920023}',
      '{"id": {"a": 1},"x":-0,"y":"-0"}',
    ]
    put('/f.ndjson', rows.join('\n'))
    await run('/f.ndjson', { keyField: 'id', valueFields: ['x', 'id', 'y'] })
    const stored = await records()
    expect(stored.map(({ key, value }) => [key?.toString(), value?.toString()])).toEqual([
      ['9007199254740993', '{"x":1e400,"id":9007199254740993,"y":[12345678901234567890]}'],
      ['9007199254740992', '{"x":5833968967.6920023,"id":9007199254740992}'],
      ['{"a":1}', '{"x":-0,"id":{"a":1},"y":"-0"}'],
    ])
    await broker.close()
  })

  it('appends to a different rejects file without changing what it contains', async () => {
    const { put, run, fileSystem, broker } = await setUp()
    put('/f.ndjson', 'x\n')
    await run('/f.ndjson', { rejects: '/a' })
    const others = '{"row":1,"reason":"of another import"}\n'.repeat(20)
    put('/b', others)
    put('/f.ndjson', 'x\ny\n')
    await run('/f.ndjson', { rejects: '/b' })
    const text = fileSystem.readFile('/b').toString()
    expect(text.startsWith(others)).toBe(true)
    expect(text.slice(others.length)).toContain('"row":2,')
    await broker.close()
  })

  it('builds records with toRecord, which may skip rows and reject them', async () => {
    const { put, run, records, rejects, broker } = await setUp({ partitions: 2 })
    put('/f.ndjson', '1\n2\n3\n4\n5\n6\n')
    const result = await run('/f.ndjson', {
      toRecord: (row: number, { row: number }) => {
        if (row === 1) return null
        if (row === 2) throw new Error('no twos')
        if (row === 3) return 'x' as never
        if (row === 4) return { partition: 2, value: 'x' }
        if (row === 5) return { partition: 1, value: `${number}`, headers: { a: 'b' } }
        return { partition: 1, key: 'k', value: null, timestamp: 5, headers: [['c', 'd']] }
      },
    })
    expect(result).toMatchObject({ rows: 6, imported: 2, skipped: 1, rejected: 3 })
    expect(rejects.map(({ row, reason }) => [row, reason])).toEqual([
      [2, 'no twos'],
      [3, 'toRecord must return a record or null, got "x"'],
      [4, 'partition must be a whole number in [0, 2), got 2'],
    ])
    expect(
      (await records()).map(({ partition, value, timestamp, headers }) => [
        partition,
        value?.toString(),
        timestamp === 5,
        headers.map(({ key }) => key),
      ]),
    ).toEqual([
      [1, '5', false, ['a', 'varve-import']],
      [1, undefined, true, ['c', 'varve-import']],
    ])
    await broker.close()
  })

  it('rejects only the records that the topic does not accept', async () => {
    const { put, run, values, rejects, broker } = await setUp({ maxMessageBytes: 300 })
    const lines = Array.from({ length: 20 }, (_, id) =>
      id % 6 === 3 ? `"${'x'.repeat(300)}"` : `${id}`,
    )
    put('/f.ndjson', lines.join('\n'))
    expect(await run('/f.ndjson')).toMatchObject({ imported: 17, rejected: 3 })
    expect(await values()).toEqual(lines.filter((line) => line.length < 300))
    expect(rejects.map(({ row, code }) => [row, code])).toEqual([
      [4, 'TOO_LARGE'],
      [10, 'TOO_LARGE'],
      [16, 'TOO_LARGE'],
    ])
    const wrong = { ky: 'k' } as never
    expect(await run('/f.ndjson', { name: 'm', toRecord: () => wrong })).toMatchObject({
      rejected: 20,
    })
    await broker.close()
  })

  it('reads compressed files, and fails with an ImportFileError if one is truncated', async () => {
    const { put, run, values, broker } = await setUp()
    const text = Array.from({ length: 500 }, (_, id) => `{"id":${id}}`).join('\n')
    const bytes = gzipSync(text)
    put('/f.ndjson.gz', bytes)
    put('/cut.ndjson.gz', bytes.subarray(0, bytes.length - 20))
    expect(await run('/f.ndjson.gz')).toMatchObject({ imported: 500, bytes: bytes.length })
    expect(await values()).toEqual(text.split('\n'))
    expect(await run('/f.ndjson.gz')).toMatchObject({ rows: 500, imported: 0, skipped: 500 })
    await expect(run('/cut.ndjson.gz', { name: 'm' })).rejects.toThrow(ImportFileError)
    await broker.close()
  })

  it('ignores zeros after compressed text as padding, unless something follows', async () => {
    const { put, run, values, broker } = await setUp()
    const padded = Buffer.concat([gzipSync('1\n2\n'), Buffer.alloc(16)])
    put('/f.ndjson.gz', padded)
    expect(await run('/f.ndjson.gz')).toMatchObject({ imported: 2 })
    expect(await values()).toEqual(['1', '2'])
    put('/g.ndjson.gz', Buffer.concat([padded, gzipSync('3\n4\n')]))
    await expect(run('/g.ndjson.gz', { name: 'g' })).rejects.toThrow(ImportFileError)
    await broker.close()
  })

  it('reports its progress, ends when it is aborted, and continues in the next run', async () => {
    const { put, run, values, broker } = await setUp()
    const lines = Array.from({ length: 50 }, (_, id) => `${id}`)
    put('/f.ndjson', lines.join('\n'))
    const abort = new AbortController()
    const progress: number[] = []
    const reason = new Error('enough')
    const running = run('/f.ndjson', {
      batchRecords: 10,
      signal: abort.signal,
      onProgress: ({ rows, bytesRead, totalBytes }) => {
        progress.push(rows)
        expect(bytesRead).toBeLessThanOrEqual(totalBytes)
        if (rows === 20) abort.abort(reason)
      },
    })
    await expect(running).rejects.toBe(reason)
    expect(progress).toEqual([10, 20])
    expect(await run('/f.ndjson')).toMatchObject({ rows: 50, imported: 30, skipped: 20 })
    expect(await values()).toEqual(lines)
    await broker.close()
  })

  it('stores each row once if it is interrupted again while it commits more often', async () => {
    const { put, run, values, broker } = await setUp()
    put('/f.ndjson', '1\n2\n3\n4\n5\n6\n')
    const first = run('/f.ndjson', { commitRecords: 100, ...until(5) })
    await expect(first).rejects.toThrow('broken off')
    const second = run('/f.ndjson', { commitRecords: 1, ...until(2) })
    await expect(second).rejects.toThrow('broken off')
    expect(await run('/f.ndjson')).toMatchObject({ rows: 6, imported: 1 })
    expect(await values()).toEqual(['1', '2', '3', '4', '5', '6'])
    await broker.close()
  })

  it('rejects each row once if it is interrupted again while it commits more often', async () => {
    const { put, run, fileSystem, broker } = await setUp()
    put('/f.ndjson', '1\n2\nx\n4\ny\nz\n')
    const rejects = '/rejects'
    const first = run('/f.ndjson', { rejects, commitRecords: 100, ...until(5) })
    await expect(first).rejects.toThrow('broken off')
    // The mark of this run is before rows that the first run rejected.
    const second = run('/f.ndjson', { rejects, commitRecords: 1, ...until(2) })
    await expect(second).rejects.toThrow('broken off')
    await run('/f.ndjson', { rejects })
    const lines = fileSystem.readFile(rejects).toString().split('\n').slice(0, -1)
    expect(lines.map((line) => (JSON.parse(line) as ImportReject).row)).toEqual([3, 5, 6])
    await broker.close()
  })
})

describe('an import of CSV', () => {
  it('reads quotes, line breaks in fields, a byte order mark and other delimiters', async () => {
    const { put, run, values, rejects, broker } = await setUp()
    put('/f.csv', '\ufeffid;note\r\n1;"a\r\nb;c"\r\n2;"say ""hi"""\r\n\r\n3;\r\n4;é')
    const result = await run('/f.csv', { delimiter: ';', keyField: 'id' })
    expect(result).toMatchObject({ rows: 4, imported: 4, rejected: 0 })
    expect(await values()).toEqual([
      '{"id":"1","note":"a\\r\\nb;c"}',
      '{"id":"2","note":"say \\"hi\\""}',
      '{"id":"3","note":""}',
      '{"id":"4","note":"é"}',
    ])
    expect(rejects).toEqual([])
    await broker.close()
  })

  it('reads fields separated by any control character but those of a line end', async () => {
    const { put, run, values, broker } = await setUp()
    const expected: string[] = []
    for (const code of [...Array(0x20).keys(), 0x7f]) {
      const at = String.fromCharCode(code)
      if (at === '\r' || at === '\n') continue
      put(`/${code}.csv`, ['a', 'b\r\n1', `"x${at}\n""y"\r\n`, '\n'].join(at))
      const result = await run(`/${code}.csv`, { name: `${code}`, delimiter: at })
      expect(result, `${code}`).toMatchObject({ rows: 2, imported: 2, rejected: 0 })
      expected.push(JSON.stringify({ a: '1', b: `x${at}\n"y` }), '{"a":"","b":""}')
    }
    expect(await values()).toEqual(expected)
    await broker.close()
  })

  it('reads a row of empty fields, or of white space, as a row', async () => {
    const { put, run, values, broker } = await setUp()
    put('/f.csv', 'a\tb\n1\t2\r\n\t\n\n \t \n3\t4\n\r')
    expect(await run('/f.csv', { delimiter: '\t' })).toMatchObject({ rows: 4, imported: 4 })
    expect(await values()).toEqual([
      '{"a":"1","b":"2"}',
      '{"a":"","b":""}',
      '{"a":" ","b":" "}',
      '{"a":"3","b":"4"}',
    ])
    await broker.close()
  })

  it('reads the same rows with and without a final line break', async () => {
    const { put, run, values, broker } = await setUp()
    put('/f.csv', 'a,b\n1,"x\n2,y\nz"')
    expect(await run('/f.csv')).toMatchObject({ rows: 1, imported: 1, rejected: 0 })
    put('/f.csv', 'a,b\n1,"x\n2,y\nz"\n')
    expect(await run('/f.csv')).toMatchObject({ rows: 1, skipped: 1, rejected: 0 })
    expect(await values()).toEqual(['{"a":"1","b":"x\\n2,y\\nz"}'])
    await broker.close()
  })

  it('reads a header of several lines after a byte order mark', async () => {
    const { put, run, values, broker } = await setUp()
    put('/f.csv', '\ufeff"order\nid",b\n1,2\n')
    await run('/f.csv')
    expect(await values()).toEqual(['{"order\nid":"1","b":"2"}'.replace('\n', '\\n')])
    await broker.close()
  })

  it('rejects each malformed row on its own', async () => {
    const { put, run, values, rejects, broker } = await setUp()
    put('/f.csv', 'a,b\n1,2\n3\n"x"y,4\n5,6,7\n8,9\n10,"open\n11,12\n')
    expect(await run('/f.csv')).toMatchObject({ rows: 7, imported: 3, rejected: 4 })
    expect(await values()).toEqual([
      '{"a":"1","b":"2"}',
      '{"a":"8","b":"9"}',
      '{"a":"11","b":"12"}',
    ])
    expect(rejects.map(({ row, line, code }) => [row, line, code]).sort()).toEqual([
      [2, 3, 'MALFORMED'],
      [3, 4, 'MALFORMED'],
      [4, 5, 'MALFORMED'],
      [6, 7, 'MALFORMED'],
    ])
    await broker.close()
  })

  it('rejects only the line of a quote that the next quote, far below, does not close', async () => {
    const { put, run, records, rejects, broker } = await setUp()
    const good = Array.from({ length: 10_000 }, (_, at) => `${at + 2},z\n`).join('')
    const text = `a,b\n1,"open\n${good}99999,"y"\n100000,z\n`
    put('/f.csv', text)
    const result = await run('/f.csv', { keyField: 'a' })
    expect(result).toMatchObject({ rows: 10_003, imported: 10_002, rejected: 1 })
    expect((await records()).at(-2)).toMatchObject({ key: Buffer.from('99999') })
    const reason =
      'the quoted field that begins on line 2 does not end at its next quote, ' +
      'so the lines after that one count as rows'
    expect(rejects).toEqual([
      { row: 1, line: 2, start: 4, end: 12, code: 'MALFORMED', reason, text: '1,"open' },
    ])
    await broker.close()
  })

  it('rejects a row with its bytes in the file, or in the decompressed text', async () => {
    const { put, run, rejects, broker } = await setUp()
    const text = '\ufeffa,b\r\n1\r\n\r\n2,"é\r\n"\r\n3,"é\r\n4,"5\r\nx"'
    put('/f.csv', text)
    put('/f.csv.gz', gzipSync(text))
    for (const path of ['/f.csv', '/f.csv.gz']) {
      expect(await run(path, { name: path })).toMatchObject({ imported: 2, rejected: 2 })
    }
    const parts = rejects.map(({ start, end }) =>
      Buffer.from(text)
        .subarray(start ?? -1, end ?? -1)
        .toString(),
    )
    expect(parts.slice(2)).toEqual(parts.slice(0, 2))
    expect(parts.slice(2).sort()).toEqual(['1\r\n', '3,"é\r\n'])
    await broker.close()
  })

  it('reports the line of the file in which a misplaced quote is', async () => {
    const { put, run, rejects, broker } = await setUp()
    put('/f.csv', 'a,b\n1,2\nx"y,at line 7\n"3\n4","5"6\n')
    expect(await run('/f.csv')).toMatchObject({ rows: 3, imported: 1, rejected: 2 })
    expect(rejects.map(({ line }) => line)).toEqual([3, 4])
    expect(rejects[0]?.reason).toMatch(/^Invalid Opening Quote: .* at line 3, value is/)
    expect(rejects[1]?.reason).toMatch(/^Invalid Closing Quote: .* at line 5 instead of/)
    put('/g.csv', '\n\na"b,c\n1,2\n')
    await expect(run('/g.csv', { name: 'g' })).rejects.toThrow(/malformed: .* at line 3,/)
    await broker.close()
  })

  it('uses an empty cell as the empty key, like an empty string in any format', async () => {
    const { put, run, records, broker } = await setUp()
    put('/f.csv', 'id,n\n,1\n7,2\n')
    put('/f.ndjson', '{"id":"","n":"1"}\n')
    expect(await run('/f.csv', { keyField: 'id' })).toMatchObject({ imported: 2, rejected: 0 })
    expect(await run('/f.ndjson', { keyField: 'id', name: 'm' })).toMatchObject({ imported: 1 })
    expect((await records()).map(({ key }) => key?.toString())).toEqual(['', '7', ''])
    await broker.close()
  })

  it('continues in a file that has grown, with the same header', async () => {
    const { put, run, values, broker } = await setUp()
    put('/f.csv', 'a,b\n1,2\n')
    expect(await run('/f.csv')).toMatchObject({ imported: 1 })
    put('/f.csv', 'a,b\n1,2\n"3\n","4"\n')
    expect(await run('/f.csv')).toMatchObject({ rows: 2, imported: 1, skipped: 1, bytes: 9 })
    expect(await values()).toEqual(['{"a":"1","b":"2"}', '{"a":"3\\n","b":"4"}'])
    await broker.close()
  })

  it.each([
    ['', 'no header'],
    ['\n\n', 'no header'],
    ['a,a\n1,2\n', "'a' twice"],
    ['a,"b\n1,2\n', 'header is malformed'],
    ['a,"b"c\n1,2\n', 'header is malformed'],
    [Buffer.from('a,\xe9\n1,2\n', 'latin1'), 'header is not UTF-8'],
    ['a,"b\r"\r1,2\r', 'header has a carriage return outside of quotes'],
  ])('is refused without a usable header: %j', async (content, reason) => {
    const { put, run, broker } = await setUp()
    put('/f.csv', content)
    const running = run('/f.csv')
    await expect(running).rejects.toThrow(reason)
    await expect(running).rejects.toThrow(ImportFileError)
    await broker.close()
  })

  it('is refused for a field that the header lacks', async () => {
    const { put, run, broker } = await setUp()
    put('/f.csv', 'a,b\n1,2\n')
    await expect(run('/f.csv', { keyField: 'c' })).rejects.toThrow("in the header (a, b), got 'c'")
    await broker.close()
  })
})

const MONEY = '1234567890123456.70::decimal(18,2)'

/** LZ4 as old writers of Parquet use it: blocks, each preceded by both of its lengths. */
function hadoopLz4(page: Uint8Array): Uint8Array {
  const bytes = Buffer.from(page)
  const pieces = [bytes.subarray(0, bytes.length >> 1), bytes.subarray(bytes.length >> 1)]
  const blocks = pieces.flatMap((piece) => {
    const block = Buffer.alloc(2 * piece.length + 64)
    const size = compressLz4Block(piece, 0, piece.length, block, 0, 8) ?? expect.fail()
    const lengths = Buffer.alloc(8)
    lengths.writeUInt32BE(piece.length, 0)
    lengths.writeUInt32BE(size, 4)
    return [lengths, block.subarray(0, size)]
  })
  return new Uint8Array(Buffer.concat(blocks))
}

describe('an import of a file in another encoding', () => {
  it.each([
    ['ndjson', '{"n":"M\xfcller"}\n{"n":"\xc3\xa9"}\n', '{"n":"é"}'],
    ['csv', 'n\nM\xfcller\n\xc3\xa9\n', '{"n":"é"}'],
  ])('rejects the rows that are not UTF-8: %s', async (extension, content, value) => {
    const { put, run, values, rejects, broker } = await setUp()
    put(`/f.${extension}`, Buffer.from(content, 'latin1'))
    expect(await run(`/f.${extension}`)).toMatchObject({ imported: 1, rejected: 1 })
    expect(await values()).toEqual([value])
    expect(rejects).toMatchObject([{ row: 1, code: 'MALFORMED', reason: 'it is not UTF-8' }])
    await broker.close()
  })
})

describe('an import of Parquet', () => {
  it('reads files of another writer with each codec', { timeout: 60_000 }, async (context) => {
    const duckdb = await import('@duckdb/node-api').catch(() => null)
    if (duckdb === null) context.skip('the binary of DuckDB cannot be loaded')
    if (duckdb === null) return
    const dir = mkdtempSync(join(tmpdir(), 'varve-codecs-'))
    onTestFinished(() => {
      rmSync(dir, { recursive: true, force: true })
    })
    const connection = await (await duckdb.DuckDBInstance.create(':memory:')).connect()
    const expected = Array.from({ length: 3000 }, (_, id) => ({ id, name: `user ${id % 7}` }))
    for (const codec of ['uncompressed', 'snappy', 'gzip', 'brotli', 'zstd', 'lz4_raw']) {
      const path = join(dir, `${codec}.parquet`)
      await connection.run(
        `copy (select range::int id, 'user ' || (range % 7) as name from range(3000)) ` +
          `to '${path}' (format parquet, codec '${codec}')`,
      )
      const { put, run, values } = await setUp()
      put('/f.parquet', readFileSync(path))
      expect(await run('/f.parquet'), codec).toMatchObject({ imported: 3000 })
      expect(
        (await values()).map((value) => JSON.parse(value) as unknown),
        codec,
      ).toEqual(expected)
    }
    connection.closeSync()
  })

  it('keeps all digits of times and decimals', { timeout: 60_000 }, async (context) => {
    const duckdb = await import('@duckdb/node-api').catch(() => null)
    if (duckdb === null) context.skip('the binary of DuckDB cannot be loaded')
    if (duckdb === null) return
    const dir = mkdtempSync(join(tmpdir(), 'varve-exact-'))
    onTestFinished(() => {
      rmSync(dir, { recursive: true, force: true })
    })
    const connection = await (await duckdb.DuckDBInstance.create(':memory:')).connect()
    const path = join(dir, 'f.parquet')
    const columns = [
      "timestamp '2024-01-02 03:04:05.123456' as us",
      "'2024-01-02 03:04:05.123456789'::timestamp_ns as ns",
      "timestamp '1969-12-31 23:59:59.999990' as old",
      "timestamp '2024-01-02 03:04:05.12' as ms",
      '-12345678901234567890123456789012.34::decimal(38,2) as wide',
      '1234567890123456.70::decimal(18,2) as money',
      '-0.05::decimal(18,2) as cent',
      '7::decimal(20,0) as whole',
      'null::decimal(30,5) as nothing',
      '1.5::decimal(4,1) as narrow',
      "{'a': 1.25::decimal(18,2)} as inner",
      `[${MONEY}, null, 1::decimal(18,2)] as list`,
      `[[${MONEY}], []] as lists`,
      `[{'a': 1, 'b': [${MONEY}]}] as structs`,
      `map {'k': ${MONEY}, 'l': null} as map`,
      `map {'k': [{'m': ${MONEY}}]} as maps`,
      'null::struct(a decimal(30,1)) as gone',
      `'{"a":[12345678901234567890,0.1,"1e99\\" 1e99"],"b":9007199254740993}'::json as j`,
    ]
    await connection.run(`copy (select ${columns.join(', ')}) to '${path}' (format parquet)`)
    const keyed = join(dir, 'g.parquet')
    await connection.run(`copy (select map {${MONEY}: 1} as m) to '${keyed}' (format parquet)`)
    connection.closeSync()
    const money = '1234567890123456.70'
    const { put, run, values } = await setUp()
    put('/f.parquet', readFileSync(path))
    await run('/f.parquet')
    expect((await values()).map((value) => JSON.parse(value) as unknown)).toEqual([
      {
        us: '2024-01-02T03:04:05.123456Z',
        ns: '2024-01-02T03:04:05.123456789Z',
        old: '1969-12-31T23:59:59.99999Z',
        ms: '2024-01-02T03:04:05.120Z',
        wide: '-12345678901234567890123456789012.34',
        money: '1234567890123456.70',
        cent: -0.05,
        whole: 7,
        nothing: null,
        narrow: 1.5,
        inner: { a: 1.25 },
        list: [money, null, 1],
        lists: [[money], []],
        structs: [{ a: 1, b: [money] }],
        map: { k: money, l: null },
        maps: { k: [{ m: money }] },
        gone: null,
        j: { a: ['12345678901234567890', 0.1, '1e99" 1e99'], b: '9007199254740993' },
      },
    ])
    put('/g.parquet', readFileSync(keyed))
    await expect(run('/g.parquet', { name: 'g' })).rejects.toThrow("the keys of its map 'm'")
  })

  it('is refused for a column named __proto__', async () => {
    const { put, run } = await setUp()
    const data = ['a']
    const columnData = [{ name: '__proto__', data, type: 'STRING' as const }]
    put('/f.parquet', new Uint8Array(parquetWriteBuffer({ columnData })))
    await expect(run('/f.parquet')).rejects.toThrow("has a column '__proto__'")
  })

  it('keeps all digits of a time that is used as the key', async () => {
    const { put, run, records } = await setUp()
    const schema = [
      { name: 'root', num_children: 1 },
      {
        name: 'at',
        type: 'INT64',
        converted_type: 'TIMESTAMP_MICROS',
        repetition_type: 'OPTIONAL',
      },
    ] as const
    const columnData = [{ name: 'at', data: [1_700_000_000_000_001n, 1_700_000_000_000_000n] }]
    put('/f.parquet', new Uint8Array(parquetWriteBuffer({ schema: [...schema], columnData })))
    await run('/f.parquet', { keyField: 'at' })
    const times = ['2023-11-14T22:13:20.000001Z', '2023-11-14T22:13:20.000Z']
    expect((await records()).map(({ key }) => String(key))).toEqual(times)
  })

  /** A file of columns with one value per row; a schema element may also be a group. */
  function parquetOf(
    schema: readonly SchemaElement[],
    columnData: readonly ColumnSource[],
  ): Uint8Array {
    const root = { name: 'root', num_children: columnData.length }
    return new Uint8Array(
      parquetWriteBuffer({ schema: [root, ...schema], columnData: [...columnData] }),
    )
  }

  const TEXT = { type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' } as const

  it.each([undefined, 'RLE_DICTIONARY' as const])(
    'rejects a row whose JSON is none, and imports the others: encoding %s',
    async (encoding) => {
      const { put, run, values, rejects } = await setUp()
      const of = { type: 'BYTE_ARRAY', repetition_type: 'OPTIONAL' } as const
      const texts = ['{"a":1}', 'N/A', '', '[2]', null]
      const data = texts.map((text) => (text === null ? null : new Uint8Array(Buffer.from(text))))
      const doc = { name: 'doc', data, ...(encoding && { encoding }) }
      const no = { name: 'no', data: [1, 2, 3, 4, 5] }
      const schema: SchemaElement[] = [
        { ...of, name: 'doc', logical_type: { type: 'JSON' } },
        { name: 'no', type: 'INT32', repetition_type: 'REQUIRED' },
      ]
      put('/f.parquet', parquetOf(schema, [doc, no]))
      expect(await run('/f.parquet')).toMatchObject({ rows: 5, imported: 3, rejected: 2 })
      expect(await values()).toEqual([
        '{"doc":{"a":1},"no":1}',
        '{"doc":[2],"no":4}',
        '{"doc":null,"no":5}',
      ])
      expect(rejects.map(({ row, code }) => [row, code])).toEqual([
        [2, 'MALFORMED'],
        [3, 'MALFORMED'],
      ])
      expect(rejects[0]?.reason).toMatch(/^its field 'doc' is not JSON: .*N/)
    },
  )

  it('rejects text that is not UTF-8 in any column, before toRecord, and keeps a leading U+FEFF', async () => {
    const { put, run, records, rejects } = await setUp()
    const latin = new Uint8Array(Buffer.from('caf\xe9', 'latin1'))
    const schema: SchemaElement[] = [
      { name: 'k', ...TEXT },
      { name: 'list', num_children: 1, converted_type: 'LIST', repetition_type: 'OPTIONAL' },
      { name: 'list', num_children: 1, repetition_type: 'REPEATED' },
      { name: 'element', ...TEXT },
      { name: 'map', num_children: 1, converted_type: 'MAP', repetition_type: 'OPTIONAL' },
      { name: 'key_value', num_children: 2, repetition_type: 'REPEATED' },
      { name: 'key', ...TEXT, repetition_type: 'REQUIRED' },
      { name: 'value', ...TEXT },
    ]
    const map = (key: unknown) => [{ key, value: 'v' }]
    const columnData = [
      { name: 'k', data: [latin, 'x', '\ufeffx', 'y', 'z'] },
      { name: 'list', data: [['a'], ['b', '\ufeffc'], null, ['d', latin], []] },
      { name: 'map', data: [map('k'), map('\ufeffk'), [], null, map(latin)] },
    ]
    put('/f.parquet', parquetOf(schema, columnData))
    const seen: number[] = []
    const toRecord = (value: { k: string }, { row }: { row: number }): ImportRecord => {
      seen.push(row)
      return { key: value.k, value: JSON.stringify(value) }
    }
    expect(await run('/f.parquet', { toRecord })).toMatchObject({ imported: 2, rejected: 3 })
    expect((await records()).map(({ key, value }) => [String(key), String(value)])).toEqual([
      ['x', '{"k":"x","list":["b","\ufeffc"],"map":{"\ufeffk":"v"}}'],
      ['\ufeffx', '{"k":"\ufeffx","list":null,"map":{}}'],
    ])
    expect(seen).toEqual([2, 3])
    expect(rejects.map(({ row, code, reason }) => [row, code, reason])).toEqual([
      [1, 'MALFORMED', "its field 'k' is not UTF-8"],
      [4, 'MALFORMED', "its field 'list' is not UTF-8"],
      [5, 'MALFORMED', "its field 'map' is not UTF-8"],
    ])
  })

  it('is refused if two columns, or two fields of a struct, have one name', async () => {
    const { put, run } = await setUp()
    const text = { name: 'x', ...TEXT }
    const columns = [
      { name: 'x', data: ['a'] },
      { name: 'x', data: ['b'] },
    ]
    put('/f.parquet', parquetOf([text, text], columns))
    await expect(run('/f.parquet')).rejects.toThrow("it has the column 'x' twice")
    const struct: SchemaElement = { name: 's', num_children: 2, repetition_type: 'OPTIONAL' }
    put('/g.parquet', parquetOf([struct, text, text], [{ name: 's', data: [{ x: 'a' }] }]))
    await expect(run('/g.parquet', { name: 'g' })).rejects.toThrow("it has the column 'x' twice")
  })

  function mapOf(key: SchemaElement | readonly SchemaElement[], ...rows: unknown[]): Uint8Array {
    const schema: SchemaElement[] = [
      { name: 'm', num_children: 1, converted_type: 'MAP', repetition_type: 'REQUIRED' },
      { name: 'key_value', num_children: 2, repetition_type: 'REPEATED' },
      ...[key].flat(),
      { name: 'value', ...TEXT },
    ]
    return parquetOf(schema, [{ name: 'm', data: rows }])
  }

  it.each([
    ['INT64', 'TIMESTAMP_MILLIS', [1_704_164_645_001n, '2024-01-02T03:04:05.001Z']],
    ['INT64', 'TIMESTAMP_MICROS', [1_704_164_645_001_002n, '2024-01-02T03:04:05.001002Z']],
    ['INT32', 'DATE', [19_724, '2024-01-02T00:00:00.000Z']],
  ] as const)(
    'writes map keys of the type %s %s in ISO 8601, in UTC and with all digits',
    async (type, converted_type, [at, text]) => {
      const { put, run, values } = await setUp()
      const key = { name: 'key', type, converted_type, repetition_type: 'REQUIRED' } as const
      put('/f.parquet', mapOf(key, [{ key: at, value: 'v' }]))
      await run('/f.parquet')
      expect(await values()).toEqual([JSON.stringify({ m: { [text]: 'v' } })])
    },
  )

  it.each([
    ['INT64', 'TIMESTAMP_MILLIS', [-(2n ** 63n), 2n ** 63n - 1n], ' ms'],
    ['INT64', 'TIMESTAMP_MICROS', [-(2n ** 63n), 2n ** 63n - 1n], ' µs'],
    ['INT32', 'DATE', [-(2 ** 31), 2 ** 31 - 1], ' days'],
  ] as const)(
    'keeps map keys of the type %s %s apart that are beyond the range of a Date',
    async (type, converted_type, [least, most], unit) => {
      const { put, run, values } = await setUp()
      const key = { name: 'key', type, converted_type, repetition_type: 'REQUIRED' } as const
      const entries = [least, most].map((each) => ({ key: each, value: 'v' }))
      put('/f.parquet', mapOf(key, entries))
      await run('/f.parquet')
      const keys = [least, most].map((each) => [`Invalid Date (${each}${unit})`, 'v'] as const)
      expect(await values()).toEqual([JSON.stringify({ m: Object.fromEntries(keys) })])
    },
  )

  it('rejects a row whose map has the key __proto__, which is valid as a value', async () => {
    const { put, run, values, rejects } = await setUp()
    const key = { name: 'key', ...TEXT, repetition_type: 'REQUIRED' } as const
    const [ok, lost] = [[{ key: 'k', value: '__proto__' }], [{ key: '__proto__', value: 'v' }]]
    put('/f.parquet', mapOf(key, ok, lost))
    expect(await run('/f.parquet')).toMatchObject({ imported: 1, rejected: 1 })
    expect(await values()).toEqual(['{"m":{"k":"__proto__"}}'])
    const reason = "its field 'm' has the key __proto__, which no object can have"
    expect(rejects).toMatchObject([{ row: 2, reason }])
  })

  it('is refused for a map whose keys are objects', async () => {
    const { put, run } = await setUp()
    const required = { repetition_type: 'REQUIRED' } as const
    const struct = [
      { name: 'key', num_children: 1, ...required },
      { name: 'a', ...TEXT },
    ]
    put('/f.parquet', mapOf(struct, [{ key: { a: 'b' }, value: 'v' }]))
    await expect(run('/f.parquet')).rejects.toThrow("the keys of its map 'm' are objects")
    const json = { name: 'key', ...TEXT, ...required, converted_type: 'JSON' } as const
    put('/g.parquet', mapOf(json, [{ key: { a: 'b' }, value: 'v' }]))
    await expect(run('/g.parquet', { name: 'g' })).rejects.toThrow("the keys of its map 'm' are")
  })

  it('reads enums as text, and columns that have a logical type only', async () => {
    const { put, run, values } = await setUp()
    const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))
    const of = { repetition_type: 'REQUIRED' } as const
    const schema = [
      { name: 'root', num_children: 5 },
      { ...of, name: 'status', type: 'BYTE_ARRAY', converted_type: 'ENUM' },
      { ...of, name: 'kind', type: 'BYTE_ARRAY', logical_type: { type: 'ENUM' } },
      { ...of, name: 'day', type: 'INT32', logical_type: { type: 'DATE' } },
      {
        ...of,
        name: 'price',
        type: 'INT64',
        logical_type: { type: 'DECIMAL', precision: 9, scale: 2 },
      },
      { ...of, name: 'more', type: 'BYTE_ARRAY', logical_type: { type: 'JSON' } },
    ] as const
    const columnData = [
      { name: 'status', data: [bytes('PAID')] },
      { name: 'kind', data: [bytes('WEB')] },
      { name: 'day', data: [19_724] },
      { name: 'price', data: [12_345n] },
      { name: 'more', data: [bytes('{"a":[1]}')] },
    ]
    put('/f.parquet', new Uint8Array(parquetWriteBuffer({ schema: [...schema], columnData })))
    await run('/f.parquet')
    const rest = '"day":"2024-01-02T00:00:00.000Z","price":123.45,"more":{"a":[1]}'
    expect(await values()).toEqual([`{"status":"PAID","kind":"WEB",${rest}}`])
  })

  it('reads the LZ4 format of old writers, and fails with an ImportFileError on damage', async () => {
    const { put, run, values } = await setUp()
    const data = Array.from({ length: 200 }, (_, id) => `user ${id % 9} of ${id}`)
    const bytes = new Uint8Array(
      parquetWriteBuffer({
        columnData: [{ name: 'a', data, type: 'STRING', codec: 'LZ4' }],
        compressors: { LZ4: hadoopLz4 },
      }),
    )
    put('/f.parquet', bytes)
    expect(await run('/f.parquet')).toMatchObject({ imported: 200 })
    expect((await values()).map((value) => (JSON.parse(value) as { a: string }).a)).toEqual(data)
    for (const at of [40, 60, 100]) {
      const damaged = Uint8Array.from(bytes)
      damaged.fill(0xff, at, at + 12)
      put(`/${at}.parquet`, damaged)
      await expect(run(`/${at}.parquet`, { name: `${at}` }), `${at}`).rejects.toThrow(
        ImportFileError,
      )
    }
  })

  function parquet(count: number): Uint8Array {
    const ids = Array.from({ length: count }, (_, id) => BigInt(id))
    const columnData = [
      { name: 'id', data: ids, type: 'INT64' as const },
      { name: 'name', data: ids.map((id) => `n${id}`), type: 'STRING' as const },
      { name: 'raw', data: ids.map(() => new Uint8Array([1, 255])), type: 'BYTE_ARRAY' as const },
    ]
    return new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize: 40 }))
  }

  it('stores the rows of all row groups as JSON', async () => {
    const { put, run, values, broker } = await setUp()
    put('/f.parquet', parquet(100))
    expect(await run('/f.parquet', { batchRecords: 30 })).toMatchObject({
      rows: 100,
      imported: 100,
    })
    const all = await values()
    expect(all).toHaveLength(100)
    expect(all[99]).toBe('{"id":99,"name":"n99","raw":"Af8="}')
    expect(await run('/f.parquet')).toMatchObject({ rows: 100, imported: 0, skipped: 100 })
    await broker.close()
  })

  it.each([
    ['first', 0],
    ['last', 1],
  ])('is refused at a row group whose %s page claims to have fewer values', async (_, page) => {
    const { put, run, values } = await setUp()
    const columnData: ColumnSource[] = [
      { name: 'a', data: ['1', '2', '3', '4', '5', '6', '7', '8'], type: 'STRING' },
      { name: 'x', data: [1, 2, 3, 4, 5, 6, 7, 8], type: 'INT32', encoding: 'PLAIN' },
    ]
    const options = { columnData, rowGroupSize: 4, pageSize: 12, codec: 'UNCOMPRESSED' } as const
    const buffer = parquetWriteBuffer(options)
    const column = parquetMetadata(buffer).row_groups[1]?.columns[1]?.meta_data
    const bytes = Buffer.from(buffer)
    const header =
      Number(column?.data_page_offset) + page * (Number(column?.total_compressed_size) / 2)
    // The numbers of values, nulls and rows: two of each but nulls, in zigzag encoding.
    expect(bytes.subarray(header + 7, header + 13).toString('hex')).toBe('150415001504')
    bytes[header + 8] = 2
    bytes[header + 12] = 2
    put('/f.parquet', bytes)
    await expect(run('/f.parquet')).rejects.toThrow(
      "its column 'x' ends after row 7, but its row group after row 8",
    )
    expect(await values()).toEqual([1, 2, 3, 4].map((x) => `{"a":"${x}","x":${x}}`))
  })

  it('passes each row to toRecord with objects of its own, even if they are equal', async () => {
    const { put, run, values, rejects } = await setUp()
    const of = { repetition_type: 'REQUIRED' } as const
    const json = new Uint8Array(Buffer.from('{"__proto__":[{"n":0}]}'))
    const deep = new Uint8Array(Buffer.from('['.repeat(100_000) + ']'.repeat(100_000)))
    const raw = new Uint8Array([1, 2])
    const schema: SchemaElement[] = [
      { ...of, name: 'doc', type: 'BYTE_ARRAY', logical_type: { type: 'JSON' } },
      { ...of, name: 'at', type: 'INT64', converted_type: 'TIMESTAMP_MICROS' },
      { ...of, name: 'raw', type: 'BYTE_ARRAY' },
    ]
    const columnData = [
      { name: 'doc', data: [json, json, deep, json] },
      { name: 'at', data: [1001n, 1001n, 1001n, 1001n] },
      { name: 'raw', data: [raw, raw, raw, raw] },
    ].map((column) => ({ ...column, encoding: 'RLE_DICTIONARY' as const }))
    put('/f.parquet', parquetOf(schema, columnData))
    interface Row {
      readonly doc: { readonly ['__proto__']: { n: number }[] }
      readonly at: Date
      readonly raw: Uint8Array
    }
    const toRecord = ({ doc, at, raw: bytes }: Row): ImportRecord => {
      const value = `${JSON.stringify(doc)} ${at.toISOString()} ${bytes.join(',')}`
      for (const each of doc.__proto__) each.n += 1
      at.setTime(0)
      bytes.fill(0)
      return { value }
    }
    expect(await run('/f.parquet', { toRecord })).toMatchObject({ imported: 3, rejected: 1 })
    const row = '{"__proto__":[{"n":0}]} 1970-01-01T00:00:00.001001Z 1,2'
    expect(await values()).toEqual([row, row, row])
    expect(rejects).toMatchObject([{ row: 3, reason: "its field 'doc' is nested too deeply" }])
  })

  it('writes a time with microseconds that toRecord has set to another as that one', async () => {
    const { put, run, records } = await setUp()
    const of = { name: 'at', type: 'INT64', repetition_type: 'REQUIRED' } as const
    const schema: SchemaElement[] = [{ ...of, converted_type: 'TIMESTAMP_MICROS' }]
    const midnightMicros = 1_714_521_600_000_000n
    const data = [1_714_571_110_123_456n, 1_714_571_110_123_000n, midnightMicros + 456n]
    put('/f.parquet', parquetOf(schema, [{ name: 'at', data }]))
    const toRecord = (row: { readonly at: Date }): ImportRecord => {
      row.at.setUTCHours(0, 0, 0, 0)
      return { key: String(row.at), value: JSON.stringify(row) }
    }
    await run('/f.parquet', { toRecord })
    const midnight = ['2024-05-01T00:00:00.000Z', '{"at":"2024-05-01T00:00:00.000Z"}']
    const found = (await records()).map(({ key, value }) => [String(key), String(value)])
    expect(found).toEqual([midnight, midnight, midnight])
  })

  it('continues in the middle of a row group', async () => {
    const { put, run, values, broker } = await setUp()
    put('/f.parquet', parquet(100))
    const abort = new AbortController()
    const running = run('/f.parquet', {
      batchRecords: 15,
      commitRecords: 15,
      signal: abort.signal,
      onProgress: ({ rows }) => {
        if (rows >= 55) abort.abort()
      },
    })
    await expect(running).rejects.toThrow()
    await run('/f.parquet', { valueFields: ['id'] })
    expect(
      new Set((await values()).map((value) => (JSON.parse(value) as { id: number }).id)).size,
    ).toBe(100)
    expect(await values()).toHaveLength(100)
    await broker.close()
  })

  it('is refused for a file that is not Parquet, a damaged one, or a row group above the limit', async () => {
    const { put, run, broker } = await setUp()
    put('/f.parquet', 'PAR1 not at all PAR1')
    await expect(run('/f.parquet')).rejects.toThrow('it cannot be read as Parquet: ')
    const bytes = parquet(100)
    put('/g.parquet', bytes)
    await expect(run('/g.parquet', { name: 'g', maxRowGroupBytes: 100 })).rejects.toThrow(
      'maxRowGroupBytes is 100',
    )
    bytes.fill(0xff, 4, 400)
    put('/h.parquet', bytes)
    await expect(run('/h.parquet', { name: 'h' })).rejects.toThrow(ImportFileError)
    await broker.close()
  })
})

describe('the file of an import', () => {
  it('may grow, and only the new part is read', async () => {
    const { put, run, values, broker } = await setUp()
    put('/f.ndjson', '1\n2\n')
    await run('/f.ndjson')
    put('/f.ndjson', '1\n2\n3\n')
    expect(await run('/f.ndjson')).toMatchObject({ rows: 3, imported: 1, skipped: 2, bytes: 2 })
    expect(await run('/f.ndjson')).toMatchObject({ rows: 3, imported: 0, skipped: 3, bytes: 0 })
    expect(await values()).toEqual(['1', '2', '3'])
    await broker.close()
  })

  it.each(['ndjson', 'ndjson.gz', 'parquet'])(
    'is not blamed for an error of its disk, which rejects the import unchanged: .%s',
    async (extension) => {
      const { put, run, values, fileSystem } = await setUp()
      const path = `/f.${extension}`
      const row = { ndjson: '{"a":"x"}\n', 'ndjson.gz': gzipSync('{"a":"x"}\n') }[extension]
      const columnData = [{ name: 'a', data: ['x'], type: 'STRING' as const }]
      put(path, row ?? new Uint8Array(parquetWriteBuffer({ columnData })))
      let failed = 0
      for (;;) {
        fileSystem.failAt(failed + 1, 'EIO', { path })
        const error: unknown = await run(path, { name: `${failed}` }).then(
          () => null,
          (reason: unknown) => reason,
        )
        fileSystem.clearFaults()
        if (error === null) break
        expect(error).toMatchObject({ code: 'EIO' })
        failed += 1
      }
      // The opening, a look at its size, two reads for its identity, and what reads its rows.
      expect(failed).toBeGreaterThan(4)
      // A failure after the row is stored repeats it, as each attempt has a name of its own.
      expect(new Set(await values())).toEqual(new Set(['{"a":"x"}']))
    },
  )

  it('is refused if it was replaced or truncated', async () => {
    const { put, run, values, broker } = await setUp()
    put('/f.ndjson', '1\n2\n')
    await run('/f.ndjson')
    for (const other of ['1\n', '1\n3\n', '0\n2\n3\n', '']) {
      put('/f.ndjson', other)
      await expect(run('/f.ndjson'), JSON.stringify(other)).rejects.toThrow(ImportFileChangedError)
    }
    put('/f.ndjson', '1\n3\n')
    expect(await run('/f.ndjson', { name: 'other' })).toMatchObject({ imported: 2 })
    expect(await values()).toEqual(['1', '2', '1', '3'])
    const parquet = new Uint8Array(
      parquetWriteBuffer({ columnData: [{ name: 'a', data: ['x'], type: 'STRING' }] }),
    )
    put('/f.parquet', parquet)
    await run('/f.parquet', { name: 'p' })
    put('/f.parquet', Buffer.concat([parquet, parquet]))
    await expect(run('/f.parquet', { name: 'p' })).rejects.toThrow(ImportFileChangedError)
    await broker.close()
  })

  it.each([1000, 2000])(
    'is refused if only its later rows have changed, with %i rows',
    async (count) => {
      const { put, run, broker } = await setUp()
      const rows = (total: number, later: string): string =>
        Array.from(
          { length: total },
          (_, id) => `{"id":${id},"by":"${id < 500 ? 'a' : later}"}\n`,
        ).join('')
      put('/f.ndjson', rows(1000, 'b'))
      await run('/f.ndjson')
      put('/f.ndjson', rows(count, 'c'))
      await expect(run('/f.ndjson')).rejects.toThrow(ImportFileChangedError)
      await broker.close()
    },
  )

  it('may end without a line break, but then its last row must not grow later', async () => {
    const { put, run, values, broker } = await setUp()
    put('/f.ndjson', '1\n2')
    expect(await run('/f.ndjson')).toMatchObject({ imported: 2 })
    put('/f.ndjson', '1\n2\n3')
    expect(await run('/f.ndjson')).toMatchObject({ rows: 3, imported: 1 })
    put('/f.ndjson', '1\n2\n34\n')
    await expect(run('/f.ndjson')).rejects.toThrow('growing: true')
    expect(await values()).toEqual(['1', '2', '3'])
    put('/f.ndjson.gz', gzipSync('4\n5'))
    await run('/f.ndjson.gz', { name: 'gz' })
    put('/f.ndjson.gz', Buffer.concat([gzipSync('4\n5'), gzipSync('6\n')]))
    const running = run('/f.ndjson.gz', { name: 'gz' })
    await expect(running).rejects.toThrow(ImportFileChangedError)
    await broker.close()
  })

  it.each([
    ['ndjson', '1\n \t', '2\n3\n', ['1', '2', '3']],
    ['csv', 'a\n1\n\r', '\n2\n', ['{"a":"1"}', '{"a":"2"}']],
    ['csv', 'a\n1\n\r', '2\n', ['{"a":"1"}', '{"a":"2"}']],
  ])('may grow if it ended with white space in place of a row: %s', async (format, a, b, all) => {
    const { put, run, values, rejects } = await setUp()
    put(`/f.${format}`, a)
    expect(await run(`/f.${format}`)).toMatchObject({ rows: 1, imported: 1 })
    put(`/f.${format}`, a + b)
    expect(await run(`/f.${format}`)).toMatchObject({ rows: all.length, skipped: 1 })
    expect(await values()).toEqual(all)
    expect(rejects).toEqual([])
  })

  it.each([
    ['ndjson', '{"a":"1"}\r'],
    ['csv', 'a\r\n1\r'],
    ['csv', 'a\r\n"1"\r'],
  ])('may grow if it ended within a line end, which is no part of a row: %s', async (format, a) => {
    const { put, run, values, rejects } = await setUp()
    const path = `/f.${format}`
    put(path, a)
    expect(await run(path)).toMatchObject({ rows: 1, imported: 1 })
    put(path, `${a}\n${format === 'csv' ? '2' : '{"a":"2"}'}\r\n`)
    expect(await run(path)).toMatchObject({ rows: 2, skipped: 1, imported: 1 })
    expect(await values()).toEqual(['{"a":"1"}', '{"a":"2"}'])
    expect(rejects).toEqual([])
  })

  it.each([
    ['after a carriage return at its end', 'a\n1\r'],
    ['that begins with a carriage return', 'a\n1'],
  ])('must not go on with text %s', async (_which, content) => {
    const { put, run, values, broker } = await setUp()
    put('/f.csv', content)
    expect(await run('/f.csv')).toMatchObject({ rows: 1, imported: 1 })
    put('/f.csv', 'a\n1\r2\n')
    await expect(run('/f.csv')).rejects.toThrow('had no line end and has grown')
    expect(await values()).toEqual(['{"a":"1"}'])
    await broker.close()
  })

  it.each([false, true])(
    'must not grow in its last row after a run that has stored it was interrupted, growing: %s',
    async (growing) => {
      const { put, run, values, broker } = await setUp()
      put('/f.ndjson', '1\n2')
      await expect(run('/f.ndjson', until(2))).rejects.toThrow('broken off')
      if (growing) expect(await run('/f.ndjson', { growing })).toMatchObject({ rows: 2 })
      put('/f.ndjson', '1\n23\n4\n')
      const running = run('/f.ndjson', { growing })
      await expect(running).rejects.toThrow(ImportFileChangedError)
      await expect(running).rejects.toThrow('had no line end and has grown')
      expect(await values()).toEqual(['1', '2'])
      await broker.close()
    },
  )

  it('must not grow in its last row after a run that has rejected it was interrupted', async () => {
    const { put, run, values, fileSystem, broker } = await setUp()
    put('/f.ndjson', '1\n{"a":')
    const options = { rejects: '/rejects' }
    await expect(run('/f.ndjson', { ...options, ...until(2) })).rejects.toThrow('broken off')
    const rejected = fileSystem.readFile('/rejects').toString()
    expect(rejected).toContain('"row":2')
    put('/f.ndjson', '1\n{"a":1}\n')
    await expect(run('/f.ndjson', options)).rejects.toThrow('had no line end and has grown')
    expect(await values()).toEqual(['1'])
    expect(fileSystem.readFile('/rejects').toString()).toBe(rejected)
    await broker.close()
  })

  it('may grow in its last row after a run was interrupted before it', async () => {
    const { put, run, values, broker } = await setUp()
    put('/f.ndjson', '1\n2\n3')
    await expect(run('/f.ndjson', until(2))).rejects.toThrow('broken off')
    put('/f.ndjson', '1\n2\n34\n5\n')
    expect(await run('/f.ndjson')).toMatchObject({ rows: 4, imported: 2, skipped: 2 })
    expect(await values()).toEqual(['1', '2', '34', '5'])
    await broker.close()
  })

  it.each([false, true])(
    'keeps the rows in a quote that is closed after a run was interrupted, growing: %s',
    async (growing) => {
      const { put, run, values, rejects, broker } = await setUp()
      const begun = 'a,b\n1,"x\n2,y\n3,z\n'
      put('/f.csv', begun)
      await expect(run('/f.csv', until(3))).rejects.toThrow('broken off')
      put('/f.csv', `${begun}"\n4,d\n5,e\n`)
      expect(await run('/f.csv', { growing })).toMatchObject({ rows: 6 - Number(growing) * 3 })
      put('/f.csv', `${begun}"\n4,d\n5,e\n6,"f"\n`)
      expect(await run('/f.csv', { growing })).toMatchObject({ rows: 7 })
      const rows = [2, 3, 4, 5, 6].map((a) => `{"a":"${a}","b":"${'xyzdef'[a - 1]}"}`)
      expect(await values()).toEqual(rows)
      expect(new Set(rejects.map(({ row }) => row))).toEqual(new Set([1, 4]))
      await broker.close()
    },
  )

  it('is refused if it is shorter than an interrupted run has read after it had grown', async () => {
    const { put, run, values, broker } = await setUp()
    put('/f.ndjson', '1\n2\n')
    await expect(run('/f.ndjson', until(1))).rejects.toThrow('broken off')
    put('/f.ndjson', '1\n2\n3\n4\n')
    await expect(run('/f.ndjson', until(4))).rejects.toThrow('broken off')
    put('/f.ndjson', '1\n2\n5\n')
    await expect(run('/f.ndjson')).rejects.toThrow(ImportFileChangedError)
    expect(await values()).toEqual(['1', '2', '3', '4'])
    await broker.close()
  })

  it('is read up to its last line break while it is growing', async () => {
    const { put, run, values, rejects, broker } = await setUp()
    put('/f.ndjson', '1\n2')
    expect(await run('/f.ndjson', { growing: true })).toMatchObject({ rows: 1, imported: 1 })
    put('/f.ndjson', '1\n23\n')
    expect(await run('/f.ndjson', { growing: true })).toMatchObject({ rows: 2, imported: 1 })
    put('/g.csv', 'a\n1\n"2')
    expect(await run('/g.csv', { name: 'g', growing: true })).toMatchObject({ rows: 1 })
    put('/g.csv', 'a\n1\n"2\n3"\n')
    expect(await run('/g.csv', { name: 'g', growing: true })).toMatchObject({ rows: 2 })
    expect(await values()).toEqual(['1', '23', '{"a":"1"}', '{"a":"2\\n3"}'])
    expect(rejects).toEqual([])
    await broker.close()
  })

  it('is reported as truncated if it becomes shorter while it is read', async () => {
    const { put, run, fileSystem, broker } = await setUp()
    put('/f.ndjson', '1\n2\n')
    const cutting = run('/f.ndjson', {
      toRecord: () => ({ value: '' }),
      fileSystem: Object.assign(Object.create(fileSystem) as SimulatedFileSystem, {
        open: async () => {
          const file = await fileSystem.open('/f.ndjson', 'read')
          const stat = await file.stat()
          return Object.assign(Object.create(file) as typeof file, {
            stat: () => Promise.resolve({ ...stat, sizeBytes: 100 }),
            read: (buffer: Uint8Array, position: number) => file.read(buffer, position),
            close: () => file.close(),
          })
        },
        syncDirectory: (path: string) => fileSystem.syncDirectory(path),
        stat: (path: string) => fileSystem.stat(path),
      }),
    })
    await expect(cutting).rejects.toThrow('was truncated at byte')
    await broker.close()
  })
})

describe('partitions that are added between two runs', () => {
  it('receive rows of the next run, none of them twice', async () => {
    const { put, run, values, broker } = await setUp({ partitions: 2 })
    const lines = Array.from({ length: 40 }, (_, id) => `{"id":${id},"k":"${id % 9}"}`)
    put('/f.ndjson', lines.join('\n'))
    const abort = new AbortController()
    const running = run('/f.ndjson', {
      keyField: 'k',
      batchRecords: 10,
      signal: abort.signal,
      onProgress: ({ rows }) => {
        if (rows === 20) abort.abort()
      },
    })
    await expect(running).rejects.toThrow()
    await broker.topic('t').addPartitions(5)
    const result = await run('/f.ndjson', { keyField: 'k', batchRecords: 10 })
    expect(result).toMatchObject({ imported: 20, skipped: 20 })
    expect((await values()).sort()).toEqual([...lines].sort())
    expect(broker.topic('t').partition(4).logEndOffset).toBeGreaterThan(0)
    await broker.close()
  })

  it.each([1, 2, 5])(
    'receive no row twice if a run over them is interrupted at batch %i',
    async (stop) => {
      const { put, run, values, broker } = await setUp({ partitions: 2 })
      const lines = Array.from({ length: 300 }, (_, id) => `{"id":${id}}\n`)
      put('/f.ndjson', lines.slice(0, 100).join(''))
      await run('/f.ndjson', { keyField: 'id' })
      await broker.topic('t').addPartitions(5)
      put('/f.ndjson', lines.join(''))
      let batches = 0
      const onProgress = (): void => {
        batches += 1
        if (batches === stop) throw new Error('broken off')
      }
      const broken = run('/f.ndjson', { keyField: 'id', batchRecords: 20, onProgress })
      await expect(broken).rejects.toThrow('broken off')
      await run('/f.ndjson', { keyField: 'id', batchRecords: 20 })
      const stored = (await values()).map((value) => `${value}\n`)
      expect(stored.sort()).toEqual([...lines].sort())
      await broker.close()
    },
  )
})

describe('the validation of an import', () => {
  it.each([
    [{ topic: '' }, 'topic must be a non-empty string'],
    [{ name: 'x'.repeat(201) }, 'at most 200 characters, got 201'],
    [{ format: 'xml' as never }, 'format must be one of'],
    [{ gzip: 'yes' as never }, 'gzip must be true or false'],
    [{ delimiter: ';;' }, 'delimiter must be one ASCII character'],
    [{ delimiter: '"' }, 'delimiter must be one ASCII character'],
    [{ delimiter: '\r' }, 'delimiter must be one ASCII character other than a quote or line end'],
    [{ delimiter: '\n' }, 'delimiter must be one ASCII character other than a quote or line end'],
    [{ delimiter: '' }, 'delimiter must be one ASCII character'],
    [{ delimiter: '\x80' }, 'delimiter must be one ASCII character'],
    [{ batchRecords: 0 }, 'batchRecords must be a whole number from 1 to 100000, got 0'],
    [{ commitRecords: 0 }, 'commitRecords must be a whole number from 1'],
    [{ maxRowBytes: 2 ** 30 }, 'maxRowBytes must be a whole number from 1 to 536870912'],
    [{ keyField: '' }, 'keyField must be a non-empty string'],
    [{ valueFields: 'a' as never }, 'valueFields must be an array'],
    [{ valueFields: [1] as never }, 'valueFields[0] must be a non-empty string'],
    [{ keyField: 'a', toRecord: () => null }, 'must be omitted if toRecord is given'],
    [{ valueFields: ['a', 'v', 'v'] }, 'valueFields must not repeat a field, got "v" twice'],
    [{ rejects: 5 as never }, 'rejects must be a function or a path, got 5'],
    [{ rejects: '' }, 'rejects must be a path'],
    [{ rejects: '/x/../f.ndjson' }, 'rejects must not be the imported file'],
    [{ growing: true, gzip: true }, 'growing must be false for a compressed file'],
    [
      { growing: true, format: 'parquet' as const },
      'growing must be false for a compressed file and for',
    ],
    [{ onProgess: 1 } as never, "did you mean 'onProgress'?"],
  ])(
    'rejects a wrong option before any operation, and names what is allowed: %o',
    async (options, message) => {
      const { put, run, fileSystem, broker } = await setUp()
      put('/f.ndjson', '1\n')
      const before = fileSystem.operationCount
      await expect(run('/f.ndjson', options)).rejects.toThrow(message)
      expect(fileSystem.operationCount).toBe(before)
      await broker.close()
    },
  )

  it('rejects missing files and topics, unknown formats, and a second run at the same time', async () => {
    const { put, run, broker } = await setUp()
    put('/f.ndjson', '1\n')
    for (const path of ['/f.txt', '/f.constructor', '/f.__proto__']) {
      await expect(run(path)).rejects.toThrow(`format must be given for "${path}"`)
    }
    await expect(run('/f.parquet.gz')).rejects.toThrow('gzip must be false')
    await expect(run('')).rejects.toThrow('path must be a path')
    const url = new URL('file:///f.ndjson')
    await expect(run(url as never)).rejects.toThrow('path must be a string, got an instance of URL')
    await expect(run('/none.ndjson')).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(run('/f.ndjson', { topic: 'none' })).rejects.toThrow(UnknownTopicOrPartitionError)
    const first = run('/f.ndjson')
    await expect(run('/f.ndjson')).rejects.toThrow(IllegalStateError)
    expect(await first).toMatchObject({ imported: 1 })
    await broker.close()
  })

  it('does not use offsets that others have committed for its group as its position', async () => {
    const { put, run, values, broker } = await setUp()
    put('/f.ndjson', '1\n')
    const consumer = broker.consumer({ groupId: 'varve-import:n' })
    for (const metadata of ['', 'x', '1', '{"v":2}', '{"v":1}']) {
      await consumer.commit([{ topic: 't', partition: 0, offset: 0, metadata }])
      expect(await run('/f.ndjson')).toMatchObject({ imported: 1, skipped: 0 })
    }
    expect(await values()).toEqual(['1', '1', '1', '1', '1'])
    expect(await run('/f.ndjson')).toMatchObject({ imported: 0, skipped: 1 })
    await broker.close()
  })
})

describe('an import into a topic that retains unconsumed records', () => {
  it('does not count its own commits as consumption', async () => {
    const { put, run, values, broker } = await setUp({ retention: 'consumed' })
    await broker.topic('t').partition(0).append({ value: 'waits' })
    put('/f.ndjson', '1\n2\n')
    await run('/f.ndjson')
    await broker.enforceRetention()
    expect(await values()).toEqual(['waits', '1', '2'])
    await broker.close()
  })

  it('retains the records that it may have to search until it has ended', async () => {
    const { put, run, values, broker } = await setUp({ retention: 'consumed' })
    put('/f.ndjson', '1\n2\n3\n4\n')
    const onProgress = ({ rows }: { rows: number }): void => {
      if (rows === 2) throw new Error('broken off')
    }
    const first = run('/f.ndjson', { batchRecords: 1, commitRecords: 100, onProgress })
    await expect(first).rejects.toThrow('broken off')
    const worker = broker.consumer({ groupId: 'workers', enableAutoCommit: false })
    await worker.commit([{ topic: 't', partition: 0, offset: 2 }])
    await broker.enforceRetention()
    expect(await run('/f.ndjson')).toMatchObject({ imported: 2, skipped: 2 })
    expect(await values()).toEqual(['1', '2', '3', '4'])
    await broker.enforceRetention()
    expect(await values()).toEqual(['3', '4'])
    await broker.close()
  })

  it('retains the records that it may have to search after its file has grown', async () => {
    const { put, run, values, broker } = await setUp({ retention: 'consumed' })
    put('/f.ndjson', '1\n2\n')
    await run('/f.ndjson')
    put('/f.ndjson', '1\n2\n3\n4\n5\n6\n')
    const onProgress = ({ rows }: { rows: number }): void => {
      if (rows === 4) throw new Error('broken off')
    }
    const second = run('/f.ndjson', { batchRecords: 1, commitRecords: 100, onProgress })
    await expect(second).rejects.toThrow('broken off')
    const worker = broker.consumer({ groupId: 'workers', enableAutoCommit: false })
    await worker.commit([{ topic: 't', partition: 0, offset: 4 }])
    await broker.enforceRetention()
    expect(await values()).toEqual(['3', '4'])
    expect(await run('/f.ndjson')).toMatchObject({ rows: 6, imported: 2, skipped: 4 })
    expect(await values()).toEqual(['3', '4', '5', '6'])
    await broker.close()
  })

  it('retains nothing that the workers have consumed after it has ended', async () => {
    const { put, run, broker } = await setUp({ retention: 'consumed' })
    put('/f.ndjson', '1\n2\n')
    await run('/f.ndjson')
    const partition = broker.topic('t').partition(0)
    await partition.append([{ value: '3' }, { value: '4' }])
    const worker = broker.consumer({ groupId: 'workers', enableAutoCommit: false })
    worker.assign([{ topic: 't', partition: 0 }])
    await worker.commit([{ topic: 't', partition: 0, offset: 4 }])
    await broker.enforceRetention()
    expect(partition.logStartOffset).toBe(4)
    await broker.close()
  })
})

describe('what an import cannot store', () => {
  it('is reported only by the promise if it is found while other rows are written', async () => {
    const { put, run, broker } = await setUp()
    const bytes = gzipSync(`${'x'.repeat(100_000)}\n`.repeat(20))
    put('/cut.ndjson.gz', bytes.subarray(0, bytes.length - 20))
    const unhandled: unknown[] = []
    const note = (error: unknown): void => void unhandled.push(error)
    process.on('unhandledRejection', note)
    onTestFinished(() => void process.off('unhandledRejection', note))
    const turns = async (): Promise<void> => {
      for (let turn = 0; turn < 20; turn += 1) {
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    const run20 = run('/cut.ndjson.gz', { batchRecords: 1, rejects: turns })
    await expect(run20).rejects.toThrow(ImportFileError)
    expect(unhandled).toEqual([])
    await broker.close()
  })

  it('includes a promise that toRecord returns', async () => {
    const { put, run, values, rejects, broker } = await setUp()
    put('/f.ndjson', '1\n')
    const toRecord = (() => Promise.resolve({ value: 'x' })) as never
    expect(await run('/f.ndjson', { toRecord })).toMatchObject({ imported: 0, rejected: 1 })
    expect(await values()).toEqual([])
    expect(rejects[0]).toMatchObject({ code: 'REFUSED' })
    expect(rejects[0]?.reason).toContain('toRecord must return a record or null')
    await broker.close()
  })

  it('is reported with its text in the file, whatever toRecord has done to the row', async () => {
    const { put, run, rejects, broker } = await setUp()
    put('/f.csv', 'id,text\r\n1,"a, b"\r\n2,c\r\n3,d\r\n')
    const changes: ((row: Record<string, unknown>) => void)[] = [
      (row) => {
        row.self = row
      },
      (row) => {
        row.toJSON = () => {
          throw new Error('no JSON of it')
        }
      },
      (row) => {
        row.toJSON = () => undefined
      },
    ]
    const toRecord = (value: never, { row }: { row: number }): never => {
      changes[row - 1]?.(value)
      throw new Error(`no record of ${row}`)
    }
    await expect(run('/f.csv', { toRecord })).resolves.toMatchObject({ imported: 0, rejected: 3 })
    expect(rejects.map(({ row, reason, text }) => [row, reason, text])).toEqual([
      [1, 'no record of 1', '1,"a, b"'],
      [2, 'no record of 2', '2,c'],
      [3, 'no record of 3', '3,d'],
    ])
    await broker.close()
  })

  it('includes a field that is nested too deeply for JSON, with that as the reason', async () => {
    const { put, run, values, rejects, broker } = await setUp()
    put('/f.ndjson', `{"id":${'['.repeat(100_000)}${']'.repeat(100_000)}}\n{"id":[1]}\n`)
    expect(await run('/f.ndjson', { keyField: 'id' })).toMatchObject({ imported: 1, rejected: 1 })
    expect(await values()).toEqual(['{"id":[1]}'])
    const reason = 'it is nested too deeply to be written as JSON'
    expect(rejects).toMatchObject([{ row: 1, code: 'REFUSED', reason }])
    await broker.close()
  })

  it('includes text with a lone surrogate, which UTF-8 would change', async () => {
    const { put, run, records, rejects, broker } = await setUp()
    put('/f.ndjson', '{"k":"\\ud800"}\n{"k":"\\ud83d\\ude00"}\n')
    const result = await run('/f.ndjson', { keyField: 'k', name: 'by field' })
    expect(result).toMatchObject({ imported: 1, rejected: 1 })
    expect((await records()).map(({ key }) => key?.toString())).toEqual(['\u{1f600}'])
    expect(rejects).toMatchObject([
      { row: 1, code: 'REFUSED', reason: 'key must not have a lone surrogate, got "\\ud800"' },
    ])
    const made: ImportRecord[] = [
      { value: 'a\ud800' },
      { headers: { h: '\ud800' } },
      { headers: [['\ud800', 'h']] },
      { headers: [{ key: 'h', value: '\udc00b' }] },
      { value: 'a', headers: { h: 'b' } },
    ]
    put('/g.ndjson', '0\n1\n2\n3\n4\n')
    const toRecord = (row: number): ImportRecord => made[row] ?? {}
    expect(await run('/g.ndjson', { toRecord: toRecord })).toMatchObject({ imported: 1 })
    expect(rejects.slice(1).map(({ reason }) => reason.split(' must')[0])).toEqual([
      'value',
      'value of header "h"',
      "a header's key",
      'value of header "h"',
    ])
    await broker.close()
  })

  it('includes numbers that JSON cannot represent', async () => {
    const { put, run, values, rejects, broker } = await setUp()
    const data = [1, NaN, -Infinity]
    const buffer = parquetWriteBuffer({ columnData: [{ name: 'x', data, type: 'DOUBLE' }] })
    put('/f.parquet', new Uint8Array(buffer))
    await run('/f.parquet')
    expect(await values()).toEqual(['{"x":1}'])
    expect(rejects.map(({ row, reason }) => [row, reason])).toEqual([
      [2, "its field 'x' cannot be written as JSON: NaN"],
      [3, "its field 'x' cannot be written as JSON: -Infinity"],
    ])
    await broker.close()
  })
})
