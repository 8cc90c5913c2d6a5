import type { BenchContext, Measurement } from '../bench-case.ts'
import type { Peer, WorkloadName } from '../peers/peer.ts'

/** What a workload asks of every log. */
export interface WorkloadDefinition {
  readonly name: WorkloadName
  /** For headings. */
  readonly title: string
  /** What is done and what is measured, in one sentence or two. */
  readonly text: string
  readonly unit: '/s' | 'ms'
  readonly valueSizes: readonly number[]
  /** The log that is the floor. */
  readonly floor: 'raw' | 'raw-async'
  /** Records in the store that is read, before that is scaled; absent where the log begins empty. */
  readonly stored?: (valueBytes: number) => number
  readonly run: (context: BenchContext, asked: Asked) => Promise<Measurement>
}

/** Which log, and which records. */
export interface Asked {
  readonly peer: Peer
  readonly valueBytes: number
  /** Factor on the number of records, for logs that would take minutes. */
  readonly share: number
}

/** Records that take about as long whatever their size. */
export function perSize(count: number): (valueBytes: number) => number {
  return (valueBytes) => (valueBytes === 100 ? count : count / 5)
}
