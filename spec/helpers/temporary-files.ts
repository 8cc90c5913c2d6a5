import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What Node.js itself leaves there, for the next time that it compiles. */
const OF_NODE = ['node-compile-cache']

/**
 * Gives all specs, and the processes that they start, a temporary directory of their own. They fail when
 * one of them leaves something there: whoever runs them often would find thousands of logs some day.
 */
export default function setUp(): () => void {
  const dir = mkdtempSync(join(tmpdir(), 'varve-temporary-'))
  // Which of them counts is the system's.
  for (const name of ['TMPDIR', 'TEMP', 'TMP']) process.env[name] = dir
  return () => {
    const left = readdirSync(dir).filter((name) => !OF_NODE.includes(name))
    rmSync(dir, { recursive: true, force: true })
    if (left.length > 0) throw new Error(`specs have left temporary files: ${left.join(', ')}`)
  }
}
