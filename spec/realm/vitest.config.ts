import { fileURLToPath } from 'node:url'
import { defineConfig, type ViteUserConfig } from 'vitest/config'

/** What `other-realm.spec.ts` runs: each file in its own realm. */
const config: ViteUserConfig = defineConfig({
  test: {
    root: fileURLToPath(new URL('../..', import.meta.url)),
    include: ['spec/realm/other-realm.ts'],
    environment: 'node',
    pool: 'vmThreads',
    maxWorkers: 1,
    testTimeout: 120_000,
  },
})

export default config
