import type { Workload, WorkloadRecord } from '../workload.ts'

/** Names of the workloads, which the report explains. */
export const WORKLOAD_NAMES = ['W1', 'W2', 'W3a', 'W3b', 'W4', 'W5', 'W6', 'W7'] as const

export type WorkloadName = (typeof WORKLOAD_NAMES)[number]

/** When records reach the disk: before the acknowledgement, or when the system writes them back. */
export type Flush = '1' | 'relaxed'

/**
 * Receives a record as the log returns it. Logs that store one value per record return it whole, as
 * the key followed by the value, with `null` for the key, so that they need not split it.
 */
export type Visit = (key: Buffer | string | null, value: Buffer) => void

/** How a log is opened. */
export interface PeerSettings {
  readonly flush: Flush
  readonly valueBytes: number
}

/**
 * An open log with one writer. Records are numbered from 0, and each is a record of the
 * {@link Workload}.
 */
export interface PeerLog {
  /** Number of records in the log, known once it is open. */
  readonly nextOffset: number

  /** Prepares to append `count` records at full speed; the returned function appends them. */
  bulk(workload: Workload, count: number): () => Promise<void>

  /** Appends a record; resolves when it is written or, on a log with flush `1`, durable. */
  append(record: WorkloadRecord): Promise<unknown>

  /** Visits every record in order. */
  replay(visit: Visit): Promise<void>

  /**
   * Visits at most `limit` records from `offset` on, and returns their number. A log that reads
   * synchronously returns a number, so that it does not have to wait for a promise.
   */
  readFrom(offset: number, limit: number, visit: Visit): number | Promise<number>

  /**
   * Visits `count` records as they arrive, from the first one on. Absent if a reader follows the
   * log by reading on after every acknowledged append.
   */
  follow?(count: number, visit: Visit): Promise<void>

  close(): Promise<void>
}

/** A log on which the workloads are run. */
export interface Peer {
  readonly name: string
  /** How the log is used, for the report: the choices made for its speed. */
  readonly usage: string
  /** Workloads that are not run on it, with the reason, for the report. */
  readonly cannot: Partial<Record<WorkloadName, string>>
  /** Name of the peer whose stores it reads; its own if absent. */
  readonly storeOf?: string
  /** Share of the usual number of records, for workloads that would otherwise take minutes. */
  readonly share?: Partial<Record<WorkloadName, number>>
  /** Loads the code; the returned function opens or creates a log in a directory. */
  readonly load: () => Promise<OpenPeer>
}

export type OpenPeer = (dir: string, settings: PeerSettings) => Promise<PeerLog>

export function peerIn(peers: readonly Peer[], wanted: string): Peer {
  const peer = peers.find(({ name }) => name === wanted)
  if (peer === undefined) throw new Error(`${wanted} is not among the logs`)
  return peer
}

/** All workloads except `names`, each with the same reason. */
export function allBut(
  names: readonly WorkloadName[],
  reason: string,
): Partial<Record<WorkloadName, string>> {
  const others = WORKLOAD_NAMES.filter((name) => !names.includes(name))
  return Object.fromEntries(others.map((name) => [name, reason]))
}
