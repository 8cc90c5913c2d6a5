import { appendCases } from './append.ts'
import type { BenchCase } from './bench-case.ts'
import { durableCases } from './durable.ts'
import { openCases } from './open.ts'
import { rawCases } from './raw.ts'
import { readCases } from './read.ts'
import { tailCases } from './tail.ts'

/** Every case, in the order of the report. */
export const CASES: readonly BenchCase[] = [
  ...rawCases,
  ...appendCases,
  ...durableCases,
  ...readCases,
  ...tailCases,
  ...openCases,
]

/**
 * The cases whose name contains `pattern`, with the floors that they are compared to.
 *
 * @throws an Error when there is none.
 */
export function selectCases(pattern: string): readonly BenchCase[] {
  const selected = CASES.filter(({ name }) => name.includes(pattern))
  if (selected.length === 0) throw new Error(`no case has '${pattern}' in its name`)
  const floors = new Set(selected.map(({ floor }) => floor))
  return CASES.filter((each) => selected.includes(each) || floors.has(each.name))
}

/** @throws an Error when there is no such case. */
export function caseNamed(name: string): BenchCase {
  const found = CASES.find((each) => each.name === name)
  if (found === undefined) throw new Error(`no case is named '${name}'`)
  return found
}
