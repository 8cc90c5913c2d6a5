import { GCProfiler, promiseHooks } from 'node:v8'
import type { ObservedOperation } from '../../lib/testing/simulated-machine.ts'
import { scenarios, type Scenario } from './scenarios.ts'

/**
 * Counts by name, for one unit of a scenario; what is not there is 0. Calls of the file system have
 * the names of the simulated one's log (`write`, `datasync`), the bytes they ask for are
 * `writeBytes` and `readBytes`. `promises` are those created, `allocatedBytes` what the heap and
 * the buffers grow by while nothing is collected. The simulated file system's own are among both.
 */
export type WorkCounts = Readonly<Record<string, number>>

/** The least of them is taken: what is made once and kept only adds. */
const ALLOCATION_RUNS = 4

/** Counts by the name of the scenario. */
export async function countAll(): Promise<Record<string, WorkCounts>> {
  // Work that takes long waits now and then for the event loop to turn, and a wait is a promise: here
  // no time passes, so there are as many in every run.
  performance.now = () => 0
  const counts: Record<string, WorkCounts> = {}
  for (const scenario of scenarios) counts[scenario.name] = await countWork(scenario)
  return counts
}

async function countWork(scenario: Scenario): Promise<WorkCounts> {
  // First, because it makes what is made once: compiled code, what inline caches learn.
  const counts = await exactCounts(scenario)
  let allocatedBytes = Infinity
  for (let run = 0; run < ALLOCATION_RUNS; run += 1) {
    allocatedBytes = Math.min(allocatedBytes, await allocated(scenario))
  }
  counts.set('allocatedBytes', allocatedBytes)
  return Object.fromEntries(
    [...counts].sort().map(([name, count]) => [name, Number((count / scenario.times).toFixed(2))]),
  )
}

async function exactCounts(scenario: Scenario): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  const add = (name: string, count: number): void => {
    counts.set(name, (counts.get(name) ?? 0) + count)
  }
  const { fileSystems, run } = await scenario.prepare()
  const observer = ({ kind, detail }: ObservedOperation): void => {
    add(kind, 1)
    const bytes = /\+(\d+)$/.exec(detail ?? '')?.[1]
    if (bytes !== undefined) add(`${kind}Bytes`, Number(bytes))
  }
  for (const fileSystem of fileSystems) fileSystem.observe(observer)
  const stop = promiseHooks.onInit(() => {
    add('promises', 1)
  }) as () => void
  await run()
  stop()
  return counts
}

async function allocated(scenario: Scenario): Promise<number> {
  const { run } = await scenario.prepare()
  if (globalThis.gc === undefined) throw new Error('allocations are counted with --expose-gc')
  globalThis.gc()
  const profiler = new GCProfiler()
  profiler.start()
  const before = process.memoryUsage()
  await run()
  const after = process.memoryUsage()
  const { statistics } = profiler.stop()
  if (statistics.length > 0) {
    throw new Error(`${scenario.name}: ${statistics.length} collections while bytes were counted`)
  }
  return after.heapUsed + after.external - before.heapUsed - before.external
}
