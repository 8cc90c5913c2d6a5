import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Node.js' own compile cache, which stays there. */
const OF_NODE = ['node-compile-cache']

/**
 * Sets up one temporary directory for all specs and the processes that they start. The run fails if
 * a spec leaves a file there: on a machine that often runs them, leftover logs would pile up.
 */
export default function setUp(): () => void {
  const dir = mkdtempSync(join(tmpdir(), 'varve-temporary-'))
  // Which variable counts depends on the operating system.
  for (const name of ['TMPDIR', 'TEMP', 'TMP']) process.env[name] = dir
  return () => {
    const left = readdirSync(dir).filter((name) => !OF_NODE.includes(name))
    rmSync(dir, { recursive: true, force: true })
    if (left.length > 0) throw new Error(`specs have left temporary files: ${left.join(', ')}`)
  }
}
