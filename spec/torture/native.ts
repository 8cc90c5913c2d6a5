import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const SOURCES = fileURLToPath(new URL('native', import.meta.url))
const CACHE = fileURLToPath(
  new URL('../../node_modules/.cache/varve-torture-native', import.meta.url),
)

/** Builds `native/<name>.c`, unless the same source was built before. @returns its path. */
export function nativeProgram(name: string): string {
  return build(name, [])
}

/** {@link nativeProgram} for a library that is loaded into another program with `LD_PRELOAD`. */
export function nativeLibrary(name: string): string {
  return build(name, ['-shared', '-fPIC', '-ldl'])
}

function build(name: string, flags: readonly string[]): string {
  const source = join(SOURCES, `${name}.c`)
  const key = createHash('sha256')
    .update(readFileSync(source))
    .update(flags.join(' '))
    .digest('hex')
  const target = join(CACHE, `${name}-${key.slice(0, 16)}`)
  if (existsSync(target)) return target
  mkdirSync(CACHE, { recursive: true })
  // Concurrent parts find the complete program under the final name, or no file.
  const ownPath = `${target}.${process.pid}`
  const args = ['-O1', '-Wall', '-Werror', '-o', ownPath, source, ...flags]
  const { status, stderr } = spawnSync('gcc', args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`gcc does not take ${source}:\n${stderr}`)
  renameSync(ownPath, target)
  return target
}
