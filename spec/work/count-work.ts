import { GCProfiler, promiseHooks } from 'node:v8'
import type { ObservedOperation } from '../../lib/testing/simulated-machine.ts'
import { scenarios, type Scenario } from './scenarios.ts'

/**
 * Counts by name, for one unit of a scenario; a missing count is 0. Calls of the file system have
 * the names in the simulated disk's log (`write`, `datasync`); the bytes that they request are
 * `writeBytes` and `readBytes`. `promises` counts those created; `allocatedBytes` is by how much
 * the heap and the buffers grow without a collection. Both include the simulated disk's own.
 */
export type WorkCounts = Readonly<Record<string, number>>

/** The lowest result counts: allocations that happen only once can only add to it. */
const ALLOCATION_RUNS = 4

/** Counts by the name of the scenario. */
export async function countAll(): Promise<Record<string, WorkCounts>> {
  // Long work occasionally yields to the event loop, and each wait creates a promise. With time
  // standing still, every run creates the same number.
  performance.now = () => 0
  const counts: Record<string, WorkCounts> = {}
  for (const scenario of scenarios) counts[scenario.name] = await countWork(scenario)
  return counts
}

async function countWork(scenario: Scenario): Promise<WorkCounts> {
  // First, because this run also creates what is created only once, such as compiled code and
  // inline caches.
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
