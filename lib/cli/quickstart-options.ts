import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

/** What the quickstart is asked to do. */
export interface QuickstartOptions {
  /** Directory whose files are sent; `null` with `ndjson`. */
  readonly tree: string | null
  /** File of lines to send, `-` for standard input; `null` without. */
  readonly ndjson: string | null
  /** Field of a line that becomes its key. */
  readonly keyField: string | null
  readonly dataDir: string
  readonly replay: boolean
}

/** A command line that makes no sense. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** An input that cannot be read. */
export class InputError extends Error {
  override readonly name = 'InputError'
}

export const QUICKSTART_HELP = `varve quickstart [DIR] [options]

Sends one record per file of DIR (default: node_modules) through a producer into a topic of four
partitions, and lets a consumer group of two members hash the files. Run it again, also after
Ctrl-C or kill -9, and it goes on from the committed offsets.

  --ndjson FILE  send the lines of FILE instead, or of standard input with -
  --key NAME     field of a line that becomes the record's key
  --replay       read everything again from offset 0 and compare the digest
  --data DIR     where the log lies (default: varve-data/quickstart)
  --help         this text
`

/**
 * Reads the arguments behind `varve quickstart`.
 *
 * @returns `null` when help is asked for.
 * @throws UsageError
 */
export function parseQuickstartOptions(args: readonly string[]): QuickstartOptions | null {
  const { values, positionals } = parse(args)
  if (values.help === true) return null
  if (positionals.length > 1) {
    throw new UsageError(`one directory is enough, got ${positionals.join(' and ')}`)
  }
  if (values.ndjson !== undefined && positionals.length > 0) {
    throw new UsageError('DIR and --ndjson exclude each other')
  }
  if (values.key !== undefined && values.ndjson === undefined) {
    throw new UsageError('--key goes with --ndjson')
  }
  const kind = values.ndjson === undefined ? 'quickstart' : 'quickstart-ndjson'
  return {
    tree: values.ndjson === undefined ? resolve(positionals[0] ?? defaultTree()) : null,
    ndjson: values.ndjson ?? null,
    keyField: values.key ?? null,
    dataDir: resolve(values.data ?? `varve-data/${kind}`),
    replay: values.replay ?? false,
  }
}

function parse(args: readonly string[]): {
  values: { ndjson?: string; key?: string; data?: string; replay?: boolean; help?: boolean }
  positionals: string[]
} {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        ndjson: { type: 'string' },
        key: { type: 'string' },
        data: { type: 'string' },
        replay: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

/** The package's own dependencies when it is run from its sources, those of the project otherwise. */
function defaultTree(): string {
  const own = fileURLToPath(new URL('../../node_modules', import.meta.url))
  return existsSync(own) ? own : 'node_modules'
}
