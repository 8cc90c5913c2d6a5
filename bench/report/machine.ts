import { readFileSync, realpathSync } from 'node:fs'
import { arch, cpus, loadavg, release, totalmem, type } from 'node:os'

/** The environment that figures depend on, besides the code. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGb: number
  /** Load of the last minute before the first run, caused by other processes. */
  readonly loadAverage: number
  readonly system: string
  readonly node: string
  readonly v8: string
  /** Threads of the libuv pool, which file operations share. */
  readonly threadPool: number
  /** `unknown` if the platform has no `/proc/mounts`. */
  readonly fileSystem: string
  readonly mountOptions: string
  /** What is synced before an acknowledgement with `flush=1`, and with `flush=relaxed`. */
  readonly sync: string
}

/** File systems that lose everything with the power, so a sync costs nothing there. */
const VOLATILE: ReadonlySet<string> = new Set(['tmpfs', 'ramfs', 'overlay'])

/** Describes this machine and the file system that holds `dir`. */
export function describeMachine(dir: string): Machine {
  const { fileSystem, mountOptions } = mountOf(realpathSync(dir))
  const doubt = VOLATILE.has(fileSystem)
    ? ` (${fileSystem} may not keep it: figures with flush=1 mean nothing here)`
    : ''
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    loadAverage: loadavg()[0] ?? 0,
    system: `${type()} ${release()} ${arch()}`,
    node: process.version,
    v8: process.versions.v8,
    threadPool: Number(process.env['UV_THREADPOOL_SIZE'] ?? 4),
    fileSystem,
    mountOptions,
    sync: `flush=1: fdatasync before the acknowledgement${doubt}; flush=relaxed: none before close`,
  }
}

/** The machine as lines of text: the values that do not change between runs. */
export function machineLines(machine: Machine): string[] {
  const { cpu, cores, memoryGb, system, node, threadPool } = machine
  return [
    `${cpu}, ${cores} cores, ${memoryGb} GB; ${system}; Node ${node}, ${threadPool} pool threads`,
    `file system: ${machine.fileSystem} (${machine.mountOptions})`,
    `sync: ${machine.sync}`,
  ]
}

/** How busy the machine was with other processes when a run began. */
export function loadText({ loadAverage }: Machine): string {
  return `load average ${loadAverage.toFixed(2)} before the first case`
}

/** The mount with the longest path above `dir`; of several on one path, the last one counts. */
function mountOf(dir: string): { fileSystem: string; mountOptions: string } {
  let found = { point: '', fileSystem: 'unknown', mountOptions: 'unknown' }
  for (const line of readMounts().split('\n')) {
    const [, point, fileSystem, mountOptions] = line.split(' ')
    if (point === undefined || fileSystem === undefined || mountOptions === undefined) continue
    const path = point.replaceAll('\\040', ' ')
    const isAbove = dir === path || dir.startsWith(path.endsWith('/') ? path : `${path}/`)
    if (isAbove && path.length >= found.point.length) {
      found = { point: path, fileSystem, mountOptions }
    }
  }
  return found
}

function readMounts(): string {
  try {
    return readFileSync('/proc/mounts', 'utf8')
  } catch {
    return ''
  }
}
