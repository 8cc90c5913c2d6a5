import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import { compiledUrl } from '../helpers/compiled-lib.ts'
import {
  ALLOCATED,
  REWRITE,
  complaints,
  nextBaseline,
  readBaseline,
  writeBaseline,
  type Baseline,
} from './baseline.ts'
import type { WorkCounts } from './count-work.ts'
import { OPENS_COMPARED, scenarios } from './scenarios.ts'

const names = scenarios.map(({ name }) => name)
const nodeMajor = Number.parseInt(process.versions.node)
const isRewriting = process.env['VARVE_WORK'] === 'baseline'

/**
 * Makes allocated bytes countable and repeatable: room for everything that a run allocates, no
 * other threads, and no optimizing compiler, which removes some allocations at unpredictable times.
 */
const NODE_FLAGS = [
  '--expose-gc',
  '--min-semi-space-size=128',
  '--max-semi-space-size=128',
  '--single-threaded',
  '--no-opt',
]

async function countInProcess(): Promise<Record<string, WorkCounts>> {
  const source = `
    import { countAll } from ${JSON.stringify(compiledUrl('../spec/work/count-work.ts'))}
    console.log(JSON.stringify(await countAll()))
  `
  // Flags or coverage of the process that runs the specs must not change the counts.
  const env = { ...process.env, NODE_OPTIONS: undefined, NODE_V8_COVERAGE: undefined }
  const args = [...NODE_FLAGS, '--input-type=module', '--eval', source]
  const { stdout } = await promisify(execFile)(process.execPath, args, { env })
  return JSON.parse(stdout) as Record<string, WorkCounts>
}

/** The counts without allocations, or only allocations; `undefined` for an unknown scenario. */
function part(
  all: Readonly<Record<string, WorkCounts>>,
  name: string,
  what: 'exact' | 'allocations',
): WorkCounts | undefined {
  const counts = all[name]
  if (counts === undefined) return undefined
  const isWanted = (counter: string): boolean => (counter === ALLOCATED) === (what !== 'exact')
  return Object.fromEntries(Object.entries(counts).filter(([counter]) => isWanted(counter)))
}

describe('the work that the library does', () => {
  let found: Record<string, WorkCounts> = {}
  let baseline: Baseline = { nodeMajor, scenarios: {} }

  beforeAll(async () => {
    found = await countInProcess()
    const committed = readBaseline()
    if (isRewriting) writeBaseline(nextBaseline(committed, { nodeMajor, scenarios: found }))
    else if (committed === null) throw new Error(`there is no baseline: ${REWRITE} makes one`)
    baseline = readBaseline() ?? baseline
    if (baseline.nodeMajor !== nodeMajor) {
      console.log(
        `allocations: not compared, the baseline was made with Node.js ${baseline.nodeMajor}`,
      )
    }
  }, 120_000)

  it('is counted in the scenarios of the baseline, and in no others', () => {
    expect(Object.keys(found)).toEqual(names)
    expect(Object.keys(baseline.scenarios)).toEqual(names)
  })

  it.each(names)('takes no more operations and promises than the baseline: %s', (name) => {
    const expected = part(baseline.scenarios, name, 'exact')
    expect(complaints(name, part(found, name, 'exact') ?? {}, expected)).toEqual([])
  })

  it.for(names)('allocates no more than the baseline: %s', (name, context) => {
    // Another version of V8 lays out its objects differently, and may create others.
    const reason = `the baseline was made with Node.js ${baseline.nodeMajor}, this is ${nodeMajor}`
    context.skip(baseline.nodeMajor !== nodeMajor, reason)
    const expected = part(baseline.scenarios, name, 'allocations')
    expect(complaints(name, part(found, name, 'allocations') ?? {}, expected)).toEqual([])
  })

  describe('to open a log, for a segment more', () => {
    const [ten, hundred, fourHundred] = OPENS_COMPARED
    const perSegment = (counter: string, [from, to] = [hundred, fourHundred], more = 300): number =>
      ((found[to]?.[counter] ?? 0) - (found[from]?.[counter] ?? 0)) / more

    it('is to ask for the size of its file, and for nothing else', () => {
      const uncounted = ['promises', ALLOCATED, 'readBytes']
      const calls = Object.keys(found[fourHundred] ?? {}).filter(
        (each) => !uncounted.includes(each),
      )
      const grown = calls.filter((call) => perSegment(call) !== 0)
      expect(grown.map((call) => [call, perSegment(call)])).toEqual([['stat', 1]])
      // Its line in the record.
      expect(perSegment('readBytes')).toBeLessThan(50)
    })

    it('takes the promises of that call alone, which the simulation makes', () => {
      expect(perSegment('promises')).toBeLessThanOrEqual(5)
    })

    it('takes as much memory however many there are', () => {
      const before = perSegment(ALLOCATED, [ten, hundred], 90)
      expect(perSegment(ALLOCATED)).toBeLessThan(1.2 * before)
    })
  })
})

describe('the comparison with the baseline', () => {
  const expected = { write: 1, allocatedBytes: 1000 }

  it('takes what is the same, and allocations that are a little more', () => {
    expect(complaints('a', { write: 1, allocatedBytes: 1050 }, expected)).toEqual([])
  })

  it('names scenario, counter, baseline and what was found when there is more', () => {
    expect(complaints('a', { write: 1.25, allocatedBytes: 1051, sync: 1 }, expected)).toEqual([
      'a: write: baseline 1, found 1.25: more work than before; where it has to be, npm run work:baseline',
      'a: allocatedBytes: baseline 1000, found 1051: more work than before; where it has to be, npm run work:baseline',
      'a: sync: baseline 0, found 1: more work than before; where it has to be, npm run work:baseline',
    ])
  })

  it('asks for a new baseline when there is clearly less', () => {
    expect(complaints('a', { write: 0.9, allocatedBytes: 900 }, expected)).toEqual([])
    expect(complaints('a', { allocatedBytes: 899 }, expected)).toEqual([
      'a: write: baseline 1, found 0: keep what is won with npm run work:baseline',
      'a: allocatedBytes: baseline 1000, found 899: keep what is won with npm run work:baseline',
    ])
  })

  it('asks for a baseline where there is none', () => {
    expect(complaints('a', expected, undefined)).toEqual([
      'a: the baseline does not have it; npm run work:baseline adds it',
    ])
  })

  it('leaves allocations as they were when they differ by noise, and nothing else', () => {
    const before = { nodeMajor: 20, scenarios: { a: expected, gone: expected } }
    const within = { a: { write: 0.99, allocatedBytes: 1020 }, b: expected }
    expect(nextBaseline(before, { nodeMajor: 20, scenarios: within })).toEqual({
      nodeMajor: 20,
      scenarios: { a: { write: 0.99, allocatedBytes: 1000 }, b: expected },
    })
    const beyond = { nodeMajor: 20, scenarios: { a: { write: 1, allocatedBytes: 979 } } }
    expect(nextBaseline(before, beyond)).toEqual(beyond)
    const elsewhere = { nodeMajor: 22, scenarios: within }
    expect(nextBaseline(before, elsewhere)).toEqual(elsewhere)
    expect(nextBaseline(null, beyond)).toEqual(beyond)
  })
})
