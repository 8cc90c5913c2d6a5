import { fileURLToPath } from 'node:url'
import { defineConfig, mergeConfig, type ViteUserConfig } from 'vitest/config'
import ordinary from '../../vitest.config.ts'
import { CLOCKS, type ClockName } from './clocks.ts'

declare module 'vitest' {
  interface ProvidedContext {
    turns: { readonly clock: ClockName; readonly seed: number }
  }
}

/** What the clock makes no difference to. */
const ELSEWHERE = [
  // Counts in a process of its own, in which time stands still.
  'spec/work/**',
  // Draws its turns itself, from what it shrinks by.
  'spec/model/broker-model.spec.ts',
  // Run the library in processes and realms of their own.
  'spec/docs.spec.ts',
  'spec/other-realm.spec.ts',
]

const { VARVE_SEED, VARVE_TURNS = 'drawn' } = process.env
const clock = VARVE_TURNS as ClockName
if (!Object.hasOwn(CLOCKS, clock)) {
  throw new Error(`VARVE_TURNS is one of ${Object.keys(CLOCKS).join(', ')}, not ${clock}`)
}
const seed = Number(VARVE_SEED ?? Date.now() % 0x7fffffff)
// A loop that never ends says nothing.
console.log(`VARVE_SEED=${seed} VARVE_TURNS=${clock}`)

/**
 * Runs the ordinary specs with another clock for what decides whether the event loop has to turn. Each
 * run draws anew; `VARVE_SEED` repeats one, as far as the specs use no real disk.
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
