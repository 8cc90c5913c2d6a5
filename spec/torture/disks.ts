import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { getSystemErrorName } from 'node:util'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { nativeProgram } from './native.ts'

export type DiskType = 'ext4' | 'xfs' | 'btrfs'

/** The smallest images that `mkfs` accepts; they are sparse. */
const IMAGE_BYTES: Readonly<Record<DiskType, number>> = {
  ext4: 32 * 1024 * 1024,
  xfs: 320 * 1024 * 1024,
  btrfs: 256 * 1024 * 1024,
}

/** The process that mounts, unmounts and cuts the power. It runs one command at a time. */
class DiskHelper {
  readonly #process: ChildProcess
  readonly #waiting: ((answer: string) => void)[] = []

  constructor() {
    const child = spawn(nativeProgram('disk-helper'), { stdio: ['pipe', 'pipe', 'inherit'] })
    createInterface({ input: child.stdout }).on('line', (line) => this.#waiting.shift()?.(line))
    this.#process = child
  }

  /** @returns what follows the word ok. @throws Error that names the system's error. */
  async do(...command: readonly (string | number)[]): Promise<string> {
    const answer = await new Promise<string>((resolve) => {
      this.#waiting.push(resolve)
      this.#process.stdin?.write(`${command.join(' ')}\n`)
    })
    const [word, number = ''] = answer.split(' ')
    if (word === 'ok') return number
    throw new Error(`${command.join(' ')}: ${getSystemErrorName(-Number(number))}`)
  }

  stop(): void {
    this.#process.stdin?.end()
  }
}

/** Creates a directory for one test, in memory if the machine has a file system there. */
export function scratchDirectory(): string {
  const parent = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
  return mkdtempSync(join(parent, 'varve-disk-'))
}

/** A file system that a test may ruin: an image file on a loop device. */
export class LoopDisk {
  readonly type: DiskType
  /** The mount point. */
  readonly path: string
  readonly imagePath: string
  readonly #scratch: string
  readonly #device: string
  readonly #helper = new DiskHelper()
  #isMounted = false

  /** @param imageIn the directory of the image file; a separate one when absent. */
  constructor(type: DiskType, sizeBytes: number = IMAGE_BYTES[type], imageIn?: string) {
    this.type = type
    this.#scratch = scratchDirectory()
    this.path = join(this.#scratch, 'mounted')
    mkdirSync(this.path)
    this.imagePath = join(imageIn ?? this.#scratch, 'image')
    writeFileSync(this.imagePath, '')
    truncateSync(this.imagePath, sizeBytes)
    const found = execFileSync('losetup', ['--find', '--show', this.imagePath], {
      encoding: 'utf8',
    })
    this.#device = found.trim()
    this.format()
  }

  /** Creates an empty file system. Only while it is not mounted. */
  format(): void {
    const options = {
      ext4: ['-q', '-F'],
      xfs: ['-q', '-f'],
      btrfs: ['-q', '-f', '-m', 'single'],
    }[this.type]
    execFileSync(`mkfs.${this.type}`, [...options, this.#device], { stdio: 'pipe' })
  }

  async mount(): Promise<void> {
    await this.#helper.do('mount', this.#device, this.path, this.type)
    this.#isMounted = true
  }

  /** @throws Error with `EBUSY` while a file on it is open. */
  async unmount(): Promise<void> {
    await this.#helper.do('unmount', this.path)
    this.#isMounted = false
  }

  /** Makes writes impossible. @throws Error with `EBUSY` while a file is open for writing. */
  async remountReadOnly(): Promise<void> {
    await this.#helper.do('read-only', this.path)
  }

  /** Writes a range of a file back to the disk, as the kernel may at any time. */
  async writeBack(path: string, offset: number, bytes: number): Promise<void> {
    await this.#helper.do('writeback', path, offset, bytes)
  }

  /**
   * Cuts the power after `delayUs` microseconds: every later call fails, and everything that was
   * not on the disk is lost. With `isJournalWritten`, the file system's journal of names and sizes
   * is kept.
   *
   * @returns when that began, as `process.hrtime.bigint()` counts. A sync that was in progress then
   * may still report success: the shutdown of xfs unpins the inode that the sync waits for, and the
   * sync then finds nothing left to write. A machine without power would not have answered.
   */
  async cutPower(options: { isJournalWritten: boolean; delayUs: number }): Promise<bigint> {
    const began = await this.#helper.do(
      'cut',
      this.path,
      options.isJournalWritten ? 1 : 2,
      options.delayUs,
    )
    return BigInt(began)
  }

  /** Frees everything, even if a test failed and left files open. */
  async remove(): Promise<void> {
    if (this.#isMounted) await this.#helper.do('detach', this.path)
    this.#helper.stop()
    execFileSync('losetup', ['--detach', this.#device])
    rmSync(this.imagePath, { force: true })
    rmSync(this.#scratch, { recursive: true, force: true })
  }
}

/** A file system in memory, with little space. */
export class MemoryDisk {
  readonly path: string = scratchDirectory()
  readonly #helper = new DiskHelper()

  /** @param options as of `mount -o`: `size=1m,nr_inodes=40`. */
  constructor(options: string) {
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'varve-spec', this.path])
  }

  /** Changes its limits. */
  async resize(options: string): Promise<void> {
    await this.#helper.do('resize', this.path, options)
  }

  /** Frees everything, even if a test failed and left files open. */
  async remove(): Promise<void> {
    await this.#helper.do('detach', this.path)
    this.#helper.stop()
    rmSync(this.path, { recursive: true, force: true })
  }
}
