import { readFileSync, writeFileSync } from 'node:fs'
import type { WorkCounts } from './count-work.ts'

/** What the scenarios cost, as it was agreed to last. */
export interface Baseline {
  /** Major version of the Node.js that allocated so much; what else is counted is the same in all. */
  readonly nodeMajor: number
  /** By the name of the scenario. */
  readonly scenarios: Readonly<Record<string, WorkCounts>>
}

/** The one count that is not the same on every version of Node.js, nor quite the same twice. */
export const ALLOCATED = 'allocatedBytes'

/** Share of the baseline by which allocations may be above it. */
const ALLOCATION_SLACK = 0.05
/** Share of the baseline by which allocations differ between runs of the same code, rounded up. */
const ALLOCATION_NOISE = 0.02
/** Share of the baseline below which a count asks for a new one. */
const CLEARLY_LESS = 0.9
/** The command that counts anew and replaces the baseline. */
export const REWRITE = 'npm run work:baseline'
const FILE = new URL('baseline.json', import.meta.url)

/** What is committed. `null` when that is no baseline, as in the middle of a merge. */
export function readBaseline(): Baseline | null {
  try {
    return JSON.parse(readFileSync(FILE, 'utf8')) as Baseline
  } catch {
    return null
  }
}

/** Replaces it. */
export function writeBaseline(baseline: Baseline): void {
  writeFileSync(FILE, `${JSON.stringify(baseline, null, 2)}\n`)
}

/**
 * The baseline that comes after `previous`. Allocations that differ by no more than noise stay as
 * they were, so that the change of the file shows what has changed in the code.
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

/** What is wrong with the counts of a scenario, a line for each counter; nothing when all is well. */
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
