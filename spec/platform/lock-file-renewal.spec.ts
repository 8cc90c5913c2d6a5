import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { LOCK_FILE_NAME, LockFile } from '../../lib/platform/lock-file.ts'
import { HEARTBEAT_MS, LOCK_TIMES, STALE_AFTER_MS } from '../../lib/platform/lock-times.ts'
import { newOwnerToken } from '../../lib/platform/lock-owner.ts'
import { systemError } from '../../lib/platform/system-error.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { foreignRecord } from './lock-record.ts'
import { temporaryDirectory } from './temporary-directory.ts'

vi.mock('../../lib/platform/foreign-modules.ts', () => ({
  loadProperLockfile: () =>
    Promise.reject(systemError('EMFILE', 'open', 'proper-lockfile', 'too many open files')),
}))

it('a lock whose heartbeats cannot be started for lack of descriptors is still renewed', async () => {
  const directory = await temporaryDirectory()
  const clock = new ManualClock(1_700_000_000_000)
  const reasons: Error[] = []
  const lockFile = await LockFile.take({
    directory,
    onCompromised: (reason) => reasons.push(reason),
    isOwnerGone: () => Promise.resolve(false),
    clock,
    times: { ...LOCK_TIMES, graceMs: 0 },
    record: foreignRecord({ token: newOwnerToken() }),
  })
  onTestFinished(() => lockFile?.release())
  for (let passedMs = 0; passedMs <= 2 * STALE_AFTER_MS; passedMs += HEARTBEAT_MS) {
    await clock.advance(HEARTBEAT_MS)
    await lockFile?.startHeartbeats()
    expect((await stat(join(directory, LOCK_FILE_NAME))).mtimeMs).toBe(clock.now())
  }
  expect(reasons).toEqual([])
})
