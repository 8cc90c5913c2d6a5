import { readFileSync, writeFileSync } from 'node:fs'
import type { WorkCounts } from './count-work.ts'

/** The agreed cost of the scenarios. */
export interface Baseline {
  /**
   * Major version of the Node.js that allocated this much; all other counts are independent of it.
   */
  readonly nodeMajor: number
  /** By the name of the scenario. */
  readonly scenarios: Readonly<Record<string, WorkCounts>>
}

/** The only count that differs between versions of Node.js, and slightly between runs. */
export const ALLOCATED = 'allocatedBytes'

/** By what share of the baseline allocations may exceed it. */
const ALLOCATION_SLACK = 0.05
/** By what share of the baseline allocations differ between runs of the same code, rounded up. */
const ALLOCATION_NOISE = 0.02
/** A count below this share of the baseline requires a new baseline. */
const CLEARLY_LESS = 0.9
/** The command that counts again and replaces the baseline. */
export const REWRITE = 'npm run work:baseline'
const FILE = new URL('baseline.json', import.meta.url)

/** Reads the committed baseline. `null` if it is not valid, as in the middle of a merge. */
export function readBaseline(): Baseline | null {
  try {
    return JSON.parse(readFileSync(FILE, 'utf8')) as Baseline
  } catch {
    return null
  }
}

/** Replaces the baseline. */
export function writeBaseline(baseline: Baseline): void {
  writeFileSync(FILE, `${JSON.stringify(baseline, null, 2)}\n`)
}

/**
 * Returns the baseline that follows `previous`. Allocations that differ by no more than noise keep
 * their old value, so that the diff of the file shows what changed in the code.
 */
export function nextBaseline(previous: Baseline | null, found: Baseline): Baseline {
  if (previous?.nodeMajor !== found.nodeMajor) return found
  const scenarios = Object.entries(found.scenarios).map(([name, counts]) => {
    const [before, now] = [previous.scenarios[name]?.[ALLOCATED], counts[ALLOCATED]]
    const isNoise =
      before !== undefined &&
      now !== undefined &&
      Math.abs(now - before) <= before * ALLOCATION_NOISE
    return [name, isNoise ? { ...counts, [ALLOCATED]: before } : counts]
  })
  return { ...found, scenarios: Object.fromEntries(scenarios) as Baseline['scenarios'] }
}

/** What is wrong with the counts of a scenario, one line per counter; empty if nothing is. */
export function complaints(
  scenario: string,
  found: WorkCounts,
  expected: WorkCounts | undefined,
): string[] {
  if (expected === undefined) {
    return [`${scenario}: the baseline does not have it; ${REWRITE} adds it`]
  }
  const counters = [...new Set([...Object.keys(expected), ...Object.keys(found)])]
  return counters.flatMap((counter) => {
    const [count, limit] = [found[counter] ?? 0, expected[counter] ?? 0]
    const slack = counter === ALLOCATED ? ALLOCATION_SLACK : 0
    const figures = `${scenario}: ${counter}: baseline ${limit}, found ${count}`
    if (count > limit * (1 + slack)) {
      return [`${figures}: more work than before; where it has to be, ${REWRITE}`]
    }
    return count < limit * CLEARLY_LESS ? [`${figures}: keep what is won with ${REWRITE}`] : []
  })
}
