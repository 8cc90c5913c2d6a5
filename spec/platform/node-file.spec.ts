import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { NodeFile } from '../../lib/platform/node-file.ts'
import { behindMicrotasks } from '../../lib/platform/event-loop.ts'
import { PromptIo } from '../../lib/platform/prompt-io.ts'
import { FIRST_PROOF, PromptSync } from '../../lib/platform/prompt-sync.ts'
import { temporaryDirectory } from './temporary-directory.ts'

const MIB = 1024 * 1024

/** A file on a disk whose syncs take no time, and how many of them the pool has made. */
async function fileOnQuickDisk(): Promise<{ file: NodeFile; inPool: () => number }> {
  const handle = await open(join(await temporaryDirectory(), 'file'), 'w+')
  let inPool = 0
  const now = (): number => 0
  const io = new PromptIo({ now, nextTurn: () => undefined, behindMicrotasks, diskReads: () => 0 })
  const descriptor = {
    fd: handle.fd,
    read: handle.read.bind(handle),
    writev: handle.writev.bind(handle),
    stat: () => handle.stat(),
    truncate: handle.truncate.bind(handle),
    utimes: handle.utimes.bind(handle),
    close: () => handle.close(),
    sync: () => handle.sync(),
    datasync: async () => {
      inPool += 1
      await handle.datasync()
    },
  }
  const file = new NodeFile('file', descriptor, new PromptSync(io, now))
  onTestFinished(() => file.close())
  return { file, inPool: () => inPool }
}

it('leaves the sync of a large write to the pool, however quick the disk is', async () => {
  const { file, inPool } = await fileOnQuickDisk()
  for (let sync = 0; sync < FIRST_PROOF; sync += 1) await file.datasync()
  expect(inPool()).toBe(FIRST_PROOF)
  await file.datasync()
  expect(inPool(), 'a quick disk syncs inside of the call').toBe(FIRST_PROOF)

  // Small enough for a synchronous write, and large enough for the pool.
  for (const mebibytes of [1, 3]) {
    await file.write([Buffer.alloc(mebibytes * MIB)], 0)
    await file.write([Buffer.alloc(1)], 0)
    expect(file.datasyncNow()).toBe(false)
    const before = inPool()
    await file.datasync()
    expect(inPool()).toBe(before + 1)
    expect(file.datasyncNow(), 'nothing is left to be synced').toBe(true)
  }

  await file.write([Buffer.alloc(MIB)], 0)
  expect(file.datasyncNow()).toBe(true)
})

it('counts what is written during a sync towards the next one', async () => {
  const { file } = await fileOnQuickDisk()
  for (let sync = 0; sync < FIRST_PROOF; sync += 1) await file.datasync()
  await file.write([Buffer.alloc(2 * MIB)], 0)
  const syncing = file.datasync()
  await file.write([Buffer.alloc(2 * MIB)], 0)
  await syncing
  expect(file.datasyncNow()).toBe(false)
})
