import type { OperationKind } from '../../lib/testing/fault-plan.ts'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

/** A machine that stopped during a run. */
export interface CrashPoint<T> {
  /** The machine as the crash leaves it. It can be restarted several times, in different ways. */
  readonly machine: SimulatedFileSystem
  /** Which operation was about to start, or half done. */
  readonly where: string
  /** What `note` returned just before the operation. */
  readonly note: T
}

const CHANGES: ReadonlySet<OperationKind> = new Set<OperationKind>([
  'open',
  'createDirectory',
  'rename',
  'unlink',
  'removeDirectory',
  'syncDirectory',
  'write',
  'truncate',
  'datasync',
  'sync',
])

/**
 * Calls `run` once, and keeps the machine as a crash would leave it before each operation, in the
 * middle of each write, and at the end. A crash after an operation equals one before the next.
 * Operations that change nothing on the disk are left out, as they add no different state.
 *
 * @param note called just before each operation; returns what to keep with the crash point.
 * @param cut returns how many bytes of a write, at most all but one, a torn write completes.
 */
export async function crashPoints<T>(
  fileSystem: SimulatedFileSystem,
  run: () => Promise<unknown>,
  options: { note: () => T; cut: (sizeBytes: number) => number },
): Promise<CrashPoint<T>[]> {
  const points: CrashPoint<T>[] = []
  const torn: { point: CrashPoint<T>; path: string; position: number; sizeBytes: number }[] = []
  fileSystem.observe(({ kind, path, detail = '' }) => {
    if (!CHANGES.has(kind) || (kind === 'open' && detail === 'read')) return
    const where = `#${fileSystem.operationCount} ${kind} ${path} ${detail}`
    const point = {
      machine: fileSystem.fork({ seed: 1 }),
      where: `before ${where}`,
      note: options.note(),
    }
    points.push(point)
    const [, position, sizeBytes] = /^@(\d+) \+(\d+)$/.exec(detail) ?? []
    if (kind === 'write') {
      torn.push({ point, path, position: Number(position), sizeBytes: Number(sizeBytes) })
    }
  })
  try {
    await run()
  } finally {
    fileSystem.observe(null)
  }
  points.push({ machine: fileSystem.fork({ seed: 1 }), where: 'at the end', note: options.note() })
  for (const { point, path, position, sizeBytes } of torn) {
    const after = points[points.indexOf(point) + 1]?.machine
    if (after === undefined || sizeBytes < 2) continue
    const count = options.cut(sizeBytes)
    const machine = point.machine.fork({ seed: 1 })
    const file = await machine.open(path, 'update')
    await file.write([after.readFile(path).subarray(position, position + count)], position)
    await file.close()
    points.push({ ...point, machine, where: `${count} bytes into ${point.where.slice(7)}` })
  }
  return points
}
