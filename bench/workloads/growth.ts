import type { BenchCase, BenchContext } from '../bench-case.ts'
import type { Peer } from '../peers/peer.ts'
import { rawPeers } from '../peers/raw.ts'
import { varvePeers } from '../peers/varve.ts'
import { filledStore } from '../store.ts'
import { bulkAppend } from './bulk-append.ts'
import type { WorkloadDefinition } from './definition.ts'
import { randomRead } from './random-read.ts'
import { replay } from './replay.ts'

const VALUE_BYTES = 100
const RECORDS = 1_000_000
const FACTORS: readonly number[] = [1, 100]

/**
 * Whether a log of a hundred times the usual size is as fast: each is compared with the usual one. With
 * it a plain file, which tells what of that is the machine's.
 */
export const growthCases: readonly BenchCase[] = [bulkAppend, replay, randomRead].flatMap(
  (workload) =>
    [theOne(rawPeers, 'raw'), theOne(varvePeers, 'varve')].flatMap((peer) =>
      FACTORS.map((factor) => growthCase(workload, peer, factor)),
    ),
)

function growthCase(workload: WorkloadDefinition, peer: Peer, factor: number): BenchCase {
  const caseOf = (records: number): string =>
    `growth/${workload.name}/${peer.name}/records=${records}`
  const benchCase = {
    name: caseOf(RECORDS * factor),
    workload: 'growth',
    log: `${peer.name}, ${workload.name}, ${(RECORDS * factor) / 1e6} M records`,
    valueBytes: VALUE_BYTES,
    unit: workload.unit,
    floor: factor === 1 ? null : caseOf(RECORDS),
    isLong: true,
    run: (context: BenchContext) =>
      workload.run(context, { peer, valueBytes: VALUE_BYTES, share: factor }),
  }
  if (workload.stored === undefined) return benchCase
  return { ...benchCase, store: filledStore(peer, VALUE_BYTES, RECORDS * factor) }
}

function theOne(peers: readonly Peer[], wanted: string): Peer {
  const peer = peers.find(({ name }) => name === wanted)
  if (peer === undefined) throw new Error(`${wanted} is not among the logs`)
  return peer
}
