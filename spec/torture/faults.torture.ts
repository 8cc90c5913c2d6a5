import { describe, expect, it } from 'vitest'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import {
  FAILED_SYNC,
  prepare,
  runFaulty,
  verifyGoesOn,
  verifyNoHole,
  verifyReopened,
} from '../faults/faulty-run.ts'
import { valuesIn, WORKLOADS, type Workload } from '../faults/workloads.ts'
import { isFull } from './size.ts'

const ALL_CODES = [
  ...['EIO', 'ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE', 'EROFS', 'EACCES', 'EFBIG', 'ENOENT', 'EINTR'],
]
/**
 * One error of the disk and one of opening files: the others take the same paths. The full size
 * (`VARVE_TORTURE=full`) tries all.
 */
const CODES = isFull ? ALL_CODES : ['EIO', 'EMFILE']
/**
 * What opens something, or loads the module that it is done with. Elsewhere no system reports a lack
 * of descriptors.
 */
const OPENING = /^#\d+ (?:open|list|createDirectory|syncDirectory|lock)\b/
const WITHOUT_DESCRIPTORS: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE'])
/** Each of these runs is followed by twice as many opens. */
const CODES_FOR_GOOD = isFull ? ALL_CODES : ['EIO']

interface Fault {
  readonly name: string
  /** Matches the line of the operation log at which the fault strikes. */
  readonly strikes: RegExp
  /** The short size tries the fault at these operations; all if left out. */
  readonly triedAt?: RegExp
  /** Orders the fault at the `n`-th call that it can strike. */
  readonly order: (disk: SimulatedFileSystem, n: number) => void
}

async function sweep(
  workload: Workload,
  faults: readonly Fault[],
  isForGood = false,
): Promise<number> {
  const { disk, told: start } = await prepare(workload)
  const dry = { disk: disk.fork(), workload, told: new Map(start) }
  const { count } = await runFaulty(dry, () => undefined)
  let runs = 0
  for (const { name, order, strikes, triedAt } of faults) {
    for (let n = 1; n <= count; n += 1) {
      const fileSystem = disk.fork({ seed: n })
      const told = new Map(start)
      let from = 0
      const { broker } = await runFaulty({ disk: fileSystem, workload, told }, (faulty) => {
        from = faulty.operationCount + n - 1
        order(faulty, n)
      })
      const struck = fileSystem.operations.slice(from).find((line) => strikes.test(line))
      // There are no more writes, or reads, that could stop short.
      if (struck === undefined) break
      if (!isFull && triedAt?.test(struck) === false) continue
      runs += 1
      const trace = `${workload.name}: ${name} at operation ${n} (${struck})`
      const isSyncLost = fileSystem.operations.some((line) => FAILED_SYNC.test(line))
      if (isForGood) {
        // The process may die before the disk works again, with or without the page cache.
        for (const isEvicted of [false, true]) {
          const next = fileSystem.fork()
          if (isEvicted) next.evictPageCache()
          const context = `${trace}, died${isEvicted ? ', evicted' : ''}`
          await verifyReopened(next.restart('process'), new Map(told), context)
        }
      }
      fileSystem.clearFaults()
      if (workload.isClosed !== true) {
        const isAtOnce = workload.isAtOnce === true
        if (isAtOnce) verifyNoHole(await valuesIn(broker), told, trace)
        await verifyGoesOn(broker, told, trace, isSyncLost)
      }
      for (const kind of ['process', 'power'] as const) {
        const next = fileSystem.fork().restart(kind, { unsynced: 'lost' })
        await verifyReopened(next, new Map(told), `${trace}, ${kind}`)
      }
    }
  }
  return runs
}

describe('a file system call', () => {
  it.each(WORKLOADS)(
    'breaks no promise if it fails once, with any error: $name',
    async (workload) => {
      const faults = CODES.map((code) => ({
        name: code,
        strikes: / ! /,
        ...(WITHOUT_DESCRIPTORS.has(code) ? { triedAt: OPENING } : {}),
        order: (disk: SimulatedFileSystem, n: number) => {
          disk.failAt(n, code)
        },
      }))
      // Not every workload opens something.
      const tried = faults.filter(({ triedAt }) => isFull || triedAt === undefined)
      expect(await sweep(workload, faults)).toBeGreaterThanOrEqual(3 * tried.length)
    },
  )

  it.each(WORKLOADS)(
    'breaks no promise if it and all later calls fail, with any error: $name',
    async (workload) => {
      const faults = CODES_FOR_GOOD.map((code) => ({
        name: `${code} for good`,
        strikes: / ! /,
        order: (disk: SimulatedFileSystem, n: number) => {
          disk.failAt(n, code, { persistent: true })
        },
      }))
      expect(await sweep(workload, faults, true)).toBeGreaterThanOrEqual(3 * faults.length)
    },
  )

  it.each(WORKLOADS)('breaks no promise if it stops short: $name', async (workload) => {
    const faults = [0, 1, 30].flatMap((bytes) => [
      {
        name: `write of ${bytes} bytes`,
        strikes: /\(short/,
        order: (disk: SimulatedFileSystem, n: number) => {
          disk.shortWriteAt(n, bytes)
        },
      },
      {
        name: `read of ${bytes + 1} bytes`,
        strikes: /\(short/,
        order: (disk: SimulatedFileSystem, n: number) => {
          disk.shortReadAt(n, bytes + 1)
        },
      },
    ])
    // Each workload writes, but not all of them read.
    expect(await sweep(workload, faults)).toBeGreaterThanOrEqual(3)
  })
})
