import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { crashEverywhere } from '../crash/exhaustive.ts'
import { PowerLossTrials } from '../crash/power-loss-trials.ts'
import type { Workload } from '../crash/workload.ts'
import { WORKLOADS } from '../crash/workloads.ts'
import { findSyncSites } from './sync-sites.ts'

/** Syncs that planted bugs remove, each noticed by its named test: `Sync:` in a patch's head. */
const PLANTED = readdirSync(import.meta.dirname)
  .filter((name) => name.endsWith('.patch'))
  .map((name) => readFileSync(join(import.meta.dirname, name), 'utf8'))
  .flatMap((patch) => /^Sync: (.+)$/m.exec(patch)?.[1] ?? [])

/** Syncs that nothing depends on, and why they exist. */
const WITHOUT_NEED: Readonly<Record<string, string>> = {
  'lib/storage/durable-end.ts leave': 'a power loss that takes the mark takes the lie it is about',
  'lib/storage/durable-end.ts leave (2)': 'as above',
  'lib/storage/durable-end.ts remove':
    'a mark that was obeyed and comes back is told from a new one by its leader epoch',
}

const ALL_SITES = findSyncSites()
const SITES = ALL_SITES.filter(({ name }) => !PLANTED.includes(name) && !(name in WITHOUT_NEED))
const SEED = Number(process.env['VARVE_SEED'] ?? 1)
const TRIALS = Number(process.env['VARVE_RUNS'] ?? 2_000)
/** One in this many recoveries is interrupted as well: see `spec/crash/exhaustive.ts`. */
const RECOVERIES_INTERRUPTED = 12

/** The sync that is left out; `null` for none. */
let leftOut: string | null = null
const reached = new Set<string>()

Object.assign(globalThis, {
  varveSync: (name: string, sync: () => Promise<void>): Promise<void> => {
    reached.add(name)
    return name === leftOut ? Promise.resolve() : sync()
  },
  varveSyncNow: (name: string, sync: () => unknown): unknown => {
    reached.add(name)
    // A left-out sync reports success.
    return name === leftOut ? true : sync()
  },
})

/** Crashes a workload everywhere, and returns what goes wrong; `null` if nothing does. */
async function complaintOf(workload: Workload, interruptEach: number): Promise<string | null> {
  try {
    const { failures } = await crashEverywhere(workload, { seed: SEED, interruptEach })
    return failures[0] ?? null
  } catch (error) {
    return String(error)
  }
}

async function complaintOfTrials(workloads: readonly Workload[]): Promise<string | null> {
  const trials = new PowerLossTrials(workloads)
  for (let seed = SEED; seed < SEED + TRIALS; seed += 1) {
    const { failures, story } = await trials.run(seed)
    if (failures.length > 0)
      return `${failures[0] ?? ''} (${(await story()).split('\n', 1)[0] ?? ''})`
  }
  return null
}

/** What notices that a sync is left out, the cheapest way first; `null` if nothing does. */
async function whatNotices(workloads: readonly Workload[]): Promise<string | null> {
  for (const interruptEach of [Infinity, RECOVERIES_INTERRUPTED]) {
    for (const workload of workloads) {
      const complaint = await complaintOf(workload, interruptEach)
      if (complaint !== null) return `every operation of '${workload.name}' | ${complaint}`
    }
    if (interruptEach !== Infinity) continue
    const complaint = await complaintOfTrials(workloads)
    if (complaint !== null) return `power losses | ${complaint}`
  }
  return null
}

describe('a sync of the library', () => {
  /** Which syncs a workload reaches, both itself and in the recoveries from its crashes. */
  const runs: { workload: Workload; sites: ReadonlySet<string>; ms: number }[] = []
  const table: string[] = []

  beforeAll(async () => {
    for (const workload of WORKLOADS) {
      reached.clear()
      const started = performance.now()
      expect(await complaintOf(workload, Infinity), workload.name).toBeNull()
      runs.push({ workload, sites: new Set(reached), ms: performance.now() - started })
    }
    runs.sort((a, b) => a.ms - b.ms)
  })

  afterAll(() => {
    console.log(table.join('\n'))
  })

  it('exists if a planted bug or the list of exceptions names it', () => {
    const names = ALL_SITES.map(({ name }) => name)
    expect(names).toEqual(expect.arrayContaining([...PLANTED, ...Object.keys(WITHOUT_NEED)]))
  })

  it.each(SITES.map(({ name }) => name))(
    'makes a crash workload fail when it is left out: %s',
    async (name) => {
      const workloads = runs.filter(({ sites }) => sites.has(name)).map(({ workload }) => workload)
      expect(workloads, 'workloads that come to it').not.toEqual([])
      leftOut = name
      try {
        const notice = await whatNotices(workloads)
        table.push(`${name} | ${notice ?? 'nothing notices'}`)
        expect(notice, 'what goes wrong without it').not.toBeNull()
      } finally {
        leftOut = null
      }
    },
  )
})
