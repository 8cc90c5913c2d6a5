import { describe, expect, it } from 'vitest'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DIR, openLog, pathOf, SMALL, writtenLog } from './log-fixtures.ts'

const KEEP = { config: { ...SMALL, retentionMs: -1 } }

/**
 * A log of nine records in several segments, whose last write was torn; and the files that hold the
 * truncated bytes.
 */
async function tornLog(): Promise<{ fs: SimulatedFileSystem; kept: () => string[] }> {
  const fs = await writtenLog(9, { ...KEEP, close: false })
  const last =
    [...fs.snapshot().keys()]
      .filter((path) => path.endsWith('.log'))
      .sort()
      .at(-1) ?? ''
  fs.writeFile(last, Buffer.concat([fs.readFile(last), Buffer.from('torn')]))
  return { fs, kept: () => [...fs.snapshot().keys()].filter((path) => path.endsWith('.torn')) }
}

describe('files with truncated bytes', () => {
  it('stay as long as their segment, and are deleted when the log starts after it', async () => {
    const { fs, kept } = await tornLog()
    const log = await openLog(fs, KEEP)
    const [{ keptIn } = { keptIn: null }] = log.recovery.truncations
    expect(kept()).toEqual([keptIn])
    for (let each = 0; each < 9; each += 1) await log.append([{ value: 'more' }])
    const base = Number(/(\d{20})\.log/.exec(keptIn ?? '')?.[1])
    await log.advanceLogStartOffset(base)
    expect([log.segments[0]?.baseOffset, kept()]).toEqual([base, [keptIn]])
    await log.advanceLogStartOffset(log.logEndOffset)
    expect(kept()).toEqual([])
    await log.close()
  })

  it('are deleted after a later open too, and keep no segment if their deletion fails', async () => {
    const { fs, kept } = await tornLog()
    fs.writeFile(`${pathOf(0)}.5.torn`, Buffer.from('of a segment that is gone'))
    fs.writeFile(`${DIR}/notes.torn`, Buffer.from("somebody's own"))
    await (await openLog(fs, KEEP)).close()
    const log = await openLog(fs, KEEP)
    expect(kept()).toHaveLength(3)
    for (let each = 0; each < 9; each += 1) await log.append([{ value: 'more' }])
    fs.failNext('unlink', 'EIO', { path: /\.torn$/ })
    const firstSegment = log.segments[0]
    await log.advanceLogStartOffset(log.logEndOffset)
    expect(log.segments).not.toContain(firstSegment)
    expect(kept()).toHaveLength(2)
    for (let each = 0; each < 9; each += 1) await log.append([{ value: 'last' }])
    await log.advanceLogStartOffset(log.logEndOffset)
    expect(kept()).toEqual([`${DIR}/notes.torn`])
    await log.close()
  })
})
