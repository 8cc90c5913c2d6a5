import { describe, expect, it } from 'vitest'
import { StorageError } from '../../lib/errors.ts'
import { MAX_EPOCH } from '../../lib/storage/leader-epoch-cache.ts'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DIR, openLog, pathOf, valuesOf, writtenLog } from './log-fixtures.ts'

const FILE = `${DIR}/leader-epoch-checkpoint`
const RELAXED = { flushMessages: Number.MAX_SAFE_INTEGER }

/** The epoch of every offset, as stored in the batches. */
async function epochsOf(log: Log): Promise<number[]> {
  const epochs: number[] = []
  for (let offset = log.logStartOffset; offset < log.logEndOffset;) {
    const [batch] = await log.reader.readBatches(offset, { maxBytes: 1 })
    if (batch === undefined) break
    for (; offset < batch.nextOffset; offset += 1) epochs.push(batch.partitionLeaderEpoch)
  }
  return epochs
}

function text(fs: SimulatedFileSystem): string {
  return fs.readFile(FILE).toString()
}

describe('the leader epoch', () => {
  it('rises with every crash that is followed by an append, and stays the same over clean closes', async () => {
    let fs = await writtenLog(1, { close: false })
    for (let crash = 1; crash <= 4; crash += 1) {
      fs = fs.restart('process')
      const log = await openLog(fs)
      expect(log.leaderEpoch).toBe(crash)
      await log.append([{ value: 'a' }])
      await log.close()
      const again = await openLog(fs)
      expect(again.leaderEpoch).toBe(crash)
      await again.append([{ value: 'b' }])
    }
    const log = await openLog(fs.restart('process'))
    expect(await epochsOf(log)).toEqual([0, 1, 1, 2, 2, 3, 3, 4, 4])
  })

  it('of a new log is durable once the log is open, so that the first append is a single write', async () => {
    const fs = new SimulatedFileSystem()
    const log = await openLog(fs, { config: RELAXED })
    expect(log.leaderEpoch).toBe(0)
    const before = fs.operations.length
    await log.append([{ value: 'a' }])
    expect(fs.operations.slice(before)).toHaveLength(1)
    const after = fs.restart('power', { unsynced: 'lost' })
    expect(text(after)).toBe('0\n1\n0 0\n')
    expect((await openLog(after)).leaderEpoch).toBe(1)
  })

  it('rises only once over several crashes without an append in between', async () => {
    let fs = await writtenLog(3, { close: false })
    for (let crash = 0; crash < 3; crash += 1) {
      fs = fs.restart('power', { unsynced: 'lost' })
      expect((await openLog(fs)).leaderEpoch).toBe(1)
    }
    expect(text(fs)).toBe('0\n1\n0 0\n')
  })

  it('is not reused after all records of it are lost', async () => {
    const fs = (await writtenLog(2, { close: false })).restart('process')
    const log = await openLog(fs, { config: RELAXED })
    await log.append([{ value: 'seen by a reader, and lost' }])
    expect(log.leaderEpoch).toBe(1)
    const after = fs.restart('power', { unsynced: 'lost' })
    const again = await openLog(after)
    expect([again.logEndOffset, again.leaderEpoch]).toEqual([2, 2])
  })

  it('is not reused after its records are lost, even if the log was closed cleanly since', async () => {
    const fs = (await writtenLog(2, { close: false })).restart('process')
    await (await openLog(fs, { config: RELAXED })).append([{ value: 'lost' }])
    const after = fs.restart('power', { unsynced: 'lost' })
    await (await openLog(after)).close()
    const log = await openLog(after)
    expect(log.leaderEpoch).toBe(2)
    await log.append([{ value: 'another' }])
    expect(await epochsOf(log)).toEqual([0, 0, 2])
    expect(log.reader.endOffsetForEpoch(1)).toBe(2)
  })

  it('stays at the largest int32 once it is reached', async () => {
    const fs = await writtenLog(2, { close: false })
    fs.writeFile(FILE, Buffer.from(`0\n2\n0 0\n${MAX_EPOCH} 1\n`))
    const bytes = Buffer.from(fs.readFile(pathOf(0)))
    bytes.writeInt32BE(MAX_EPOCH, bytes.length / 2 + 12)
    fs.writeFile(pathOf(0), bytes)
    const log = await openLog(fs.restart('process'))
    expect(log.leaderEpoch).toBe(MAX_EPOCH)
    await log.append([{ value: 'x' }])
    expect(await epochsOf(log)).toEqual([0, MAX_EPOCH, MAX_EPOCH])
  })

  it.each([
    ['is damaged', 'x'],
    ['is empty', ''],
  ])('rises if its checkpoint file %s, even after a clean close', async (_, content) => {
    const fs = await writtenLog(3, { close: false })
    const second = fs.restart('process')
    const log = await openLog(second)
    await log.append([{ value: 'in epoch 1' }, { value: 'too' }])
    await log.close()
    second.writeFile(FILE, Buffer.from(content))
    const again = await openLog(second)
    expect(again.leaderEpoch).toBe(2)
    expect([again.reader.endOffsetForEpoch(0), again.reader.endOffsetForEpoch(1)]).toEqual([3, 5])
    expect([0, 2, 3, 4].map((offset) => again.reader.epochOf(offset))).toEqual([0, 0, 1, 1])
  })

  it('is read from the sound checkpoint file, not from a batch, where no checksum covers it', async () => {
    const fs = await writtenLog(3, { close: false })
    fs.flipBit(pathOf(2), 12, 6)
    const log = await openLog(fs.restart('process'))
    expect(log.leaderEpoch).toBe(1)
    expect(log.damage?.reason).toContain('its leader epoch is 1073741824, not 0')
  })

  it('rises after a truncation', async () => {
    const fs = await writtenLog(4, { close: false })
    const log = await openLog(fs.restart('process'))
    await log.append([{ value: 'a' }])
    await log.truncateTo(2)
    expect(log.leaderEpoch).toBe(2)
    await log.append([{ value: 'b' }])
    expect(await epochsOf(log)).toEqual([0, 0, 2])
    expect([log.reader.endOffsetForEpoch(0), log.reader.endOffsetForEpoch(1)]).toEqual([2, 2])
  })

  it('rises after a failed write, part of which a reader may have seen', async () => {
    const fs = await writtenLog(2, { close: false })
    const log = await openLog(fs)
    const { leaderEpoch } = log
    fs.failNext('write', 'ENOSPC', { path: /log$/ })
    await expect(log.append([{ value: 'x' }])).rejects.toThrow(StorageError)
    await log.append([{ value: 'y' }])
    expect(log.leaderEpoch).toBe(leaderEpoch + 1)
    expect(log.reader.endOffsetForEpoch(leaderEpoch)).toBe(2)
  })

  it('rises when a log is reopened after a failed sync', async () => {
    const fs = await writtenLog(2)
    const log = await openLog(fs)
    fs.failNext('datasync', 'EIO', { path: /log$/ })
    await expect(log.append([{ value: 'x' }])).rejects.toMatchObject({ outcome: 'unknown' })
    await log.close()
    const again = await openLog(fs)
    expect([again.logEndOffset, again.leaderEpoch]).toEqual([2, 1])
  })
})

