import { parseArgs, type ParseArgsConfig } from 'node:util'

/** An invalid command line. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** An input that cannot be read. */
export class InputError extends Error {
  override readonly name = 'InputError'
}

type Options = NonNullable<ParseArgsConfig['options']>

type Parsed<O extends Options> = ReturnType<
  typeof parseArgs<{ args: string[]; allowPositionals: true; options: O }>
>

/**
 * Parses the arguments after the name of a command.
 *
 * @param command with which they were given, such as `varve dump`
 * @throws UsageError for unknown options, and for options without the value that they take.
 */
export function readArguments<const O extends Options>(
  command: string,
  args: readonly string[],
  options: O,
): Parsed<O> {
  try {
    return parseArgs({ args: [...args], allowPositionals: true, options })
  } catch (error) {
    // The rest of the message is about file names that begin with a dash.
    const [message = ''] = (error instanceof Error ? error.message : String(error)).split(/\.\s/)
    throw new UsageError(`${message}; ${command} --help lists the options`)
  }
}
