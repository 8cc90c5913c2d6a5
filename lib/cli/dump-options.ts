import { readArguments, UsageError } from './command-arguments.ts'

export const DUMP_HELP = `varve dump DIR TOPIC [options]

Writes the records of a topic as lines of JSON, one partition after the other. The directory is only
read, and may be open in another program. Keys and values that are not UTF-8, or larger than 64 MiB,
are written as {"base64": ...}. Data that cannot be read is reported, and the other partitions are
still written.

  --partition N  only this partition
  --from FROM    start at this offset, or at the first record that is not older than this time:
                 2026-11-30T08:00:00Z, or local time without the Z; a date alone is local midnight
  --last N       only the last N records of each partition
  --limit N      at most N records in all
  --follow       then continue with new records, until Ctrl-C; partitions that are added to the
                 topic meanwhile are not shown
  --help         show this text

Exit codes: 0 done; 1 failed, or something could not be read; 2 the command line is invalid; 130
stopped by Ctrl-C.
`

/** What to write of a topic. */
export interface DumpOptions {
  readonly dir: string
  readonly topic: string
  /** `null` for all partitions. */
  readonly partition: number | null
  readonly from: DumpStart
  readonly limit: number
  readonly follow: boolean
}

/** Where a dump starts in each partition: an offset, a time, or so many records before the end. */
export type DumpStart =
  { readonly offset: number } | { readonly timestamp: number } | { readonly last: number }

/** @throws UsageError */
export function parseDumpOptions(args: readonly string[]): DumpOptions {
  const { values, positionals } = readArguments('varve dump', args, {
    partition: { type: 'string' },
    from: { type: 'string' },
    last: { type: 'string' },
    limit: { type: 'string' },
    follow: { type: 'boolean' },
  })
  const [dir, topic, ...others] = positionals
  if (dir === undefined || topic === undefined || others.length > 0) {
    throw new UsageError(`dump takes a directory and a topic, got '${positionals.join(' ')}'`)
  }
  if (dir === '') throw new UsageError('DIR is empty')
  if (values.from !== undefined && values.last !== undefined) {
    throw new UsageError('--from and --last are mutually exclusive')
  }
  const whole = (name: 'partition' | 'last' | 'limit', least: number): number | null => {
    const text = values[name]
    return text === undefined ? null : wholeNumber(`--${name}`, text, least)
  }
  const last = whole('last', 1)
  return {
    dir,
    topic,
    partition: whole('partition', 0),
    from: last === null ? startOf(values.from) : { last },
    limit: whole('limit', 1) ?? Infinity,
    follow: values.follow ?? false,
  }
}

/** A date, optionally with a time of day. `Date.parse` accepts far more. */
const TIME = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$/

/** Also checks the day, as `Date.parse` moves the 31st of a short month to the next month. */
function isDate(text: string): boolean {
  const day = text.slice(0, 10)
  const ms = TIME.test(text) ? Date.parse(day) : NaN
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(day)
}

function startOf(text: string | undefined): DumpStart {
  if (text === undefined) return { offset: 0 }
  if (/^\d+$/.test(text)) return { offset: wholeNumber('--from', text, 0) }
  // Date.parse takes a date alone as UTC, and one with a time as local time.
  const time = text.includes('T') ? text : `${text}T00:00`
  const timestamp = isDate(text) ? Date.parse(time) : NaN
  // No record is older than the epoch. East of UTC, the local day of the epoch begins before it.
  if (!Number.isNaN(timestamp)) return { timestamp: Math.max(0, timestamp) }
  throw new UsageError(
    `--from must be an offset or a time such as 2026-11-30T08:00:00Z, got '${text}'`,
  )
}

function wholeNumber(name: string, text: string, least: number): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value
  throw new UsageError(`${name} must be a whole number of at least ${least}, got '${text}'`)
}
