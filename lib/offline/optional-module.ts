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
 * What the import of an optional peer has failed with, for whoever asked for what needs it.
 *
 * The import itself stands at the place where it is needed, by a name that is written out and right inside
 * of a `try`: only so a bundler takes it for one that may fail, and makes a bundle without the package.
 *
 * @param purpose what cannot be done without it, as the subject of a sentence.
 * @returns a {@link MissingModuleError} when it is not installed; `error` when something is wrong inside of it.
 */
export function importError(error: unknown, module: string, purpose: string): unknown {
  return isMissing(error, module) ? new MissingModuleError(module, purpose, error) : error
}

/** How it begins to say so: an import, a `require` also where it is that of a bundle, and Vite in a bundle of its own. */
const NOT_FOUND = /^(?:Cannot find (?:package|module)|Could not resolve) ['"]([^'"]+)['"]/

/** One that is there but lacks a package of its own is another matter. */
function isMissing(error: unknown, module: string): boolean {
  const { code, message } = error as { code?: unknown; message?: unknown }
  // Vite gives none.
  const codes: unknown[] = ['ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND', undefined]
  if (!codes.includes(code)) return false
  const [, asked = ''] = NOT_FOUND.exec(String(message)) ?? []
  return asked === module || asked.startsWith(`${module}/`)
}
