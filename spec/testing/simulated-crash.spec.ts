import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { File } from '../../lib/platform/file-system.ts'
import { SimulatedCrash, SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

/** A file system with one durable file, `/d/x`, that holds `old` and is open. */
async function fixture(seed = 1): Promise<{ fs: SimulatedFileSystem; file: File }> {
  const fs = new SimulatedFileSystem({ seed })
  fs.writeFile('/d/x', Buffer.from('old'))
  return { fs, file: await fs.open('/d/x', 'update') }
}

describe('crashAt', () => {
  it.each([
    ['before', 'old'],
    ['after', 'new!'],
  ] as const)(
    'stops the machine %s the n-th operation takes effect, and rejects it',
    async (when, text) => {
      const { fs, file } = await fixture()
      fs.crashAt(2, { when })
      await file.stat()
      expect(fs.crashed).toBe(false)
      await expect(file.write([Buffer.from('new!')], 0)).rejects.toThrow(SimulatedCrash)
      expect(fs.crashed).toBe(true)
      expect(fs.readFile('/d/x').toString()).toBe(text)
      expect(fs.operations.at(-1)).toBe(`#3 write /d/x @0 +4 (crash ${when})`)
    },
  )

  it('rejects every later call on any handle, and names the operation at which the machine stopped', async () => {
    const { fs, file } = await fixture()
    const [lock, closed] = [await fs.lock('/d'), await fs.open('/d/x', 'read')]
    await closed.close()
    fs.crashAt(1, { when: 'before' })
    await expect(fs.stat('/')).rejects.toThrow(
      new SimulatedCrash('the machine stopped in #5 stat / (crash before)'),
    )
    for (const call of [
      () => file.read(Buffer.alloc(1), 0),
      () => file.write([Buffer.alloc(1)], 0),
      () => file.truncate(0),
      async () => file.setModified?.(0),
      () => file.datasync(),
      () => file.sync(),
      () => file.stat(),
      () => file.close(),
      () => file.close(),
      () => lock.release(),
      () => fs.open('/d/x', 'read'),
      () => fs.list('/'),
      () => fs.stat('/'),
      () => fs.createDirectory('/e'),
      () => fs.rename('/d/x', '/d/y'),
      () => fs.unlink('/d/x'),
      () => fs.removeDirectory('/d'),
      () => fs.syncDirectory('/d'),
      () => fs.lock('/d'),
    ]) {
      await expect(call()).rejects.toThrow(SimulatedCrash)
    }
    expect(fs.operationCount).toBe(5)
    expect(lock.held).toBe(false)
  })

  it('tears a write after any number of bytes, from none to all', async () => {
    const sizes = new Set<number>()
    for (let seed = 0; seed < 60; seed += 1) {
      const { fs, file } = await fixture(seed)
      fs.crashAt(1, { when: 'torn' })
      const write = file.write([Buffer.from('ab'), Buffer.from('cd')], 3)
      await expect(write).rejects.toThrow(SimulatedCrash)
      const left = fs.readFile('/d/x').toString()
      expect('oldabcd'.startsWith(left)).toBe(true)
      sizes.add(left.length)
    }
    expect([...sizes].sort()).toEqual([3, 4, 5, 6, 7])
  })

  it('tears a write at the given byte', async () => {
    const { fs, file } = await fixture()
    fs.crashAt(1, { when: 'torn', parts: 3 })
    await expect(file.write([Buffer.from('ab'), Buffer.from('cd')], 3)).rejects.toThrow()
    expect(fs.readFile('/d/x').toString()).toBe('oldabc')
    expect(fs.operations.at(-1)).toBe('#2 write /d/x @3 +4 (crash torn after 3)')
  })

  it('tears createDirectory between two directories', async () => {
    const { fs } = await fixture()
    fs.crashAt(1, { when: 'torn', parts: 2 })
    await expect(fs.createDirectory('/a/b/c/d')).rejects.toThrow(SimulatedCrash)
    const next = fs.restart('process')
    expect(await next.list('/a/b')).toEqual([])
  })

  it('does an operation that has no parts entirely or not at all when it tears it', async () => {
    const outcomes = new Set<boolean>()
    for (let seed = 0; seed < 20; seed += 1) {
      const { fs } = await fixture(seed)
      fs.crashAt(1, { when: 'torn' })
      await expect(fs.unlink('/d/x')).rejects.toThrow(SimulatedCrash)
      outcomes.add(fs.snapshot().has('/d/x'))
    }
    expect(outcomes).toEqual(new Set([true, false]))
  })

  it.each(['before', 'after', 'torn'] as const)(
    'rejects with SimulatedCrash even if the call would have failed anyway (%s)',
    async (when) => {
      const { fs } = await fixture()
      fs.crashAt(1, { when })
      await expect(fs.createDirectory('/d/x/y')).rejects.toThrow(SimulatedCrash)
      expect(fs.crashed).toBe(true)
    },
  )

  it('replaces an earlier crashAt, and clearFaults cancels it', async () => {
    const { fs } = await fixture()
    fs.crashAt(1, { when: 'before' })
    fs.crashAt(2, { when: 'before' })
    await fs.stat('/')
    fs.clearFaults()
    await fs.stat('/')
    expect(fs.crashed).toBe(false)
  })

  it('settles every call that is in flight, and those that resolve have taken effect', async () => {
    for (let seed = 0; seed < 50; seed += 1) {
      const fs = new SimulatedFileSystem({ seed, completion: 'random' })
      const file = await fs.open('/x', 'create')
      fs.crashAt(4, { when: 'after' })
      const calls = Array.from({ length: 8 }, (_, i) => file.write([Buffer.from('x')], i))
      const settled = await Promise.allSettled(calls)
      const written = fs.readFile('/x')
      expect(settled.filter(({ status }) => status === 'fulfilled').length).toBeLessThan(4)
      for (const [i, { status }] of settled.entries()) {
        expect(status === 'rejected' || written[i] === 0x78).toBe(true)
      }
      expect(written.filter((byte) => byte === 0x78).length).toBe(4)
      expect(fs.operationCount).toBe(5)
    }
  })

  it('can complete a write whose caller receives only the crash', async () => {
    let unheard = 0
    for (let seed = 0; seed < 50; seed += 1) {
      const fs = new SimulatedFileSystem({ seed, completion: 'random' })
      const file = await fs.open('/x', 'create')
      fs.crashAt(2, { when: 'before' })
      const calls = ['a', 'b'].map((text) => file.write([Buffer.from(text)], 0))
      const settled = await Promise.allSettled(calls)
      const heard = settled.some(({ status }) => status === 'fulfilled')
      expect(fs.readFile('/x').length).toBe(1)
      unheard += heard ? 0 : 1
    }
    expect(unheard).toBeGreaterThan(5)
    expect(unheard).toBeLessThan(45)
  })

  it('throws for a number below 1', async () => {
    const { fs } = await fixture()
    expect(() => {
      fs.crashAt(0, { when: 'before' })
    }).toThrow(RangeError)
  })
})

describe("restart('process')", () => {
  it('keeps everything that was written, and calls on old handles still reject', async () => {
    const { fs, file } = await fixture()
    await file.write([Buffer.from('written')], 0)
    await fs.rename('/d/x', '/d/y')
    await fs.createDirectory('/e')
    const next = fs.restart('process')
    expect([...next.snapshot()]).toEqual([['/d/y', Buffer.from('written')]])
    expect(await next.list('/e')).toEqual([])
    await expect(file.stat()).rejects.toThrow(SimulatedCrash)
    await expect(fs.stat('/')).rejects.toThrow('restarted')
    expect([next.crashed, next.operationCount]).toEqual([false, 1])
  })

  it('does not make anything durable', async () => {
    const { fs, file } = await fixture()
    await file.write([Buffer.from('written')], 0)
    await fs.rename('/d/x', '/d/y')
    const next = fs.restart('process').restart('power', { unsynced: 'lost' })
    expect([...next.snapshot()]).toEqual([['/d/x', Buffer.from('old')]])
  })

  it('lets the new machine sync what the old one wrote', async () => {
    const { fs, file } = await fixture()
    await file.write([Buffer.from('written')], 0)
    await fs.rename('/d/x', '/d/y')
    const next = fs.restart('process')
    await (await next.open('/d/y', 'update')).datasync()
    await next.syncDirectory('/d')
    expect([...next.restart('power', { unsynced: 'lost' }).snapshot()]).toEqual([
      ['/d/y', Buffer.from('written')],
    ])
  })

  it('starts without the faults of the old machine', async () => {
    const { fs } = await fixture()
    fs.failNext('stat', 'EIO', { persistent: true })
    expect(await fs.restart('process').stat('/missing')).toBeNull()
  })

  it('keeps exactly the completed writes and a prefix of the torn one', async () => {
    const write = fc.record({
      position: fc.nat(700),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 700 }),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(write, { minLength: 1, maxLength: 8 }),
        fc.nat(),
        fc.nat(),
        fc.boolean(),
        async (writes, at, seed, syncs) => {
          const fs = new SimulatedFileSystem({ seed })
          const file = await fs.open('/x', 'create')
          const torn = at % writes.length
          let model: Buffer = Buffer.alloc(0)
          for (const { position, bytes } of writes.slice(0, torn)) {
            await file.write([bytes], position)
            if (syncs) await file.datasync()
            model = overwrite(model, bytes, position)
          }
          const { position, bytes } = writes[torn] ?? { position: 0, bytes: Buffer.alloc(0) }
          fs.crashAt(1, { when: 'torn' })
          await expect(file.write([bytes], position)).rejects.toThrow(SimulatedCrash)
          const found = fs.restart('process').readFile('/x')
          const prefixes = Array.from({ length: bytes.length + 1 }, (_, count) =>
            overwrite(model, bytes.subarray(0, count), position),
          )
          expect(prefixes.some((prefix) => prefix.equals(found))).toBe(true)
        },
      ),
      { numRuns: 60 },
    )
  })
})

function overwrite(content: Buffer, bytes: Uint8Array, position: number): Buffer {
  if (bytes.length === 0) {
    return content
  }
  const result = Buffer.alloc(Math.max(content.length, position + bytes.length))
  content.copy(result)
  result.set(bytes, position)
  return result
}
