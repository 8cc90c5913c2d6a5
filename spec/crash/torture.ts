import { describe, expect, it } from 'vitest'
import { isFull, report, runs, seed } from '../torture/size.ts'
import { crashEverywhere } from './exhaustive.ts'
import type { Workload } from './workload.ts'

/**
 * Half of the workloads would take nine tenths of the time. The short size leaves them to
 * `every-operation.spec.ts`, which interrupts few of their recoveries.
 */
export const LONG: ReadonlySet<string> = new Set([
  'add partitions and append to them',
  'adopt a directory that Kafka made',
  'append in each codec',
  'append to a preallocated topic, roll and close',
  'append to a topic compressed with gzip',
  'append to a topic compressed with lz4',
  'append to a topic relaxed by count',
  'append with every acknowledgement',
  'compact what is stored in several codecs',
  'compaction and retention of one topic',
  'delete every record',
  'delete records over segments',
  'log: compact again what was compacted',
  'log: compact several segments into one',
  'log: compact to several segments, and close',
  'log: delete from what was compacted',
  'log: write without syncs',
  'oldest segments that make room',
  'open after a crash',
  'recreate a topic under the same name',
  'retention by size',
  'retention of every record, by time',
  'retention of what was consumed, on a relaxed topic',
  'roll by a full index',
  'roll by size',
  'roll by time',
  'roll of a relaxed topic',
  'save all recovery points in time',
  'tombstones that are met, and go in a later pass',
])

/** Declares the exhaustive trial of `workloads`: with one seed, or several in the full size. */
export function crashEverywhereIn(workloads: readonly Workload[]): void {
  const tried = isFull ? workloads : workloads.filter(({ name }) => !LONG.has(name))
  describe(`a crash at every operation, and at every operation of the recovery (seed ${seed})`, () => {
    it.each(tried)('keeps every promise: $name', async (workload) => {
      let [crashes, crashesInRecovery, disks] = [0, 0, 0]
      const rounds = runs({ short: 1, full: 50 })
      for (let round = 0; round < rounds; round += 1) {
        const result = await crashEverywhere(workload, { seed: seed + round, interruptEach: 1 })
        expect(result.failures, `seed ${seed + round}`).toEqual([])
        crashes += result.crashes
        crashesInRecovery += result.crashesInRecovery
        disks += result.disks
      }
      report(workload.name, { crashes, 'crashes in recovery': crashesInRecovery, disks })
    })
  })
}
