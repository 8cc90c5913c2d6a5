import { checkOneOf, checkOptions } from '../checks.ts'
import type {
  DirectoryEntry,
  DirectoryLock,
  File,
  FileStat,
  FileSystem,
  OpenMode,
} from '../platform/file-system.ts'
import type { Random } from '../platform/random.ts'
import type { CrashPlan, FaultOptions, OperationKind } from './fault-plan.ts'
import { SeededRandom } from './seeded-random.ts'
import { SimulatedDisk, type DiskModel } from './simulated-disk.ts'
import { SimulatedFile } from './simulated-file.ts'
import { SimulatedLock } from './simulated-lock.ts'
import { SimulatedMachine, type ObservedOperation } from './simulated-machine.ts'
import { normalPath } from './simulated-tree.ts'
import {
  checkCapacity,
  diskModel,
  FORK_OPTIONS,
  machineOptions,
  requireAtLeast,
  RESTART_OPTIONS,
  SIMULATION_OPTIONS,
  type ForkOptions,
  type RestartOptions,
  type SimulatedFileSystemOptions,
} from './simulation-options.ts'

export { SimulatedCrash } from './simulated-machine.ts'

/**
 * An in-memory file system that can crash, lose power and fail on demand.
 *
 * Every call of it and of its files that could fail or change something is logged and has a number,
 * counted from 1. Crashes and faults use this number to name the call they strike. The methods that
 * are not part of {@link FileSystem} are for tests: they are synchronous, have no number, are never
 * struck, and work on a crashed file system too.
 *
 * Calls may overlap, as on a disk. Each takes effect at one moment, within the call at the earliest
 * (see `completion`), and reads or fills the caller's buffers at that moment.
 */
export class SimulatedFileSystem implements FileSystem {
  readonly #options: SimulatedFileSystemOptions
  readonly #random: Random
  readonly #machine: SimulatedMachine
  #disk: SimulatedDisk

