import type { FileMetaData, SchemaElement } from 'hyparquet'
import { expect, it } from 'vitest'
import { ExactDecimals } from '../../lib/offline/parquet-exact.ts'

function decimalsOf(...schema: readonly SchemaElement[]): ExactDecimals {
  return new ExactDecimals({ schema } as unknown as FileMetaData, '/f.parquet')
}

const MONEY: SchemaElement = {
  ...{ name: 'money', type: 'INT64', converted_type: 'DECIMAL', scale: 2, precision: 18 },
}

it('passes a decimal column to the reader as a plain number, without its converted type', () => {
  const { metadata } = decimalsOf({ name: 'root', num_children: 1 }, MONEY)
  const plain: Partial<SchemaElement> = { ...MONEY }
  delete plain.converted_type
  expect(metadata.schema[1]).toEqual(plain)
})

it('stops at the end of the schema, however many columns the root claims to have', () => {
  const rows: Record<string, unknown>[] = [{ money: 123n }]
  decimalsOf({ name: 'root', num_children: 2 ** 31 - 1 }, MONEY).putInto(rows)
  expect(rows).toEqual([{ money: 1.23 }])
  expect(decimalsOf().metadata.schema).toEqual([])
})

it('leaves a decimal inside a variant as it is, and converts the column after it', () => {
  const variant: SchemaElement = { name: 'v', num_children: 1, logical_type: { type: 'VARIANT' } }
  const decimals = decimalsOf({ name: 'root', num_children: 2 }, variant, MONEY, MONEY)
  expect(decimals.metadata.schema[2]).toBe(MONEY)
  expect(decimals.metadata.schema[3]).not.toHaveProperty('converted_type')
  const rows: Record<string, unknown>[] = [{ v: { money: 5n }, money: -7n }]
  decimals.putInto(rows)
  expect(rows).toEqual([{ v: { money: 5n }, money: -0.07 }])
})

it('reads lists, maps and decimals that have a logical type only', () => {
  const decimal: SchemaElement = {
    ...{ name: 'element', type: 'INT64' },
    logical_type: { type: 'DECIMAL', precision: 18, scale: 2 },
  }
  const decimals = decimalsOf(
    { name: 'root', num_children: 2 },
    { name: 'l', num_children: 1, logical_type: { type: 'LIST' } },
    { name: 'list', num_children: 1, repetition_type: 'REPEATED' },
    decimal,
    { name: 'm', num_children: 1, logical_type: { type: 'MAP' } },
    { name: 'key_value', num_children: 2, repetition_type: 'REPEATED' },
    { name: 'key', type: 'BYTE_ARRAY', logical_type: { type: 'ENUM' } },
    { ...decimal, name: 'value' },
  )
  const { schema } = decimals.metadata
  expect([schema[1], schema[4], schema[6]]).toMatchObject([
    { name: 'l', converted_type: 'LIST' },
    { name: 'm', converted_type: 'MAP' },
    { name: 'key', converted_type: 'UTF8' },
  ])
  const rows: Record<string, unknown>[] = [{ l: [123n, null], m: { a: -5n } }]
  decimals.putInto(rows)
  expect(rows).toEqual([{ l: [1.23, null], m: { a: -0.05 } }])
})

it('converts decimals in repeated columns and groups that are not standard lists or maps', () => {
  const repeated: SchemaElement = { ...MONEY, repetition_type: 'REPEATED' }
  const groups: SchemaElement = { name: 'g', num_children: 1, repetition_type: 'REPEATED' }
  const decimals = decimalsOf({ name: 'root', num_children: 2 }, repeated, groups, MONEY)
  const rows: Record<string, unknown>[] = [{ money: [1n, 2n], g: [{ money: 3n }, { money: null }] }]
  decimals.putInto(rows)
  expect(rows).toEqual([{ money: [0.01, 0.02], g: [{ money: 0.03 }, { money: null }] }])
})
