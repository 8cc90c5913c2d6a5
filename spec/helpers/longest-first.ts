import { BaseSequencer, type TestSpecification } from 'vitest/node'

/**
 * A sequencer that begins with the given files, in this order. In a fresh clone Vitest knows no
 * durations and begins with the largest files, so one worker would be idle in the end while the
 * other runs what takes longest.
 *
 * @param longest paths of the files that take longest, or their ends.
 */
export function longestFirst(longest: readonly string[]): typeof BaseSequencer {
  const rankOf = ({ moduleId }: TestSpecification): number => {
    const rank = longest.findIndex((path) => moduleId.endsWith(path))
    return rank < 0 ? longest.length : rank
  }
  return class LongestFirst extends BaseSequencer {
    override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
      const sorted = await super.sort(files)
      return sorted.toSorted((a, b) => rankOf(a) - rankOf(b))
    }
  }
}
