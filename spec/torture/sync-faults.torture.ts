import { posix } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Broker } from '../../lib/broker.ts'
import { VarveError } from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import {
  FAILED_SYNC,
  prepare,
  runFaulty,
  verify,
  verifyGoesOn,
  verifyNoHole,
  verifyReopened,
  type Start,
} from '../faults/faulty-run.ts'
import { open, settled, WORKLOADS, type Told, type Workload } from '../faults/workloads.ts'

const SYNCS: ReadonlySet<string> = new Set(['sync', 'datasync', 'syncDirectory'])
const NAMING: ReadonlySet<string> = new Set([
  'rename',
  'unlink',
  'createDirectory',
  'removeDirectory',
])
const LINE = /^#\d+ (\w+) (\S+)(?: -> (\S+))?(.*)$/
const LOG_SYNC = / datasync \/data\/orders-0\/\d+\.log /

/** Which of the operations of `run` are syncs: their numbers, counted from 1. */
async function syncsOf(
  disk: SimulatedFileSystem,
  run: () => Promise<unknown>,
): Promise<readonly number[]> {
  const numbers: number[] = []
  disk.observe(({ kind }) => {
    if (SYNCS.has(kind)) numbers.push(disk.operationCount)
  })
  await run()
  disk.observe(null)
  return numbers
}

/**
 * The first sync that repeats a failed one: of a file that was neither written nor truncated since,
 * or of a directory in which no name changed since.
 */
function repeatedSync(operations: readonly string[]): string | null {
  const failed = new Set<string>()
  for (const line of operations) {
    const [, kind = '', path = '', target = path, rest = ''] = LINE.exec(line) ?? []
    if (SYNCS.has(kind)) {
      if (failed.has(path)) return line
      if (FAILED_SYNC.test(line)) failed.add(path)
      continue
    }
    if (kind === 'write' || kind === 'truncate') failed.delete(path)
    if (NAMING.has(kind) || rest.startsWith(' create'))
      for (const each of [path, target]) failed.delete(posix.dirname(each))
  }
  return null
}

/**
 * Checks what the next owner finds after a crash of the process, with and without the page cache,
 * and after a power loss.
 */
async function verifySuccessors(disk: SimulatedFileSystem, told: Told, trace: string) {
  const found: string[][] = []
  for (const [kind, isEvicted] of [
    ['process', false],
    ['process', true],
    ['power', false],
  ] as const) {
    const next = disk.fork()
    if (isEvicted) next.evictPageCache()
    const restarted = next.restart(kind, { unsynced: 'lost' })
    found.push(await verifyReopened(restarted, new Map(told), `${trace}, ${kind}, ${isEvicted}`))
  }
  return found
}

/**
 * What is durable as far as the first partition's log knows; once closed, what was acknowledged.
 */
async function durableIn(broker: Broker, told: Told, isClosed: boolean): Promise<string[]> {
  if (isClosed) return [...told].filter(([, at]) => typeof at === 'number').map(([value]) => value)
  const { log } = broker.topic('orders').partition(0)
  const values: string[] = []
  while (values.length < log.durableEndOffset) {
    const records = await log.read(values.length)
    values.push(...records.map(({ value }) => String(value)))
  }
  return values
}

async function strike(workload: Workload, { disk, told: start }: Start, n: number): Promise<void> {
  const fileSystem = disk.fork({ seed: n })
  const told = new Map(start)
  let from = 0
  const { broker } = await runFaulty({ disk: fileSystem, workload, told }, (faulty) => {
    from = faulty.operationCount
    faulty.failAt(n, 'EIO')
  })
  const operations = fileSystem.operations.slice(from)
  const struck = operations.find((line) => FAILED_SYNC.test(line)) ?? ''
  const trace = `${workload.name}: EIO at operation ${n} (${struck})`
  expect(struck, trace).not.toBe('')
  const isClosed = workload.isClosed === true
  const durable = await durableIn(broker, told, isClosed)
  verify(durable, told, trace)
  if (workload.isAtOnce === true) verifyNoHole(durable, told, trace)
  if (LOG_SYNC.test(struck)) {
    expect([...told.values()], `${trace}: in flight`).toContain('unknown')
    if (!isClosed) {
      const { failure } = broker.topic('orders').partition(0).log
      expect(failure, trace).toMatchObject({ outcome: 'unknown', cause: { code: 'EIO' } })
    }
  }
  for (const found of await verifySuccessors(fileSystem, told, trace)) {
    expect(found, `${trace}: beyond the durable end`).toEqual(durable)
  }
  if (!isClosed) {
    await verifyGoesOn(broker, told, trace, true)
    const last = await durableIn(broker, told, false)
    for (const found of await verifySuccessors(fileSystem, told, `${trace}, later`)) {
      expect(found, `${trace}: beyond the durable end, later`).toEqual(last)
    }
  }
  const made = fileSystem.operations.slice(from)
  expect(repeatedSync(made), `${trace}: repeated\n${made.join('\n')}`).toBeNull()
}

describe('T4: a sync that fails', () => {
  it.each(WORKLOADS)(
    'acknowledges nothing, ends the log at the durable end, and is not repeated: $name',
    async (workload) => {
      const start = await prepare(workload)
      const dry = start.disk.fork()
      const clock = new ManualClock()
      const broker = await settled(open(dry, clock), clock)
      const { operationCount } = dry
      const syncs = await syncsOf(dry, () =>
        settled(workload.run(broker, new Map(start.told)), clock),
      )
      expect(syncs.length).toBeGreaterThan(0)
      for (const number of syncs) await strike(workload, start, number - operationCount)
    },
  )

  const append = { name: 'append', run: () => Promise.resolve() }
  const DIRECTORIES: readonly [string, () => Promise<Start>][] = [
    ['was closed in order', () => prepare({ ...append, isClean: true })],
    ['a process has left', () => prepare({ ...append, isClean: false })],
    [
      'a process has left whose last sync failed, with no mark of it',
      async () => {
        const { disk, told } = await prepare({ ...append, isClean: true })
        const clock = new ManualClock()
        const broker = await settled(open(disk, clock), clock)
        disk.failNext('datasync', 'EIO', { persistent: true })
        disk.failNext('rename', 'EIO', { persistent: true })
        disk.failNext('truncate', 'EIO', { persistent: true })
        const sent = broker.topic('orders').partition(0).append({ value: 'in doubt' })
        await expect(settled(sent, clock)).rejects.toMatchObject({ outcome: 'unknown' })
        told.set('in doubt', 'unknown')
        return { disk: disk.restart('process'), told }
      },
    ],
  ]

  it.each(DIRECTORIES)(
    'loses nothing, then or later, during the open of a directory that %s',
    async (_, make) => {
      const { disk, told } = await make()
      const dry = disk.fork()
      const clock = new ManualClock()
      const syncs = await syncsOf(dry, () => settled(open(dry, clock), clock))
      expect(syncs.length).toBeGreaterThan(0)
      for (const n of syncs) {
        const fileSystem = disk.fork({ seed: n })
        fileSystem.failAt(n, 'EIO')
        const opening = settled(open(fileSystem, clock), clock)
        const failure: unknown = await opening.then(
          () => null,
          (error: unknown) => error,
        )
        const struck = fileSystem.operations.find((line) => FAILED_SYNC.test(line)) ?? ''
        const trace = `EIO at operation ${n} (${struck})`
        if (failure !== null) expect(failure, trace).toBeInstanceOf(VarveError)
        await verifySuccessors(fileSystem, told, trace)
        expect(repeatedSync(fileSystem.operations), `${trace}: repeated`).toBeNull()
      }
    },
  )
})
