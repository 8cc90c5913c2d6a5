import { statfsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { StorageError } from '../../lib/errors.ts'
import { LoopDisk, MemoryDisk, type DiskType } from './disks.ts'
import { whatIsMissing } from './requirements.ts'
import { report, runs, seed } from './size.ts'

const ROUNDS = runs({ short: 1, full: 100 })
/** The smallest that each accepts. */
const IMAGE_BYTES = { ext4: 64 * 1024 * 1024, xfs: 320 * 1024 * 1024 }
const VALUE = 'x'.repeat(30_000)

interface Round {
  readonly code: string
  readonly acknowledged: number
  readonly lost: number
  readonly unopened: number
}

/** `null` if the file system refuses, which reports that something is lost. */
async function openAgain(dir: string): Promise<Broker | null> {
  try {
    return await Broker.open(dir)
  } catch (error) {
    if (error instanceof StorageError && error.cause instanceof Error) return null
    throw error
  }
}

/** Lets the disk fail below the file system, and checks what the log reports then and later. */
async function round(type: 'ext4' | 'xfs'): Promise<Round> {
  const memory = new MemoryDisk('size=512m')
  const disk = new LoopDisk(type, IMAGE_BYTES[type], memory.path)
  try {
    await disk.mount()
    const dir = join(disk.path, 'data')
    const broker = await Broker.open(dir)
    const topic = await broker.createTopic('a')
    const partition = topic.partition(0)
    const { bsize, blocks, bfree } = statfsSync(memory.path)
    // From here on, the image file has little space for writes.
    await memory.resize(`size=${(blocks - bfree) * bsize + 600_000}`)
    let failure: unknown = null
    let acknowledged = 0
    while (failure === null && acknowledged < 5000) {
      await partition.append({ value: `${acknowledged} ${VALUE}` }).then(
        () => (acknowledged += 1),
        (error: unknown) => (failure = error),
      )
    }
    if (!(failure instanceof StorageError)) throw new Error('no failure', { cause: failure })
    const code = (failure.cause as NodeJS.ErrnoException).code ?? ''
    if ((failure.cause as NodeJS.ErrnoException).syscall === 'fdatasync') {
      expect(failure.outcome).toBe('unknown')
      const refused = partition.append({ value: 'x' })
      await expect(refused).rejects.toMatchObject({ code: 'STORAGE_ERROR', outcome: 'not-written' })
    }
    expect(partition.logEndOffset).toBe(acknowledged)
    expect((await partition.read(0)).length).toBeGreaterThan(0)
    await broker.close().catch((error: unknown) => {
      expect(error).toBeInstanceOf(StorageError)
    })
    await disk.unmount()
    await memory.resize('size=512m')
    await disk.mount()
    const again = await openAgain(dir)
    // The file system may have lost more than the log's bytes, and then cannot open its files.
    if (again === null) return { code, acknowledged, lost: 0, unopened: 1 }
    let count = 0
    for await (const record of again.topic('a').partition(0).records({ until: 'end' })) {
      expect(record.offset).toBe(count)
      expect(record.value?.toString()).toBe(`${count} ${VALUE}`)
      count += 1
    }
    // The loop device takes a short write for a complete one, so the disk has lied about the last
    // syncs that succeeded. What it lost must be reported.
    const said = again.recovery.truncations.length + again.recovery.damaged.length
    if (count < acknowledged) expect(said, `${acknowledged - count} lost`).toBeGreaterThan(0)
    await again.close()
    return { code, acknowledged, lost: Math.max(0, acknowledged - count), unopened: 0 }
  } finally {
    await disk.remove()
    await memory.remove()
  }
}

describe('a failed sync on a real disk', () => {
  for (const type of ['ext4', 'xfs'] satisfies DiskType[]) {
    const missing = whatIsMissing('linux', 'root', 'gcc', 'loop', type)
    if (missing !== null) console.log(`failed sync on ${type}: skipped, needs ${missing}`)

    it.skipIf(missing !== null)(
      `is reported, is final, and loses no record without a report: ${type} (needs root)`,
      async () => {
        const codes = new Set<string>()
        let [acknowledged, lost, unopened] = [0, 0, 0]
        for (let i = 0; i < ROUNDS; i += 1) {
          const result = await round(type)
          codes.add(result.code)
          acknowledged += result.acknowledged
          lost += result.lost
          unopened += result.unopened
        }
        report(`failed sync on ${type}`, {
          rounds: ROUNDS,
          acknowledged,
          lost,
          unopened,
          codes: [...codes].join(' '),
        })
        expect(acknowledged, `seed ${seed}`).toBeGreaterThan(0)
      },
    )
  }
})
