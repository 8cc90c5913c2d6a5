/** The directory and the scale of a run. */
export interface BenchContext {
  /** A fresh directory, empty except for the case's store. */
  readonly dir: string
  /** Whether the cases that can are to do their work twice in one process: from scale 1 on. */
  readonly isTwice: boolean
  /** `base` records, reads or samples, scaled by the command line's `--scale`; at least 1. */
  count(base: number): number
}

/** The result of one run of a case. */
export interface Measurement {
  /** In the case's unit. */
  readonly value: number
  /** Records, reads or samples behind the value. */
  readonly count: number
  /** Bytes of keys and values moved per second; absent if that is not meaningful. */
  readonly bytesPerSecond?: number
  /** Processor time of the measured part, all threads, milliseconds. */
  readonly cpuMs: number
  /** Largest resident set of the process up to the end of the measured part, MiB. */
  readonly maxRssMb: number
  /** Further figures, by names that include the unit, such as `p50Ms`. */
  readonly extra: Readonly<Record<string, number>>
  /** The same work measured once more in the same process; absent if the case does not repeat it. */
  readonly again?: Measurement
}

/** Data that cases read but do not change: filled and verified once, by a separate process. */
export interface BenchStore {
  /** Stores with the same name are the same store. */
  readonly name: string
  readonly fill: (context: BenchContext) => Promise<void>
}

/** One measurement of one log, in a separate process with its own directory. */
export interface BenchCase {
  /** The workload, the log and the parameters: `W1/lmdb/value=100`. */
  readonly name: string
  readonly workload: string
  /** Splits a workload that compares Varve with itself into several tables, each with a heading. */
  readonly question?: string
  readonly log: string
  readonly valueBytes: number
  /** Higher is better for `/s`, lower is better for `ms`. */
  readonly unit: '/s' | 'ms'
  /** The case that this one is compared with as the floor; `null` if there is none. */
  readonly floor: string | null
  /** The store in the directory of `run`. If absent, the directory is empty. */
  readonly store?: BenchStore
  /** Only run if selected by name or with `--all`, because it takes minutes. */
  readonly isLong?: boolean
  /** Measures, then verifies the result; throws if it is wrong. */
  readonly run: (context: BenchContext) => Promise<Measurement>
}
