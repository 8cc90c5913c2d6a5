/** Where a case runs, and how much of it. */
export interface BenchContext {
  /** A fresh directory, empty but for the case's store. */
  readonly dir: string
  /** `base` records, reads or samples, scaled as the command line says; at least 1. */
  count(base: number): number
}

/** What one run of a case has found. */
export interface Measurement {
  /** In the case's unit. */
  readonly value: number
  /** Records, reads or samples behind the value. */
  readonly count: number
  /** Bytes of keys and values moved per second; absent where that says nothing. */
  readonly bytesPerSecond?: number
  /** Processor time of the measured part, all threads, milliseconds. */
  readonly cpuMs: number
  /** Largest resident set of the process up to the end of the measured part, MiB. */
  readonly maxRssMb: number
  /** Further figures, by a name that carries the unit: `p50Ms`. */
  readonly extra: Readonly<Record<string, number>>
}

/** What cases read: filled and verified once, by a process of its own, and left as it is by all. */
export interface BenchStore {
  /** Stores of one name are the same. */
  readonly name: string
  readonly fill: (context: BenchContext) => Promise<void>
}

/** One question to one log, answered by a process of its own in a directory of its own. */
export interface BenchCase {
  /** The workload, the log and the parameters: `W1/lmdb/value=100`. */
  readonly name: string
  readonly workload: string
  /** What its logs are asked, where a workload that compares Varve with itself asks several things of several. */
  readonly question?: string
  readonly log: string
  readonly valueBytes: number
  /** `/s` is better high, `ms` is better low. */
  readonly unit: '/s' | 'ms'
  /** The case that does the same with nothing but the file system; `null` for such a case itself. */
  readonly floor: string | null
  /** What `run` finds in its directory, which is a fresh one where this is absent. */
  readonly store?: BenchStore
  /** Left out unless it is asked for by name, or with `--all`: it takes minutes. */
  readonly isLong?: boolean
  /** Measures, then checks that the result is right; throws when it is not. */
  readonly run: (context: BenchContext) => Promise<Measurement>
}
