import { reasonOf } from '../checks.ts'
import { OffsetOutOfRangeError, VarveError, type Partition } from '../index.ts'
import { isSystemError } from '../platform/system-error.ts'

/** The file under an import's name is another one, or the part of it that was read has changed. */
export class ImportFileChangedError extends VarveError {
  override readonly name = 'ImportFileChangedError'
  readonly code = 'IMPORT_FILE_CHANGED'
  readonly path: string
  readonly importName: string

  constructor(path: string, importName: string, reason: string) {
    super(
      `${path} is not the file that was previously imported as '${importName}': ${reason}. ` +
        'Another file needs another import name',
    )
    this.path = path
    this.importName = importName
  }
}

/** The file as a whole does not match its format. Single bad rows are rejected without error. */
export class ImportFileError extends VarveError {
  override readonly name = 'ImportFileError'
  readonly code = 'IMPORT_FILE_INVALID'
  readonly path: string

  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(`${path} cannot be imported: ${reason}`, options)
    this.path = path
  }
}

/** The error of reading a file. A disk that fails says nothing about the file. */
export function readError(path: string, what: string, cause: unknown): Error {
  if (cause instanceof ImportFileError || isSystemError(cause)) return cause
  return new ImportFileError(path, `it cannot be ${what}: ${reasonOf(cause)}`, { cause })
}

/** The error for records from an offset on that an import has stored and the log has lost. */
export function rowsCutOff(
  { topic, index, logStartOffset, logEndOffset }: Partition,
  offset: number,
  remedy: string,
): OffsetOutOfRangeError {
  return new OffsetOutOfRangeError(
    { topic, partition: index, offset, logStartOffset, logEndOffset },
    `the records of ${topic}-${index} from offset ${offset} on were truncated, ` +
      `including rows of an import: ${remedy}`,
  )
}
