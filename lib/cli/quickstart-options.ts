import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readArguments, UsageError } from './command-arguments.ts'

/** Options of the quickstart. */
export interface QuickstartOptions {
  /** Directory whose files are sent; `null` with `ndjson`, and in a replay of everything. */
  readonly tree: string | null
  /** File of lines to send, `-` for standard input; `null` for none. */
  readonly ndjson: string | null
  /** Field of a line that becomes its key. */
  readonly keyField: string | null
  readonly dataDir: string
  readonly replay: boolean
  /** The command for another run on the same data directory. Further options are appended to it. */
  readonly command: string
}

const DEFAULT_DATA_DIR = 'varve-data/quickstart'

export const QUICKSTART_HELP: string = `varve quickstart [INPUT] [options]

Sends one record per file of the directory INPUT (default: node_modules) through a producer to a
topic with four partitions, and lets a consumer group with two members hash the files. Run it again,
even after Ctrl-C or kill -9, and it continues from the committed offsets. Every input has its own
topics. INPUT is only read; the log is written to the data directory that --data names.

  --ndjson FILE  send the lines of FILE instead, or of standard input if FILE is -
  --key NAME     field of a line that becomes the record's key
  --replay       read everything in the log again from offset 0 and compare the digests;
                 with INPUT or --ndjson FILE, only the records of that input
  --data DIR     data directory (default: ${DEFAULT_DATA_DIR})
  --help         show this text

Exit codes: 0 done; 1 failed, or the digests differ; 2 the command line is invalid; 3 done, but
bad lines or files were left out; 130 stopped by Ctrl-C.
`

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Parses the arguments after `varve quickstart`.
 *
 * @param env environment variables, in which npm puts the options that it has kept for itself.
 * @throws UsageError
 */
export function parseQuickstartOptions(
  args: readonly string[],
  env: Environment = {},
): QuickstartOptions {
  const byNpm = env.npm_lifecycle_event === 'quickstart'
  if (byNpm) refuseKeptByNpm(env)
  const { values, positionals } = readArguments('varve quickstart', args, {
    ndjson: { type: 'string' },
    key: { type: 'string' },
    data: { type: 'string' },
    replay: { type: 'boolean' },
  })
  if (positionals.length > 1) {
    throw new UsageError(`quickstart takes at most one directory, got ${positionals.join(' and ')}`)
  }
  if (values.ndjson !== undefined && positionals.length > 0) {
    throw new UsageError('INPUT and --ndjson are mutually exclusive')
  }
  if (values.key !== undefined && values.ndjson === undefined) {
    throw new UsageError('--key requires --ndjson')
  }
  for (const [name, value] of [['INPUT', positionals[0]], ...Object.entries(values)]) {
    // An empty path would be the working directory, which nobody means by an unset variable.
    if (value === '') throw new UsageError(`${String(name)} is empty`)
  }
  const replay = values.replay ?? false
  const isTree = values.ndjson === undefined && (positionals.length > 0 || !replay)
  const command = byNpm ? 'npm run quickstart --' : 'varve quickstart'
  return {
    tree: isTree ? resolve(positionals[0] ?? defaultTree()) : null,
    ndjson: values.ndjson ?? null,
    keyField: values.key ?? null,
    dataDir: resolve(values.data ?? DEFAULT_DATA_DIR),
    replay,
    command: values.data === undefined ? command : `${command} --data ${quoted(values.data)}`,
  }
}

/** The word, quoted for a shell if necessary. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

/** `npm run quickstart --replay` passes the option to npm, which warns and runs without it. */
function refuseKeptByNpm(env: Environment): void {
  for (const name of ['ndjson', 'replay', 'data']) {
    if (env[`npm_config_${name}`] === undefined) continue
    throw new UsageError(
      `npm did not pass on --${name}; put two dashes before it: npm run quickstart -- --${name}`,
    )
  }
}

/** The package's own dependencies if it runs from its sources, otherwise those of the project. */
function defaultTree(): string {
  // An installed package has no sources, but may have a node_modules of its own.
  const sources = fileURLToPath(new URL('../../lib', import.meta.url))
  return existsSync(sources) ? join(sources, '../node_modules') : 'node_modules'
}