  /** @throws TypeError or RangeError for invalid options */
  constructor(options: SimulatedFileSystemOptions = {}) {
    const checked = checkOptions('simulation options', options, SIMULATION_OPTIONS)
    this.#options = checked
    this.#random = checked.random ?? new SeededRandom(checked.seed ?? 1)
    this.#machine = new SimulatedMachine(machineOptions(checked, this.#random))
    this.#disk = new SimulatedDisk(diskModel(checked, this.#random))
    this.#machine.onStopped = (crash) => {
      this.#disk.tellStopped(crash)
    }
  }

  async open(path: string, mode: OpenMode): Promise<File> {
    const at = normalPath(path)
    return await this.#machine.perform({
      kind: 'open',
      syscall: 'open',
      path: at,
      detail: mode,
      run: () => {
        const inode = this.#disk.openFile(at, mode)
        const [disk, machine, writable] = [this.#disk, this.#machine, mode !== 'read']
        return new SimulatedFile({ path, at, inode, writable, disk, machine })
      },
    })
  }

  async list(path: string): Promise<DirectoryEntry[]> {
    const at = normalPath(path)
    const run = (): DirectoryEntry[] => this.#disk.list(at)
    return await this.#machine.perform({ kind: 'list', syscall: 'scandir', path: at, run })
  }

  async stat(path: string): Promise<FileStat | null> {
    const at = normalPath(path)
    const run = (): FileStat | null => this.#disk.stat(at)
    return await this.#machine.perform({ kind: 'stat', syscall: 'lstat', path: at, run })
  }

  statNow(path: string): FileStat | null | undefined {
    const at = normalPath(path)
    const run = (): [FileStat | null] => [this.#disk.stat(at)]
    return this.#machine.performNow({ kind: 'stat', syscall: 'lstat', path: at, run })?.[0]
  }

  async createDirectory(path: string): Promise<string[]> {
    const at = normalPath(path)
    return await this.#machine.perform({
      kind: 'createDirectory',
      syscall: 'mkdir',
      path: at,
      countParts: () => this.#disk.missingDirectories(at).length,
      run: (parts) => this.#disk.createDirectories(at, parts),
    })
  }

  async rename(from: string, to: string): Promise<void> {
    const [at, dest] = [normalPath(from), normalPath(to)]
    const run = (): void => {
      this.#disk.rename(at, dest)
    }
    await this.#machine.perform({ kind: 'rename', syscall: 'rename', path: at, dest, run })
  }

  async unlink(path: string): Promise<void> {
    const at = normalPath(path)
    const run = (): void => {
      this.#disk.unlink(at)
    }
    await this.#machine.perform({ kind: 'unlink', syscall: 'unlink', path: at, run })
  }

  async removeDirectory(path: string): Promise<void> {
    const at = normalPath(path)
    const run = (): void => {
      this.#disk.removeDirectory(at)
    }
    await this.#machine.perform({ kind: 'removeDirectory', syscall: 'rmdir', path: at, run })
  }

  async syncDirectory(path: string): Promise<void> {
    const at = normalPath(path)
    await this.#machine.perform({
      kind: 'syncDirectory',
      syscall: 'fsync',
      path: at,
      opens: true,
      run: () => {
        this.#disk.syncDirectory(at)
      },
      onFault: () => {
        this.#disk.failSyncDirectory(at)
      },
    })
  }

  async freeBytes(path: string): Promise<number> {
    const at = normalPath(path)
    const run = (): number => this.#disk.freeBytes(at)
    return await this.#machine.perform({ kind: 'freeBytes', syscall: 'statfs', path: at, run })
  }

  async lock(path: string): Promise<DirectoryLock> {
    const at = normalPath(path)
    const run = (): SimulatedLock => {
      const [disk, machine] = [this.#disk, this.#machine]
      return disk.lock(at, (directory) => new SimulatedLock({ at, directory, disk, machine }))
    }
    return await this.#machine.perform({ kind: 'lock', syscall: 'open', path: at, run })
  }

  /** Total size of all files above which writes fail; `Infinity` for no limit. */
  get capacityBytes(): number {
    return this.#disk.model.capacityBytes
  }

  /** Takes effect with the next write. */
  set capacityBytes(capacityBytes: number) {
    checkCapacity('capacityBytes', capacityBytes)
    this.#disk.model = { ...this.#disk.model, capacityBytes }
  }

  /** Whether the machine has stopped. Every call then rejects with {@link SimulatedCrash}. */
  get crashed(): boolean {
    return this.#machine.crashed
  }

  /** Number of calls that have taken effect or failed so far. */
  get operationCount(): number {
    return this.#machine.operationCount
  }

  /** One line per call, such as `#12 write /d/x.log @0 +61`; at least the last 10,000 of them. */
  get operations(): readonly string[] {
    return this.#machine.operations
  }

  /**
   * Stops the machine in the `n`-th operation from now (1 is the next one). That call and all later
   * ones, through any handle, reject with {@link SimulatedCrash}, as do earlier ones that have not
   * completed. Calls of the owner that wait for records reject with `LOCK_LOST`, caused by the
   * crash; those of a `readOnly` broker end when it is closed. Replaces a crash scheduled before.
   */
  crashAt(n: number, plan: CrashPlan): void {
    requireAtLeast('n', n, 1)
    this.#machine.faults.crashAt(this.operationCount + n, plan)
  }

  /**
   * Makes the next operation of `kind` fail with `code`, such as `'EIO'`, without performing it. A
   * failed `close` or `release` still gives up its handle or lock.
   *
   * A `sync` or `datasync` that fails leaves the file's pages clean: reads still see them, no later
   * sync writes them to the disk, and {@link SimulatedFileSystem.evictPageCache} makes them vanish.
   * Names that a failed `syncDirectory` covered may or may not survive a power loss, even after a
   * later sync. With a `code` that only opening the directory can return, such as `'EMFILE'`, no
   * sync was tried, and the next one covers them.
   */
  failNext(kind: OperationKind, code: string, options?: FaultOptions): void {
    this.#machine.faults.addError(code, { kind }, options)
  }

  /**
   * Makes only the `n`-th operation from now (1 is the next one) fail with `code`, see `failNext`.
   * It is used up even if another fault strikes that operation. With a `path`, it counts only
   * operations on that path.
   */
  failAt(n: number, code: string, options?: FaultOptions): void {
    requireAtLeast('n', n, 1)
    this.#machine.faults.addError(code, { nth: n }, options)
  }

  /** Makes the `n`-th write from now (1 is the next one) stop after `bytes`, without an error. */
  shortWriteAt(n: number, bytes: number): void {
    requireAtLeast('n', n, 1)
    requireAtLeast('bytes', bytes, 0)
    this.#machine.faults.addShort('write', n, bytes)
  }

  /** Makes the `n`-th read from now (1 is the next one) stop after `bytes` bytes, without error. */
  shortReadAt(n: number, bytes: number): void {
    requireAtLeast('n', n, 1)
    requireAtLeast('bytes', bytes, 0)
    this.#machine.faults.addShort('read', n, bytes)
  }

  /**
   * Calls `observer` for every operation just before it takes effect or fails; `null` for no
   * observer. A `fork()` within the observer is the machine as a crash at this moment leaves it.
   *
   * @internal
   */
  observe(observer: ((operation: ObservedOperation) => void) | null): void {
    this.#machine.observer = observer
  }

  /**
   * Equal for two file systems if and only if no program and no power loss can tell them apart.
   *
   * @internal
   */
  digest(): string {
    return this.#disk.digest()
  }

  /** Cancels every scheduled crash and fault that has not happened yet. */
  clearFaults(): void {
    this.#machine.faults.clear()
  }

  /** Drops bytes that a failed sync left only in memory: reads see those on the disk again. */
  evictPageCache(): void {
    this.#disk.evictPageCache()
  }

  /** Takes the lock of `path` from its owner, as a takeover does. Has no effect without a lock. */
  loseLock(path: string, reason = 'taken over by another owner'): void {
    this.#disk.loseLock(normalPath(path), reason)
  }

  /**
   * Stops this machine, if it still runs, and returns a new file system, the machine after its next
   * start: with what is left of the files, and without locks, faults or log. This one stays stopped:
   * its calls, and those on its files, reject with {@link SimulatedCrash}. May be called again for
   * another outcome of the same crash.
   *
   * @param kind `process`: everything that was written is kept, and what was not synced remains
   * unsynced. `power`: what was synced is kept; `options.unsynced` decides about the rest.
   * @throws TypeError or RangeError for illegal arguments
   */
  restart(kind: 'process' | 'power', options: RestartOptions = {}): SimulatedFileSystem {
    checkOneOf('kind', kind, ['process', 'power'])
    const { seed, unsynced = 'random' } = checkOptions('restart options', options, RESTART_OPTIONS)
    this.#machine.stop('the machine was restarted')
    return this.#successor(seed, (model) =>
      kind === 'process' ? this.#disk.clone(model) : this.#disk.afterPowerLoss(model, unsynced),
    )
  }

  /**
   * A separate file system in the same state, without handles, locks, faults or log. File contents
   * are copied only when one of the two changes them.
   *
   * @param options.seed decides everything random in it
   */
  fork(options: ForkOptions = {}): SimulatedFileSystem {
    const { seed } = checkOptions('fork options', options, FORK_OPTIONS)
    return this.#successor(seed, (model) => this.#disk.clone(model))
  }

  /** Content of every file, as seen by a reader, by absolute path and in path order. */
  snapshot(): Map<string, Buffer> {
    return new Map(this.#disk.files().map(([path, file]) => [path, file.memory.toBuffer()]))
  }

  /** @throws ENOENT, or EISDIR for a directory */
  readFile(path: string): Buffer {
    return this.#disk.file(normalPath(path)).memory.toBuffer()
  }

  /** Creates a file with this content, and the directories above it. All of it is durable. */
  writeFile(path: string, bytes: Uint8Array): void {
    this.#disk.putFile(normalPath(path), bytes)
  }

  /** Bit rot: inverts one bit of a file, in memory and on the disk; bit 0 is the lowest. */
  flipBit(path: string, position: number, bit: number): void {
    const file = this.#disk.file(normalPath(path))
    requireAtLeast('position', position, 0)
    requireAtLeast('bit', bit, 0)
    if (position >= file.sizeBytes || bit > 7) {
      throw new RangeError(
        `there is no bit ${bit} at position ${position}: ${path} has ${file.sizeBytes} bytes`,
      )
    }
    file.flipBit(position, bit)
  }

  #successor(
    seed: number | undefined,
    diskOf: (model: DiskModel) => SimulatedDisk,
  ): SimulatedFileSystem {
    const next = new SimulatedFileSystem({
      ...this.#options,
      capacityBytes: this.capacityBytes,
      random: new SeededRandom(seed ?? this.#random.integer(2 ** 32)),
    })
    next.#disk = diskOf(next.#disk.model)
    return next
  }
}
