import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { findSyncSites, syncSitesIn, withSwitches } from './sync-sites.ts'

const PAGE = join(import.meta.dirname, '../../docs/GUARANTEES.md')

const SOURCE = `/** Calls file.sync() when it must. */
export async function write(file: File): Promise<void> {
  // Without file.sync() it may be lost.
  await file.sync()
  await orInDoubt('a sync failed', () => files.syncDirectory(dirname(path)))
}

class Log {
  sync(): Promise<void> {
    return this.#file?.datasync()
  }

  async #seal<T>(task: T): Promise<void> {
    if (task) await this.syncNames()
  }

  syncNow(): boolean {
    return this.#file?.datasyncNow?.() === true
  }
}
`

describe('the sync calls of the library', () => {
  it('are found outside comments, and named after the function that contains them', () => {
    expect(syncSitesIn('lib/a.ts', SOURCE).map(({ name }) => name)).toEqual([
      'lib/a.ts write',
      'lib/a.ts write (2)',
      'lib/a.ts sync',
      'lib/a.ts #seal',
      'lib/a.ts sync',
    ])
  })

  it('can be left out one by one without changing any other code', () => {
    const switched = withSwitches(join(import.meta.dirname, '../../lib/a.ts'), SOURCE)
    expect(switched).toContain(
      '() => globalThis.varveSync("lib/a.ts write (2)", () => files.syncDirectory(dirname(path))))',
    )
    const restored = switched.replaceAll(
      /globalThis\.varveSync(?:Now)?\("[^"]+", \(\) => (.+?\)+?)\)/g,
      '$1',
    )
    expect(restored).toBe(SOURCE)
  })

  it('are exactly those in the table of GUARANTEES.md', () => {
    const [, section = ''] = readFileSync(PAGE, 'utf8').split('## Every sync\n')
    const [table = ''] = section.split('\n## ')
    const rows = [...table.matchAll(/^\| `([^`]+)`/gm)].map((match) => `lib/${match[1] ?? ''}`)
    expect(rows).toEqual(findSyncSites().map(({ name }) => name))
  })
})
