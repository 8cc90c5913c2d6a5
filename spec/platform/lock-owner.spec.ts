import fs from 'node:fs'
import promises, { open, writeFile } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  decodeOwnerName,
  decodeOwnerRecord,
  describeThisProcess,
  encodeOwnerName,
  encodeOwnerRecord,
  isOwnerGone,
  newOwnerToken,
  type OwnerProcess,
  type OwnerRecord,
} from '../../lib/platform/lock-owner.ts'
import { systemError } from '../../lib/platform/system-error.ts'
import { startScript } from '../helpers/compiled-lib.ts'
import { applyToBuiltins } from './builtin-spies.ts'
import { foreignRecord } from './lock-record.ts'
import { temporaryDirectory } from './temporary-directory.ts'

/** A process about which everything is known. No real process is examined on its behalf. */
const SELF: OwnerProcess = {
  pid: process.pid,
  threadId: process.pid,
  startTime: '1',
  host: 'here',
  bootId: 'boot',
  pidNamespace: 'pid:[2]',
  networkNamespace: 'net:[2]',
  timeNamespace: 'time:[2]',
}

const GUARD = 'varve-1-2'
const FILE = { dev: 0n, ino: 0n }
const NO_GUARD = { guard: null, file: FILE }

/** An owner that held the guard beside {@link SELF}, in a pid namespace that SELF cannot see. */
const GUARDED: OwnerRecord = foreignRecord({
  guard: GUARD,
  bootId: 'boot',
  networkNamespace: 'net:[2]',
})

