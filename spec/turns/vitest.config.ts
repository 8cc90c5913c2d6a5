import { fileURLToPath } from 'node:url'
import { defineConfig, mergeConfig, type ViteUserConfig } from 'vitest/config'
import ordinary from '../../vitest.config.ts'
import { CLOCKS, type ClockName } from './clocks.ts'

declare module 'vitest' {
  interface ProvidedContext {
    turns: { readonly clock: ClockName; readonly seed: number }
  }
}

/** Specs that do not depend on the clock. */
const ELSEWHERE = [
  // Counts in its own process, in which time stands still.
  'spec/work/**',
  // Draws its turns itself, from numbers that it can shrink.
  'spec/model/broker-model.spec.ts',
  // Run the library in separate processes and realms.
  'spec/docs.spec.ts',
  'spec/other-realm.spec.ts',
]

const { VARVE_SEED, VARVE_TURNS = 'drawn' } = process.env
const clock = VARVE_TURNS as ClockName
if (!Object.hasOwn(CLOCKS, clock)) {
  throw new Error(`VARVE_TURNS is one of ${Object.keys(CLOCKS).join(', ')}, not ${clock}`)
}
const seed = Number(VARVE_SEED ?? Date.now() % 0x7fffffff)
// Printed first, because a loop that never ends reports nothing.
console.log(`VARVE_SEED=${seed} VARVE_TURNS=${clock}`)

/**
 * Runs the ordinary specs with another clock for the decision when to yield to the event loop. Each
 * run draws new times; `VARVE_SEED` repeats one, as far as the specs use no real disk.
 */
const config: ViteUserConfig = mergeConfig(
  ordinary,
  defineConfig({
    test: {
      root: fileURLToPath(new URL('../..', import.meta.url)),
      exclude: ELSEWHERE,
      setupFiles: 'spec/turns/setup.ts',
      provide: { turns: { clock, seed } },
    },
  }),
)

export default config
