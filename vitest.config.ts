import { defineConfig, type ViteUserConfig } from 'vitest/config'

const config: ViteUserConfig = defineConfig({
  test: {
    include: ['spec/**/*.spec.ts'],
    environment: 'node',
    testTimeout: 120_000,
    maxWorkers: 2,
    coverage: {
      provider: 'v8',
      include: ['lib/**/*.ts'],
      // A table of all files would stand below what failed, and be all that is left of a long output.
      reporter: ['text-summary', 'json-summary'],
      reportOnFailure: true,
      thresholds: {
        branches: 90,
        'lib/record/**': { branches: 95 },
        'lib/storage/**': { branches: 95 },
      },
    },
  },
})

export default config
