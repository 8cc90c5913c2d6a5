import { caseNamed } from './cases.ts'
import type { BenchContext } from './bench-case.ts'
import { requestProfile } from './profile.ts'

/**
 * One phase of one case: the entry point of the processes that `run.ts` starts. Writes the
 * measurement as a line of JSON.
 */
async function main(): Promise<void> {
  const [phase, name, dir, scale, profilePath] = process.argv.slice(2)
  if (name === undefined || dir === undefined) {
    throw new Error('usage: child.js fill|run NAME DIR SCALE [PROFILE]')
  }
  const benchCase = caseNamed(name)
  const context: BenchContext = {
    dir,
    isTwice: Number(scale) >= 1,
    count: (base) => Math.max(1, Math.round(base * Number(scale))),
  }
  if (phase === 'fill') {
    await benchCase.store?.fill(context)
    return
  }
  if (profilePath !== undefined) requestProfile(profilePath)
  process.stdout.write(`${JSON.stringify(await benchCase.run(context))}\n`)
}

await main()
