import type { Workload, WorkloadRecord } from '../workload.ts'

/** What is asked of a log, by the names that the report explains. */
export const WORKLOAD_NAMES = ['W1', 'W2', 'W3a', 'W3b', 'W4', 'W5', 'W6', 'W7'] as const

export type WorkloadName = (typeof WORKLOAD_NAMES)[number]

/** When records reach the disk: before they are acknowledged, or when the operating system likes. */
export type Flush = '1' | 'relaxed'

/**
 * Takes a record as a reader of the log gets it. Logs that store one value for each record hand it
 * out whole, key and value one behind the other, with `null` for the key: they are spared the work
 * of taking it apart.
 */
export type Visit = (key: Buffer | string | null, value: Buffer) => void

/** How a log is opened. */
export interface PeerSettings {
  readonly flush: Flush
  readonly valueBytes: number
}

/**
 * An open log of one writer. Records have the numbers 0, 1, 2 and so on, and every one of them is a
 * record of the {@link Workload}.
 */
export interface PeerLog {
  /** How many records it holds, known when it is open. */
  readonly nextOffset: number

  /** Prepares to append `count` records as fast as it can; the returned function does it. */
  bulk(workload: Workload, count: number): () => Promise<void>

  /** Appends one; resolves when it is written, and on a log with flush `1` when it is durable. */
  append(record: WorkloadRecord): Promise<unknown>

  /** Visits every record in order. */
  replay(visit: Visit): Promise<void>

  /**
   * Visits the records from `offset` on, at most `limit`, and returns how many there were. A log
   * that reads synchronously returns a number, so that it is not made to wait for a promise.
   */
  readFrom(offset: number, limit: number, visit: Visit): number | Promise<number>

  /**
   * Visits `count` records as they come, from the first one on. Absent where the way to follow the
   * log is to read on after every append that is acknowledged.
   */
  follow?(count: number, visit: Visit): Promise<void>

  close(): Promise<void>
}

/** A log that the workloads are put to. */
export interface Peer {
  readonly name: string
  /** How it is used, for the report: what was chosen to make it fast. */
  readonly usage: string
  /** Workloads that it is not put to, with the reason, for the report. */
  readonly cannot: Partial<Record<WorkloadName, string>>
  /** Whose stores it reads; its own where it is absent. */
  readonly storeOf?: string
  /** Share of the usual number of records, where that would take minutes. */
  readonly share?: Partial<Record<WorkloadName, number>>
  /** Loads its code; the returned function opens or creates a log in a directory. */
  readonly load: () => Promise<OpenPeer>
}

export type OpenPeer = (dir: string, settings: PeerSettings) => Promise<PeerLog>

/** The workloads but those of `names`, each with the same reason. */
export function allBut(
  names: readonly WorkloadName[],
  reason: string,
): Partial<Record<WorkloadName, string>> {
  const others = WORKLOAD_NAMES.filter((name) => !names.includes(name))
  return Object.fromEntries(others.map((name) => [name, reason]))
}
