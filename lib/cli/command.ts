import type { Readable, Writable } from 'node:stream'

/** Where a command reads from and writes to: the process, or a test. */
export interface CommandStreams {
  readonly stdin: Readable
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number }
  readonly stderr: Writable
  /** Variables of the process, none by default. */
  readonly env?: Readonly<Record<string, string | undefined>>
}

/** What stands behind `varve` on a command line. */
export interface Command {
  /** What it takes, as `DIR [TOPIC...]`. */
  readonly usage: string
  /** One line in the list of all commands. */
  readonly summary: string
  readonly help: string
  /**
   * @param args behind the name.
   * @returns the exit code.
   * @throws UsageError, InputError or a VarveError, whose message is all that the user is told.
   */
  run(args: readonly string[], streams: CommandStreams): Promise<number>
}

/** Exit code of what was done and has found something that is not as it should be. */
export const FOUND_BAD = 3
