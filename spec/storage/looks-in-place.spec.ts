import { describe, expect, it } from 'vitest'
import { OpenFiles, shareOpenFiles } from '../../lib/platform/open-files.ts'
import type { AppendResult } from '../../lib/storage/append-record.ts'
import { Log } from '../../lib/storage/log.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DIR, NOW, bytesOf, openLog, pathOf, valuesOf } from './log-fixtures.ts'

const SECOND_MS = 1_000

const REMOVALS = [
  ['was unlinked', (fs: SimulatedFileSystem) => fs.unlink(pathOf(0))],
  [
    'was replaced by a copy',
    async (fs: SimulatedFileSystem) => {
      await fs.rename(pathOf(0), '/elsewhere')
      fs.writeFile(pathOf(0), fs.readFile('/elsewhere'))
    },
  ],
  ['went with its directory', (fs: SimulatedFileSystem) => fs.rename(DIR, '/elsewhere')],
] as const

const INSIDE = 'inside of the call'

/** Every way in which a look can proceed. All must find the same. */
const WAYS: readonly (readonly [string, (fs: SimulatedFileSystem) => void])[] = [
  [INSIDE, () => undefined],
  ['that has to be waited for', (fs) => (fs.statNow = () => undefined)],
  [
    'on a file system that has no other',
    (fs) => Object.defineProperty(fs, 'statNow', { value: undefined }),
  ],
]

interface Fixture {
  readonly fs: SimulatedFileSystem
  readonly clock: ManualClock
  readonly log: Log
}

/** A log of one record, whose file is open. */
async function begunLog(fs = new SimulatedFileSystem()): Promise<Fixture> {
  const clock = new ManualClock(NOW)
  const log = await openLog(fs, { clock, config: {} })
  await log.append([{ value: 'v0' }])
  return { fs, clock, log }
}

/** Such a log whose file was closed as unused. */
async function parkedLog(): Promise<Fixture> {
  const fs = new SimulatedFileSystem()
  shareOpenFiles(fs, new OpenFiles(1))
  const begun = await begunLog(fs)
  const other = await Log.open('/others-0', { fileSystem: fs, clock: begun.clock })
  await other.append([{ value: 'v' }])
  return begun
}

/** The calls with the path of the log file from now on, in order. */
function callsOf(fs: SimulatedFileSystem): string[] {
  const calls: string[] = []
  fs.observe(({ kind, path }) => {
    if (path === pathOf(0)) calls.push(kind)
  })
  return calls
}

function append(log: Log, value: string): AppendResult | Promise<AppendResult> {
  return log.prompt.appendBatches([bytesOf({ values: [value] })])
}

async function expectGone(log: Log, appending: unknown): Promise<void> {
  await expect(appending).rejects.toMatchObject({ outcome: 'unknown', cause: { code: 'ENOENT' } })
  expect(log.isWritable).toBe(false)
}

describe.each(WAYS)('a check for the log file %s', (way, prepare) => {
  it.each(REMOVALS)('rejects the append that triggers it if the file %s', async (_, go) => {
    const { fs, clock, log } = await begunLog()
    prepare(fs)
    await go(fs)
    clock.setTime(NOW + SECOND_MS - 1)
    expect(append(log, 'v1')).not.toBeInstanceOf(Promise)
    await log.flush()
    clock.setTime(NOW + SECOND_MS)
    await expectGone(log, append(log, 'x'))
    await expect(append(log, 'y')).rejects.toMatchObject({ outcome: 'not-written' })
    expect(await valuesOf(log)).toEqual(['v0', 'v1'])
  })

  it('is made once a second while the file is in its place', async () => {
    const { fs, clock, log } = await begunLog()
    prepare(fs)
    const calls = callsOf(fs)
    const waits: boolean[] = []
    for (const afterMs of [0, 500, 1000, 1500, 1999, 2000]) {
      clock.setTime(NOW + afterMs)
      const appending = append(log, 'v')
      waits.push(appending instanceof Promise)
      await appending
    }
    const isWaitedFor = way !== INSIDE
    expect(waits).toEqual([false, false, isWaitedFor, false, false, isWaitedFor])
    const untilLook = ['write', 'write', 'write', 'stat']
    expect(calls).toEqual([...untilLook, ...untilLook])
  })

  it('is also made after a short write', async () => {
    const { fs, clock, log } = await begunLog()
    prepare(fs)
    await fs.unlink(pathOf(0))
    clock.setTime(NOW + SECOND_MS)
    fs.shortWriteAt(1, 10)
    await expectGone(log, append(log, 'x'))
  })

  it('is also made after an append that returns a promise', async () => {
    const { fs, clock, log } = await begunLog()
    prepare(fs)
    await fs.unlink(pathOf(0))
    clock.setTime(NOW + SECOND_MS)
    await expectGone(log, log.append([{ value: 'x' }]))
  })

  it('reports nothing if it fails, and the next append checks again', async () => {
    const { fs, clock, log } = await begunLog()
    prepare(fs)
    clock.setTime(NOW + SECOND_MS)
    fs.failNext('stat', 'EIO', { persistent: true })
    await append(log, 'v1')
    fs.clearFaults()
    await fs.unlink(pathOf(0))
    await expectGone(log, append(log, 'x'))
  })
})

describe('a log file that was closed as unused', () => {
  it('is found by the append that reopens it, which makes no second check', async () => {
    const { fs, clock, log } = await parkedLog()
    clock.setTime(NOW + 5 * SECOND_MS)
    const calls = callsOf(fs)
    await append(log, 'v1')
    expect(calls.filter((call) => call !== 'close')).toEqual(['open', 'write'])
    await fs.unlink(pathOf(0))
    clock.setTime(NOW + 6 * SECOND_MS - 1)
    await append(log, 'v2')
    clock.setTime(NOW + 6 * SECOND_MS)
    await expectGone(log, append(log, 'x'))
  })

  it.each(REMOVALS)('is not written to if it %s meanwhile', async (_, go) => {
    const { fs, log } = await parkedLog()
    await go(fs)
    const before = fs.snapshot()
    await expectGone(log, append(log, 'x'))
    for (const [path, bytes] of fs.snapshot()) {
      if (/\.log$/.test(path)) expect(bytes, path).toEqual(before.get(path))
    }
  })

  it('is checked by the next append even if a reader has reopened it before', async () => {
    const { fs, clock, log } = await parkedLog()
    expect(await valuesOf(log)).toEqual(['v0'])
    await fs.unlink(pathOf(0))
    clock.setTime(NOW + SECOND_MS)
    await expectGone(log, append(log, 'x'))
  })

  it('is checked after an append that takes a second', async () => {
    const { fs, clock, log } = await parkedLog()
    clock.setTime(NOW + 5 * SECOND_MS)
    fs.observe(({ kind, path }) => {
      if (path !== pathOf(0) || kind !== 'write') return
      fs.observe(null)
      clock.setTime(NOW + 6 * SECOND_MS)
      void fs.unlink(pathOf(0))
    })
    await expectGone(log, append(log, 'x'))
  })
})
