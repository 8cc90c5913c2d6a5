import { defineConfig, type ViteUserConfig } from 'vitest/config'
import { longestFirst } from './spec/helpers/longest-first.ts'

/** What takes longest, though the files are small. */
const LONGEST = ['spec/crash/every-operation.spec.ts', 'spec/model/broker-model.spec.ts']

const config: ViteUserConfig = defineConfig({
  test: {
    include: ['spec/**/*.spec.ts'],
    environment: 'node',
    globalSetup: 'spec/helpers/temporary-files.ts',
    testTimeout: 120_000,
    maxWorkers: 2,
    sequence: { sequencer: longestFirst(LONGEST) },
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
