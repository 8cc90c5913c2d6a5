import { describe, expect, it } from 'vitest'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
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

  it('are never replaced by other bytes that are cut at the same position', async () => {
    const config = { segmentBytes: 4096, flushMessages: 1000 }
    const fs = new SimulatedFileSystem({ seed: 1 })
    const log = await openLog(fs, { config })
    await log.append([{ value: 'durable' }])
    await log.flush()
    for (let each = 0; each < 5; each += 1) await log.append([{ value: `acknowledged ${each}` }])
    const acknowledged = fs.readFile(pathOf(0)).subarray(fs.readFile(pathOf(0)).indexOf('durable'))
    fs.failNext('datasync', 'EIO')
    fs.failNext('truncate', 'EIO', { path: pathOf(0) })
    await expect(log.flush()).rejects.toThrow()
    await log.close().catch(() => undefined)
    const again = await openLog(fs, { config })
    const [first = ''] = again.recovery.truncations.map(({ keptIn }) => keptIn ?? '')
    const kept = fs.readFile(first)
    expect(acknowledged.includes(kept)).toBe(true)
    await again.append([{ value: 'next' }])
    const stopped = fs.restart('process')
    const whole = stopped.readFile(pathOf(0))
    stopped.writeFile(pathOf(0), whole.subarray(0, whole.length - 3))
    const moments: SimulatedFileSystem[] = []
    stopped.observe(() => moments.push(stopped.fork()))
    const last = await openLog(stopped, { config })
    stopped.observe(null)
    const second = first.replace(/\.torn$/, '.2.torn')
    expect(last.recovery.truncations).toMatchObject([{ keptIn: second }])
    expect(stopped.readFile(first)).toEqual(kept)
    expect(
      whole.subarray(0, -3).toString('hex').endsWith(stopped.readFile(second).toString('hex')),
    ).toBe(true)
    // An open after an interrupted one writes nothing twice.
    for (const moment of moments) {
      const next = moment.restart('process')
      await openLog(next, { config })
      const torn = [...next.snapshot().keys()].filter((path) => path.endsWith('.torn'))
      expect(torn).toEqual([second, first].sort())
    }
    await last.advanceLogStartOffset(last.logEndOffset)
    await last.roll()
    await last.advanceLogStartOffset(last.logEndOffset)
    expect([...stopped.snapshot().keys()].filter((path) => path.endsWith('.torn'))).toEqual([])
  })

  it('are written again by an open that finds them in the page cache only', async () => {
    const filled = await tornLog()
    const { fs } = filled
    fs.observe(({ kind, path }) => {
      if (kind === 'rename' && path.includes('.torn')) fs.failNext('syncDirectory', 'EIO')
    })
    await expect(openLog(fs, KEEP)).rejects.toThrow('EIO')
    const stopped = fs.restart('process')
    const log = await openLog(stopped, KEEP)
    const [{ keptIn } = { keptIn: null }] = log.recovery.truncations
    expect(filled.kept()).toEqual([keptIn])
    for (let seed = 1; seed <= 20; seed += 1) {
      const lost = stopped.fork({ seed }).restart('power', { unsynced: 'lost', seed })
      expect(lost.readFile(keptIn ?? '').toString(), `seed ${seed}`).toBe('torn')
    }
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
