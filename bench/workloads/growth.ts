import type { BenchCase, BenchContext } from '../bench-case.ts'
import type { Peer } from '../peers/peer.ts'
import { varvePeers } from '../peers/varve.ts'
import { filledStore } from '../store.ts'
import { bulkAppend } from './bulk-append.ts'
import { randomRead } from './random-read.ts'
import { replay } from './replay.ts'

const VALUE_BYTES = 100
const RECORDS = 1_000_000
const FACTORS: readonly number[] = [1, 100]

/** Whether a log of a hundred times the usual size is as fast: each is compared with the usual one. */
export const growthCases: readonly BenchCase[] = [bulkAppend, replay, randomRead].flatMap(
  (workload) =>
    FACTORS.map((factor): BenchCase => {
      const peer = varve()
      const caseOf = (records: number): string => `growth/${workload.name}/records=${records}`
      const benchCase = {
        name: caseOf(RECORDS * factor),
        workload: 'growth',
        log: `${workload.name}, ${(RECORDS * factor) / 1e6} M records`,
        valueBytes: VALUE_BYTES,
        unit: workload.unit,
        floor: factor === 1 ? null : caseOf(RECORDS),
        isLong: true,
        run: (context: BenchContext) =>
          workload.run(context, { peer, valueBytes: VALUE_BYTES, share: factor }),
      }
      if (workload.stored === undefined) return benchCase
      return { ...benchCase, store: filledStore(peer, VALUE_BYTES, RECORDS * factor) }
    }),
)

function varve(): Peer {
  const peer = varvePeers.find(({ name }) => name === 'varve')
  if (peer === undefined) throw new Error('varve is not among the logs')
  return peer
}