describe('a follower', () => {
  it('has the epoch of its writer, and detects by it that the log was truncated and has grown again', async () => {
    const fs = await writtenLog(2)
    const writer = await openLog(fs, { config: RELAXED })
    await writer.append([{ value: 'seen, and lost' }])
    const follower = await openLog(fs, { readOnly: true })
    expect([follower.logEndOffset, follower.leaderEpoch]).toEqual([3, 0])
    fs.failNext('datasync', 'EIO', { path: /log$/ })
    await expect(writer.flush()).rejects.toMatchObject({ outcome: 'unknown' })
    await expect(writer.close()).rejects.toThrow('offsets 2 to 2 are not durable')
    const next = await openLog(fs)
    await next.append([{ value: 'other' }, { value: 'more' }])
    await follower.refresh()
    expect(await valuesOf(follower)).toEqual(['v0', 'v1', 'other', 'more'])
    expect([follower.leaderEpoch, follower.reader.endOffsetForEpoch(0)]).toEqual([1, 2])
  })

  it('opens without reporting a repair if its writer begins an epoch meanwhile', async () => {
    const config = { segmentBytes: 5000 }
    const fs = (await writtenLog(2, { config, close: false })).restart('process')
    const writer = await openLog(fs, { config })
    let listed = 0
    const beside = new Proxy(fs, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name)
        if (typeof value !== 'function') return value
        return async (...args: unknown[]): Promise<unknown> => {
          if (name === 'list') listed += 1
          if (name === 'list' && listed === 2) await writer.append([{ value: 'in epoch 1' }])
          return value.apply(target, args) as unknown
        }
      },
    })
    const follower = await openLog(beside, { readOnly: true })
    expect(listed).toBe(2)
    expect(follower.recovery).toEqual({
      truncations: [],
      rebuiltIndexes: [],
      failedSyncOffset: null,
      damage: null,
    })
    expect(await epochsOf(follower)).toEqual([0, 0, 1])
  })

  it('keeps its epoch and log end if the checkpoint file is damaged while it follows', async () => {
    const fs = await writtenLog(2, { close: false })
    const follower = await openLog(fs, { readOnly: true })
    fs.writeFile(FILE, Buffer.from('x'))
    await follower.refresh()
    expect([follower.leaderEpoch, follower.logEndOffset]).toEqual([0, 2])
  })
})
