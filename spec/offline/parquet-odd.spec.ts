import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { parquetSink } from '../../lib/offline/index.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { put, record, task } from './loads.ts'

const INTS = [0, -1, 1, 2 ** 53 - 1, -(2 ** 53) + 1, null, 255, 256, -(2 ** 31) - 1, 2 ** 31]
const DOUBLES = [0, 1e308, -1e308, 5e-324, 0.1, null, 1]
const TIMES = ['0001-01-01', '9999-12-31T23:59:59.999Z', 0, -1, 1_700_000_000_123, null]
const TEXTS = [
  ...['', 'a', 'a\u0000b', '\uffff', '\u{10ffff}', '\u{1f600}', '\ue000', '\'quo"te', null],
  ...['x'.repeat(15), 'x'.repeat(16), 'x'.repeat(17), `${'x'.repeat(63)}é`, 'ü'.repeat(40)],
  ...['\u{10ffff}'.repeat(17), `${'\u{10ffff}'.repeat(20)}x`, '\u007f'.repeat(70)],
]
const FIELDS = { i: 'int', d: 'double', s: 'string', b: 'boolean', t: 'timestamp' } as const

it(
  'writes odd values to Parquet that DuckDB reads back and finds by conditions on each column',
  { timeout: 60_000 },
  async (context) => {
    const duckdb = await import('@duckdb/node-api').catch(() => null)
    // Its binary does not exist for every platform.
    if (duckdb === null) context.skip('the binary of DuckDB cannot be loaded')
    if (duckdb === null) return
    const connection = await (await duckdb.DuckDBInstance.create(':memory:')).connect()
    const query = async (sql: string): Promise<Record<string, unknown>[]> =>
      (await connection.runAndReadAll(sql)).getRowObjects()
    for (const [seed, count] of [0, 1, 2, 40, 129].entries()) {
      const random = new SeededRandom(seed)
      const dir = mkdtempSync(join(tmpdir(), 'varve-odd-'))
      onTestFinished(() => {
        rmSync(dir, { recursive: true, force: true })
      })
      const rows = Array.from({ length: count }, () => ({
        i: random.pick(INTS),
        d: random.pick(DOUBLES),
        s: random.pick(TEXTS),
        b: random.pick([true, false, null]),
        t: random.pick(TIMES),
      }))
      const records = rows.map((row, offset) =>
        record(offset, {
          key: row.s === null ? null : Buffer.from(row.s),
          value: Buffer.from(JSON.stringify(row)),
        }),
      )
      const sink = parquetSink(dir, { fields: FIELDS, rowGroupRows: random.pick([1, 3, 1000]) })
      await put(sink, task(0, Math.max(1, count)), records)
      const source = `read_parquet('${dir}/*/*/*.parquet')`
      const found = await query(
        `select key, i, d, s, b, epoch_ms(t) t from ${source} order by "offset"`,
      )
      const expected = rows.map(({ i, d, s, b, t }) => {
        const at = t === null ? null : BigInt(new Date(t).getTime())
        return { key: s, i: i === null ? null : BigInt(i), d, s, b, t: at }
      })
      expect(found, `seed ${seed}`).toEqual(expected)
      // If a row group's least and greatest values are wrong, DuckDB skips it.
      await query(`create or replace temp table loaded as select * from ${source}`)
      for (const column of ['key', 'i', 'd', 's', 'b', 't']) {
        for (const slot of [0, count >> 1, count - 1]) {
          const [row] = await query(
            `select "${column}"::varchar v from loaded where "offset" = ${slot} and "${column}" is not null`,
          )
          if (row === undefined) continue
          const text = String(row['v'])
          if (text.includes('\u0000')) continue
          const value = `'${text.replaceAll("'", "''")}'`
          for (const operator of ['=', '>=', '<=']) {
            const where = `select count(*)::int n from FROM where "${column}" ${operator} ${value}`
            const label = `seed ${seed}: ${where}`
            const [pruned] = await query(where.replace('FROM', source))
            const [all] = await query(where.replace('FROM', 'loaded'))
            expect(pruned, label).toEqual(all)
          }
        }
      }
    }
    connection.closeSync()
  },
)
