import type { FileMetaData, SchemaElement } from 'hyparquet'
import { expect, it } from 'vitest'
import { ExactDecimals } from '../../lib/offline/parquet-exact.ts'

function decimalsOf(...schema: readonly SchemaElement[]): ExactDecimals {
  return new ExactDecimals({ schema } as unknown as FileMetaData, '/f.parquet')
}

const MONEY: SchemaElement = {
  ...{ name: 'money', type: 'INT64', converted_type: 'DECIMAL', scale: 2, precision: 18 },
}

it('tells the reader that what it cannot hold is a plain number', () => {
  const { metadata } = decimalsOf({ name: 'root', num_children: 1 }, MONEY)
  const plain: Partial<SchemaElement> = { ...MONEY }
  delete plain.converted_type
  expect(metadata.schema[1]).toEqual(plain)
})

it('ends with the schema, however many columns that says it has', () => {
  const rows: Record<string, unknown>[] = [{ money: 123n }]
  decimalsOf({ name: 'root', num_children: 2 ** 31 - 1 }, MONEY).putInto(rows)
  expect(rows).toEqual([{ money: 1.23 }])
  expect(decimalsOf().metadata.schema).toEqual([])
})

it('leaves what a variant holds as it is, and takes what stands behind it', () => {
  const variant: SchemaElement = { name: 'v', num_children: 1, logical_type: { type: 'VARIANT' } }
  const decimals = decimalsOf({ name: 'root', num_children: 2 }, variant, MONEY, MONEY)
  expect(decimals.metadata.schema[2]).toBe(MONEY)
  expect(decimals.metadata.schema[3]).not.toHaveProperty('converted_type')
  const rows: Record<string, unknown>[] = [{ v: { money: 5n }, money: -7n }]
  decimals.putInto(rows)
  expect(rows).toEqual([{ v: { money: 5n }, money: -0.07 }])
})

it('finds decimals in groups that are neither the lists nor the maps of the standard', () => {
  const repeated: SchemaElement = { ...MONEY, repetition_type: 'REPEATED' }
  const groups: SchemaElement = { name: 'g', num_children: 1, repetition_type: 'REPEATED' }
  const decimals = decimalsOf({ name: 'root', num_children: 2 }, repeated, groups, MONEY)
  const rows: Record<string, unknown>[] = [{ money: [1n, 2n], g: [{ money: 3n }, { money: null }] }]
  decimals.putInto(rows)
  expect(rows).toEqual([{ money: [0.01, 0.02], g: [{ money: 0.03 }, { money: null }] }])
})
