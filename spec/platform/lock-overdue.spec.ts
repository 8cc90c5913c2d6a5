import { execFileSync } from 'node:child_process'
import { closeSync, openSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { lockDirectory } from '../../lib/platform/directory-lock.ts'
import { LOCK_FILE_NAME, LockFile } from '../../lib/platform/lock-file.ts'
import { newOwnerToken } from '../../lib/platform/lock-owner.ts'
import { HEARTBEAT_MS, LOCK_TIMES, STALE_AFTER_MS } from '../../lib/platform/lock-times.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { eventually } from '../helpers/eventually.ts'
import { foreignRecord } from './lock-record.ts'
import { temporaryDirectory } from './temporary-directory.ts'

function timeOf(directory: string): number {
  return Math.round(statSync(join(directory, LOCK_FILE_NAME)).mtimeMs)
}

/** Makes every thread of the pool wait for a writer to a FIFO, until the test ends. */
function keepPoolBusy(fifo: string): void {
  execFileSync('mkfifo', [fifo])
  const threads = Number(process.env['UV_THREADPOOL_SIZE'] ?? 4)
  const opening = Array.from({ length: threads }, () => open(fifo, 'r'))
  onTestFinished(async () => {
    const fd = openSync(fifo, 'r+')
    for (const handle of await Promise.all(opening)) await handle.close()
    closeSync(fd)
  })
}

describe.skipIf(process.platform === 'win32')(
  'a lock while all threads of the pool are busy',
  () => {
    it.each([
      ['has made heartbeats', 1],
      ['has made none', 0],
    ])('never looks stale if it %s', async (_, beats) => {
      const directory = await temporaryDirectory()
      const clock = new ManualClock(Date.now())
      const lock = await lockDirectory(directory, { clock, times: LOCK_TIMES })
      onTestFinished(() => lock.release())
      const takenMs = timeOf(directory)
      if (beats > 0) {
        await clock.advance(HEARTBEAT_MS)
        await eventually(() => {
          expect(timeOf(directory)).not.toBe(takenMs)
        })
      }
      keepPoolBusy(join(await temporaryDirectory(), 'fifo'))
      for (let passedMs = 0; passedMs <= 2 * STALE_AFTER_MS; passedMs += HEARTBEAT_MS) {
        await clock.advance(HEARTBEAT_MS)
        expect(clock.now() - timeOf(directory)).toBeLessThan(STALE_AFTER_MS / 2 + HEARTBEAT_MS)
        expect(lock.held).toBe(true)
      }
    })
  },
)

describe('a lock of a process with faked time', () => {
  async function take(clock: ManualClock): Promise<{ directory: string; lockFile: LockFile }> {
    const directory = await temporaryDirectory()
    const reasons: Error[] = []
    const lockFile = await LockFile.take({
      directory,
      onCompromised: (reason) => reasons.push(reason),
      isOwnerGone: () => Promise.resolve(false),
      clock,
      times: { ...LOCK_TIMES, graceMs: 0 },
      record: foreignRecord({ token: newOwnerToken() }),
    })
    if (lockFile === null) throw new Error('the lock was not taken')
    onTestFinished(async () => {
      await lockFile.release()
      expect(reasons).toEqual([])
    })
    return { directory, lockFile }
  }

  it('is renewed even if timers stand still', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const clock = new ManualClock(Date.now())
    const { directory, lockFile } = await take(clock)
    await lockFile.startHeartbeats()
    for (let passedMs = 0; passedMs <= 2 * STALE_AFTER_MS; passedMs += HEARTBEAT_MS) {
      await clock.advance(HEARTBEAT_MS)
      await lockFile.startHeartbeats()
      expect(clock.now() - timeOf(directory)).toBeLessThan(STALE_AFTER_MS / 2)
    }
  })

  it('is renewed with the time of its clock, not with the faked date', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
    const clock = new ManualClock(Date.now())
    const { directory, lockFile } = await take(clock)
    await lockFile.startHeartbeats()
    vi.setSystemTime(1_600_000_000_000)
    await clock.advance(HEARTBEAT_MS)
    vi.advanceTimersByTime(HEARTBEAT_MS)
    await eventually(() => {
      expect(timeOf(directory)).toBe(clock.now())
    })
  })
})