describe('isOwnerGone', () => {
  it('returns true for an owner whose guard the caller holds', async () => {
    expect(await isOwnerGone(GUARDED, SELF, { guard: GUARD, file: FILE })).toBe(true)
  })

  it.each<[string, Partial<OwnerRecord>, Partial<OwnerProcess>, string | null]>([
    ['the caller has no guard', {}, {}, null],
    ['the guard is that of another directory', {}, {}, 'varve-1-3'],
    ['the owner had no guard', { guard: null }, {}, GUARD],
    ['the guard is in another network', { networkNamespace: 'net:[3]' }, {}, GUARD],
    ['the network is not known', { networkNamespace: null }, { networkNamespace: null }, GUARD],
    ['the machine was booted since', { bootId: 'earlier' }, {}, GUARD],
    ['the owner was a thread of a process that cannot be seen', { threadId: 1 }, {}, GUARD],
    ['the thread of the owner is not known', { threadId: null }, {}, GUARD],
    ['no boot is known', { bootId: null }, { bootId: null }, GUARD],
  ])('returns false when %s', async (_reason, record, self, guard) => {
    expect(
      await isOwnerGone({ ...GUARDED, ...record }, { ...SELF, ...self }, { guard, file: FILE }),
    ).toBe(false)
  })

  describe.runIf(process.platform === 'linux')('for a worker thread whose guard has ended', () => {
    it('returns false while its process has the lock file open for writing', async () => {
      const path = join(await temporaryDirectory(), 'lock')
      await writeFile(path, '')
      const self = describeThisProcess()
      const record = foreignRecord({ ...self, threadId: self.pid + 1, guard: GUARD })
      const writing = await open(path, 'r+')
      const found = { guard: GUARD, file: await writing.stat({ bigint: true }) }
      expect(await isOwnerGone(record, self, found)).toBe(false)
      await writing.close()
      const reading = await open(path, 'r')
      onTestFinished(() => reading.close())
      expect(await isOwnerGone(record, self, found)).toBe(true)
      expect(await isOwnerGone(record, self, { ...found, guard: null })).toBe(false)
    })

    it.each(['which files are open', 'how one is open'])(
      'returns false if the system does not tell %s',
      async (what) => {
        const path = join(await temporaryDirectory(), 'lock')
        await writeFile(path, '')
        const self = describeThisProcess()
        const record = foreignRecord({ ...self, threadId: self.pid + 1, guard: GUARD })
        const reading = await open(path, 'r')
        onTestFinished(() => reading.close())
        const found = { guard: GUARD, file: await reading.stat({ bigint: true }) }
        const { readFileSync } = fs
        applyToBuiltins(
          what === 'how one is open'
            ? vi.spyOn(fs, 'readFileSync').mockImplementation((target, options) => {
                if (String(target).includes('/fdinfo/'))
                  throw systemError('EACCES', 'open', String(target), 'denied')
                return readFileSync(target, options)
              })
            : vi
                .spyOn(promises, 'readdir')
                .mockRejectedValue(systemError('EACCES', 'scandir', '/proc', 'denied')),
        )
        expect(await isOwnerGone(record, self, found)).toBe(false)
      },
    )
  })

  describe.runIf(process.platform === 'linux')('without a guard', () => {
    it('returns false for a living process', async () => {
      const self = describeThisProcess()
      expect(await isOwnerGone(foreignRecord(self), self, NO_GUARD)).toBe(false)
    })

    it('recognizes a later process of the same pid by its start time', async () => {
      const self = describeThisProcess()
      const record = foreignRecord({ ...self, startTime: `${self.startTime}0` })
      expect(await isOwnerGone(record, self, NO_GUARD)).toBe(true)
      expect(await isOwnerGone({ ...record, startTime: null }, self, NO_GUARD)).toBe(false)
    })

    it('compares start times only within one time namespace', async () => {
      const self = describeThisProcess()
      const record = foreignRecord({ ...self, startTime: `${self.startTime}0` })
      for (const timeNamespace of ['time:[1]', null]) {
        expect(await isOwnerGone({ ...record, timeNamespace }, self, NO_GUARD)).toBe(false)
      }
      const old = { ...self, timeNamespace: null }
      expect(await isOwnerGone({ ...record, timeNamespace: null }, old, NO_GUARD)).toBe(true)
    })

    it('ignores a /proc that shows the processes of another pid namespace', async () => {
      const self = describeThisProcess()
      const record = foreignRecord({ ...self, startTime: `${self.startTime}0`, guard: GUARD })
      const { readlinkSync } = fs
      const linking = vi.spyOn(fs, 'readlinkSync')
      linking.mockImplementation((path) => (path === '/proc/self' ? '7' : readlinkSync(path)))
      syncBuiltinESMExports()
      onTestFinished(() => {
        linking.mockRestore()
        syncBuiltinESMExports()
      })
      expect(await isOwnerGone(record, self, NO_GUARD)).toBe(false)
      const thread = { ...record, startTime: self.startTime, threadId: self.pid + 1 }
      expect(await isOwnerGone(thread, self, { guard: GUARD, file: FILE })).toBe(false)
      expect(describeThisProcess()).toEqual({ ...self, startTime: null })
    })

    it('returns true for a process that has ended, only in the same pid namespace and boot', async () => {
      const script = startScript('')
      await script.ended
      const self = describeThisProcess()
      const record = foreignRecord({ ...self, pid: script.pid })
      expect(await isOwnerGone(record, self, NO_GUARD)).toBe(true)
      expect(await isOwnerGone({ ...record, pidNamespace: 'pid:[1]' }, self, NO_GUARD)).toBe(false)
      expect(await isOwnerGone({ ...record, pidNamespace: null }, self, NO_GUARD)).toBe(false)
      expect(await isOwnerGone({ ...record, bootId: 'earlier' }, self, NO_GUARD)).toBe(false)
    })
  })
})

