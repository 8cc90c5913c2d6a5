import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { BenchContext, Measurement } from '../bench-case.ts'

/**
 * Measures the same work twice in one process. The first time includes the compilation of the code
 * and the growth of the heap; an application that runs for longer sees the second figure.
 *
 * @param isStored whether the work reads a store, which then is the same both times; if not, each
 *   time has an empty directory.
 * @param run measures, and verifies the result.
 * @returns the first measurement, which contains the second one.
 */
export async function twice(
  context: BenchContext,
  isStored: boolean,
  run: (context: BenchContext) => Promise<Measurement>,
): Promise<Measurement> {
  const once = async (name: string): Promise<Measurement> => {
    if (isStored) return run(context)
    const dir = join(context.dir, name)
    mkdirSync(dir)
    const measurement = await run({ ...context, dir })
    // Otherwise, the system might write its data back during the next measurement.
    rmSync(dir, { recursive: true })
    return measurement
  }
  const first = await once('first')
  return { ...first, again: await once('again') }
}
