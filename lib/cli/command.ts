import type { Readable, Writable } from 'node:stream'

/** The streams of a command: those of the process, or of a test. */
export interface CommandStreams {
  readonly stdin: Readable
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number }
  readonly stderr: Writable
  /** Environment variables, none by default. */
  readonly env?: Readonly<Record<string, string | undefined>>
}

/** A command of `varve`. */
export interface Command {
  /** Its arguments, such as `DIR [TOPIC...]`. */
  readonly usage: string
  /** Its line in the list of all commands. */
  readonly summary: string
  readonly help: string
  /**
   * @param args after the name.
   * @returns the exit code.
   * @throws UsageError, InputError or a VarveError, of which the user sees only the message.
   */
  run(args: readonly string[], streams: CommandStreams): Promise<number>
}

/** Exit code of a command that completed and found a problem. */
export const FOUND_BAD = 3
