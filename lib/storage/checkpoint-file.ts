import { CorruptRecordError } from '../errors.ts'
import { readWholeFile, replaceFile } from '../platform/file-io.ts'
import type { FileSystem } from '../platform/file-system.ts'

const VERSION = '0'
const MAX_CHECKPOINT_BYTES = 64 * 1024 * 1024
/** A line takes many times its size in memory. There are never this many partitions or epochs. */
const MAX_LINES = 500_000
/** How much of a damaged line an error message shows, in characters. */
const MAX_SHOWN_LENGTH = 60

/**
 * Kafka's text checkpoint: a version, a count, and that many lines of fields.
 *
 * ```
 * 0
 * 2
 * orders 0 120
 * orders 1 97
 * ```
 *
 * A write replaces the file as a whole, so a crash leaves either the old file or the new one.
 */
export class CheckpointFile {
  readonly path: string
  readonly #fileSystem: FileSystem
  readonly #fieldCount: number
  /** Content that the last write made durable. */
  #durableText: string | null = null

  constructor(fileSystem: FileSystem, path: string, fieldCount: number) {
    this.#fileSystem = fileSystem
    this.path = path
    this.#fieldCount = fieldCount
  }

  /**
   * Reads the lines, each split into its fields. Empty if the file does not exist or is empty.
   *
   * @throws {@link CorruptRecordError} if the version, the count or a line is invalid.
   */
  async read(): Promise<string[][]> {
    const content = await readWholeFile(this.#fileSystem, this.path, MAX_CHECKPOINT_BYTES)
    if (content === null || content.length === 0) return []
    const lines = content.toString('utf8').split('\n', MAX_LINES + 3)
    if (lines.at(-1) === '') lines.pop()
    if (lines[0] !== VERSION) throw this.corrupt(`version is '${shown(lines[0])}', not ${VERSION}`)
    const count = parseWholeNumber(lines[1])
    if (count === null || count !== lines.length - 2 || count > MAX_LINES) {
      throw this.corrupt(
        `it announces '${shown(lines[1])}' lines, but has ${lines.length - 2}; the maximum is ${MAX_LINES}`,
      )
    }
    return lines.slice(2).map((line) => {
      const fields = line.split(/\s+/, this.#fieldCount + 1)
      if (fields.length !== this.#fieldCount) {
        throw this.corrupt(`line '${shown(line)}' does not have ${this.#fieldCount} fields`)
      }
      return fields
    })
  }

  /**
   * Replaces the content, unless it equals the last write of this object. Durable when it resolves.
   */
  write(lines: readonly (readonly (string | number)[])[]): Promise<void> {
    return this.writeLines(lines.map((fields) => fields.join(' ')))
  }

  /** Like {@link CheckpointFile.write}, for lines with fields separated by spaces. */
  async writeLines(lines: readonly string[]): Promise<void> {
    const text = `${[VERSION, lines.length, ...lines].join('\n')}\n`
    if (text === this.#durableText) return
    this.#durableText = null
    await replaceFile(this.#fileSystem, this.path, text)
    this.#durableText = text
  }

  /** Parses a field as a whole number. @throws {@link CorruptRecordError} if it is not one. */
  wholeNumber(field: string | undefined): number {
    const value = parseWholeNumber(field)
    if (value === null) throw this.corrupt(`'${shown(field)}' is not a whole number`)
    return value
  }

  /** The error for a file with invalid content. */
  corrupt(reason: string): CorruptRecordError {
    return new CorruptRecordError(`checkpoint is damaged: ${reason}`, {
      path: this.path,
      position: 0,
    })
  }
}

function shown(text = ''): string {
  return text.length <= MAX_SHOWN_LENGTH ? text : `${text.slice(0, MAX_SHOWN_LENGTH)}…`
}

function parseWholeNumber(text: string | undefined): number | null {
  if (text === undefined || !/^\d{1,16}$/.test(text)) return null
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : null
}
