import { createRequire } from 'node:module'

/**
 * Finds and loads packages as a `require` in this file would.
 *
 * A bundle of CommonJS need not have an `import.meta.url`: esbuild leaves it undefined, and what throws
 * here takes the whole application down with it. Its packages are looked for beside the bundle then.
 * One that is evaluated from memory has no file either; nothing is found from there, which whoever
 * looks has to be ready for.
 */
export const requireFromHere: NodeJS.Require = createRequire(herePath())

function herePath(): string {
  const url = import.meta.url as string | undefined
  if (url !== undefined) return url
  return typeof __filename === 'string' ? __filename : process.execPath
}
