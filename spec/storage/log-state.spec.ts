import { describe, expect, it } from 'vitest'
import { createDurably } from '../../lib/storage/log-options.ts'
import {
  LOG_START_OFFSET_FILE,
  LogStateFiles,
  RECOVERY_POINT_FILE,
  partitionOfDirectory,
} from '../../lib/storage/log-state.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

async function fixture(): Promise<{ fs: SimulatedFileSystem; files: LogStateFiles }> {
  const fs = new SimulatedFileSystem()
  await createDurably(fs, '/d')
  return { fs, files: new LogStateFiles(fs, '/d') }
}

describe('LogStateFiles', () => {
  it('stores recovery points, and log start offsets that are not 0', async () => {
    const { fs, files } = await fixture()
    const states = new Map([
      ['a-0', { recoveryPoint: 7, logStartOffset: 0 }],
      ['b-c-12', { recoveryPoint: 9, logStartOffset: 4 }],
    ])
    await files.write(states)
    expect(fs.readFile(`/d/${RECOVERY_POINT_FILE}`).toString()).toBe('0\n2\na 0 7\nb-c 12 9\n')
    expect(fs.readFile(`/d/${LOG_START_OFFSET_FILE}`).toString()).toBe('0\n1\nb-c 12 4\n')
    expect(await new LogStateFiles(fs, '/d').read()).toEqual(states)
  })

  it('treats a damaged checkpoint as a missing one', async () => {
    const { fs, files } = await fixture()
    await files.write(new Map([['a-0', { recoveryPoint: 7, logStartOffset: 3 }]]))
    fs.writeFile(`/d/${RECOVERY_POINT_FILE}`, Buffer.from('garbage'))
    expect(await files.read()).toEqual(new Map([['a-0', { recoveryPoint: 0, logStartOffset: 3 }]]))
    fs.writeFile(`/d/${LOG_START_OFFSET_FILE}`, Buffer.from('0\n1\na x 3\n'))
    expect(await files.read()).toEqual(new Map())
  })

  it('rejects on a disk error instead of treating the checkpoint as missing', async () => {
    const { fs, files } = await fixture()
    await files.write(new Map([['a-0', { recoveryPoint: 7, logStartOffset: 3 }]]))
    fs.failNext('read', 'EIO')
    await expect(files.read()).rejects.toMatchObject({ code: 'EIO' })
  })

  it('takes the clean-shutdown mark once, durably', async () => {
    const { fs, files } = await fixture()
    expect(await files.takeCleanShutdownMark()).toBe(false)
    await files.leaveCleanShutdownMark()
    expect(fs.readFile('/d/.kafka_cleanshutdown').toString()).toBe('{"version":0,"brokerEpoch":-1}')
    expect(await files.hasCleanShutdownMark()).toBe(true)
    expect(await files.takeCleanShutdownMark()).toBe(true)
    const after = new LogStateFiles(fs.restart('power', { unsynced: 'lost' }), '/d')
    expect(await after.hasCleanShutdownMark()).toBe(false)
  })

  it('rejects if the removal of the mark cannot be synced, and takes the mark in the next call', async () => {
    const { fs, files } = await fixture()
    await files.leaveCleanShutdownMark()
    fs.failNext('syncDirectory', 'EIO')
    await expect(files.takeCleanShutdownMark()).rejects.toMatchObject({ code: 'EIO' })
    expect(await files.takeCleanShutdownMark()).toBe(true)
    const after = new LogStateFiles(fs.restart('power', { unsynced: 'lost' }), '/d')
    expect(await after.hasCleanShutdownMark()).toBe(false)
  })

  it('takes no mark if there was none, even after a failed sync', async () => {
    const { fs, files } = await fixture()
    fs.failNext('syncDirectory', 'EIO')
    await expect(files.takeCleanShutdownMark()).rejects.toMatchObject({ code: 'EIO' })
    expect(await files.takeCleanShutdownMark()).toBe(false)
  })
})

describe('partitionOfDirectory', () => {
  it.each([
    ['/data/orders-3', 'orders', 3],
    ['/data/a-b.c-0', 'a-b.c', 0],
    ['/data/orders', 'orders', 0],
    ['/data/-3', '-3', 0],
    ['/data/orders-x', 'orders-x', 0],
    ['/data/my log', 'my_log', 0],
    ['/', 'log', 0],
  ])('returns the topic and partition of %s', (dir, topic, partition) => {
    expect(partitionOfDirectory(dir)).toEqual({ topic, partition })
  })
})

describe('createDurably', () => {
  it('makes the names of all created directories durable', async () => {
    const fs = new SimulatedFileSystem()
    await createDurably(fs, '/a/b/c')
    expect(await fs.restart('power', { unsynced: 'lost' }).stat('/a/b/c')).not.toBeNull()
  })

  it('completes a creation that a crash interrupted', async () => {
    const fs = new SimulatedFileSystem()
    fs.crashAt(1, { when: 'after' })
    await expect(createDurably(fs, '/a/b/c')).rejects.toThrow()
    const next = fs.restart('process')
    await createDurably(next, '/a/b/c')
    expect(await next.restart('power', { unsynced: 'lost' }).stat('/a/b/c')).not.toBeNull()
  })

  it('ignores a parent directory that it may not sync, but rejects if its sync fails', async () => {
    const fs = new SimulatedFileSystem()
    await fs.createDirectory('/a/b')
    fs.failNext('syncDirectory', 'EACCES', { path: '/' })
    await createDurably(fs, '/a/b')
    fs.failNext('syncDirectory', 'EIO', { path: '/' })
    await expect(createDurably(fs, '/a/b')).rejects.toMatchObject({ code: 'EIO' })
  })
})
