import { fileURLToPath } from 'node:url'
import { defineConfig, type ViteUserConfig } from 'vitest/config'

/**
 * The long programme: real processes killed, real file systems cut off, millions of simulated power
 * losses. One part alone: `npm run test:torture -- kill`.
 */
const config: ViteUserConfig = defineConfig({
  test: {
    root: fileURLToPath(new URL('../..', import.meta.url)),
    include: ['spec/torture/**/*.torture.ts'],
    environment: 'node',
    testTimeout: 0,
    hookTimeout: 0,
    maxWorkers: 2,
    reporters: ['verbose'],
  },
})

export default config
