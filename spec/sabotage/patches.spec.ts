import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

const ROOT = join(import.meta.dirname, '../..')
const PATCHES = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.patch'))
/** The runner applies patches with at least this many lines of context on either side. */
const CONTEXT_LINES = 1

interface Change {
  readonly path: string
  /** The lines that must be present: those to be removed, and their neighbours. */
  readonly oldLines: readonly string[]
}

function readPatch(name: string): string {
  return readFileSync(join(import.meta.dirname, name), 'utf8')
}

function changesOf(patch: string): readonly Change[] {
  return patch
    .split(/^diff --git .*$/m)
    .slice(1)
    .flatMap((part) => {
      const path = /^--- a\/(.+)$/m.exec(part)?.[1] ?? ''
      const hunks = part.split(/^@@ .*$/m).slice(1)
      return hunks.map((hunk) => ({ path, oldLines: oldLinesOf(hunk) }))
    })
}

function oldLinesOf(hunk: string): readonly string[] {
  const lines = hunk.split('\n').slice(1, -1)
  const isChange = (line: string): boolean => line.startsWith('-') || line.startsWith('+')
  const first = lines.findIndex(isChange)
  const last = lines.findLastIndex(isChange)
  return lines
    .slice(Math.max(0, first - CONTEXT_LINES), last + 1 + CONTEXT_LINES)
    .filter((line) => !line.startsWith('+'))
    .map((line) => line.slice(1))
}

describe('a planted bug', () => {
  it.each(PATCHES)('changes lines that exist, and names a spec that exists: %s', (name) => {
    const patch = readPatch(name)
    const spec = /^Spec: (.+)$/m.exec(patch)?.[1] ?? ''
    expect(existsSync(join(ROOT, spec)), `the spec ${spec}`).toBe(true)
    const changes = changesOf(patch)
    expect(changes).not.toEqual([])
    for (const { path, oldLines } of changes) {
      expect(oldLines, `what ${name} changes in ${path}`).not.toEqual([])
      const file = readFileSync(join(ROOT, path), 'utf8')
      expect(`\n${file}`, path).toContain(`\n${oldLines.join('\n')}\n`)
    }
  })
})
