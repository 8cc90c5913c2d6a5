import type { BenchContext, Measurement } from '../bench-case.ts'
import type { Peer, WorkloadName } from '../peers/peer.ts'

/** A workload, which is run with every log. */
export interface WorkloadDefinition {
  readonly name: WorkloadName
  /** For headings. */
  readonly title: string
  /** What is done and measured, in a few sentences. */
  readonly text: string
  readonly unit: '/s' | 'ms'
  readonly valueSizes: readonly number[]
  /** The log that is the floor. */
  readonly floor: 'raw' | 'raw-async'
  /** Records in the store that is read, before scaling; absent if the log starts empty. */
  readonly stored?: (valueBytes: number) => number
  /**
   * Whether a process does the work twice, from scale 1 on, because code is still being compiled the
   * first time.
   */
  readonly isRepeated?: boolean
  readonly run: (context: BenchContext, asked: Asked) => Promise<Measurement>
}

/** The log and the records of a run. */
export interface Asked {
  readonly peer: Peer
  readonly valueBytes: number
  /** Factor on the number of records, for logs that would otherwise take minutes. */
  readonly share: number
}

/** A number of records that takes about the same time for every value size. */
export function perSize(count: number): (valueBytes: number) => number {
  return (valueBytes) => (valueBytes === 100 ? count : count / 5)
}
