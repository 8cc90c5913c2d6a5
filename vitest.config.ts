import { defineConfig, type ViteUserConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** What takes longest, though the files are small. */
const LONGEST = ['spec/crash/every-operation.spec.ts', 'spec/model/broker-model.spec.ts']

/**
 * In a fresh clone Vitest knows no durations and begins with the largest files, so one worker would
 * wait for a minute and more while the other is busy with what takes longest.
 */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isLongest = ({ moduleId }: TestSpecification): boolean =>
      LONGEST.some((path) => moduleId.endsWith(path))
    const sorted = await super.sort(files)
    return [...sorted.filter(isLongest), ...sorted.filter((file) => !isLongest(file))]
  }
}

const config: ViteUserConfig = defineConfig({
  test: {
    include: ['spec/**/*.spec.ts'],
    environment: 'node',
    globalSetup: 'spec/helpers/temporary-files.ts',
    testTimeout: 120_000,
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
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
