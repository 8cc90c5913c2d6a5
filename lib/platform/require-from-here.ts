import { createRequire } from 'node:module'

/**
 * Finds and loads packages as a `require` in this file would.
 *
 * A CommonJS bundle may lack `import.meta.url` (esbuild leaves it undefined), and an exception here
 * would stop the whole application. Packages are then looked up next to the bundle. A bundle
 * evaluated from memory has no file either: nothing is found from there, and callers must allow for
 * it.
 */
export const requireFromHere: NodeJS.Require = createRequire(herePath())

function herePath(): string {
  const url = import.meta.url as string | undefined
  if (url !== undefined) return url
  return typeof __filename === 'string' ? __filename : process.execPath
}
