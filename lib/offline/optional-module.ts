import { VarveError } from '../index.ts'

/** A package that this part of the library needs is not installed. */
export class MissingModuleError extends VarveError {
  override readonly name = 'MissingModuleError'
  readonly code = 'MISSING_MODULE'
  /** Name of the package. */
  readonly module: string

  constructor(module: string, purpose: string, cause: unknown) {
    super(`${purpose} needs the package ${module}: npm install ${module}`, { cause })
    this.module = module
  }
}

/**
 * The error to throw if the import of an optional peer dependency fails.
 *
 * The import itself must be written where it is needed, with a literal name and directly inside a
 * `try`. Only then does a bundler treat it as one that may fail, and build a bundle without the
 * package.
 *
 * @param purpose what cannot be done without the package, as the subject of a sentence.
 * @returns a {@link MissingModuleError} if the package is not installed; `error` if it is installed
 * but fails to load.
 */
export function importError(error: unknown, module: string, purpose: string): unknown {
  return isMissing(error, module) ? new MissingModuleError(module, purpose, error) : error
}

/** Start of the message of an import, of `require` (also in a bundle), or of Vite's bundles. */
const NOT_FOUND = /^(?:Cannot find (?:package|module)|Could not resolve) ['"]([^'"]+)['"]/

/** A package that is installed but lacks a dependency of its own does not count as missing. */
function isMissing(error: unknown, module: string): boolean {
  const { code, message } = error as { code?: unknown; message?: unknown }
  // Vite sets no code.
  const codes: unknown[] = ['ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND', undefined]
  if (!codes.includes(code)) return false
  const [, asked = ''] = NOT_FOUND.exec(String(message)) ?? []
  return asked === module || asked.startsWith(`${module}/`)
}