describe('describeThisProcess', () => {
  it('returns the pid and host of this process, and the same in every call', () => {
    const self = describeThisProcess()
    expect(self.pid).toBe(process.pid)
    expect(self.host).not.toBe('')
    expect(describeThisProcess()).toEqual(self)
  })

  it('identifies a machine without namespaces by its name', async () => {
    const self = describeThisProcess('darwin')
    const script = startScript('')
    await script.ended
    const dead = foreignRecord({ ...self, pid: script.pid })
    expect(await isOwnerGone(dead, self, NO_GUARD)).toBe(true)
    expect(await isOwnerGone({ ...dead, pid: process.pid }, self, NO_GUARD)).toBe(false)
    const elsewhere = { ...dead, bootId: 'darwin elsewhere', pidNamespace: 'darwin elsewhere' }
    expect(await isOwnerGone(elsewhere, self, NO_GUARD)).toBe(false)
  })

  it.runIf(process.platform === 'linux')(
    'returns the start time, boot id and namespaces on Linux',
    () => {
      const self = describeThisProcess()
      // Kernels before 5.5 have none.
      expect(self.timeNamespace ?? 'time:[1]').toMatch(/^time:\[\d+\]$/)
      expect(self).toMatchObject({
        threadId: expect.any(Number) as number,
        startTime: expect.stringMatching(/^[1-9]\d*$/) as string,
        bootId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
        pidNamespace: expect.stringMatching(/^pid:\[\d+\]$/) as string,
        networkNamespace: expect.stringMatching(/^net:\[\d+\]$/) as string,
      })
    },
  )
})

describe('an owner record', () => {
  it('is decoded as it was encoded, on one line', () => {
    const record = { ...foreignRecord(), token: newOwnerToken(), bootId: null }
    const bytes = encodeOwnerRecord(record)
    expect(bytes.toString()).toMatch(/^[^\n]*\n$/)
    expect(decodeOwnerRecord(bytes)).toEqual(record)
  })

  it.each<[string, unknown]>([
    ['no object', null],
    ['a list', []],
    ['no token', { ...foreignRecord(), token: undefined }],
    ['no host', { ...foreignRecord(), host: 7 }],
    ['a pid that means a group of processes', { ...foreignRecord(), pid: 0 }],
    ['a negative pid', { ...foreignRecord(), pid: -1 }],
    ['a broken pid', { ...foreignRecord(), pid: 1.5 }],
    ['no time', { ...foreignRecord(), sinceMs: null }],
    ['a time that is no date', { ...foreignRecord(), sinceMs: 1e300 }],
  ])('is decoded to null with %s', (_what, content) => {
    expect(decodeOwnerRecord(Buffer.from(JSON.stringify(content)))).toBeNull()
  })

  it('is decoded to null if it is not JSON', () => {
    const bytes = encodeOwnerRecord(foreignRecord())
    expect(decodeOwnerRecord(bytes.subarray(0, bytes.length - 5))).toBeNull()
    expect(decodeOwnerRecord(Buffer.alloc(0))).toBeNull()
    expect(decodeOwnerRecord(Buffer.alloc(100))).toBeNull()
  })

  it('is decoded without a time namespace if an older version has written it', () => {
    const record = foreignRecord()
    const older = { ...record, timeNamespace: null }
    const content = JSON.stringify({ ...record, timeNamespace: undefined })
    expect(decodeOwnerRecord(Buffer.from(content))).toEqual(older)
    const name = encodeOwnerName(record) ?? ''
    expect(decodeOwnerName(name)).toEqual(record)
    expect(decodeOwnerName(name.slice(0, name.lastIndexOf(',')))).toEqual(older)
    expect(decodeOwnerName(`${name},`)).toBeNull()
  })

  it('drops unknown fields when it is decoded', () => {
    const text = JSON.stringify(foreignRecord()).replace('{', '{"__proto__":{"a":1},"more":2,')
    expect(decodeOwnerRecord(Buffer.from(text))).toEqual(foreignRecord())
  })

  it('has a different token every time', () => {
    expect(newOwnerToken()).toMatch(/^[0-9a-f]{32}$/)
    expect(newOwnerToken()).not.toBe(newOwnerToken())
  })
})
