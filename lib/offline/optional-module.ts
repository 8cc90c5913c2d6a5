import { VarveError } from '../index.ts'

/** A package that this part of the library works with, and that is not installed. */
export class MissingModuleError extends VarveError {
  override readonly name = 'MissingModuleError'
  readonly code = 'MISSING_MODULE'
  /** The package's name. */
  readonly module: string

  constructor(module: string, purpose: string, cause: unknown) {
    super(`${purpose} needs the package ${module}: npm install ${module}`, { cause })
    this.module = module
  }
}

/**
 * Loads an optional peer when it is first needed.
 *
 * @param purpose what cannot be done without it, as the subject of a sentence.
 * @param load imports it by a name that is written out, so that bundlers see it.
 * @throws {@link MissingModuleError} when it is not installed; what is wrong inside of it otherwise.
 */
export async function loadOptional<T>(
  module: string,
  purpose: string,
  load: () => Promise<T>,
): Promise<T> {
  try {
    return await load()
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: unknown }
    const isMissing = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND'
    // One that is there but lacks a package of its own is another matter.
    if (!isMissing || !String(message).includes(`'${module}'`)) throw error
    throw new MissingModuleError(module, purpose, error)
  }
}
