import { basename, join } from 'node:path'
import type { DirectoryEntry, FileSystem } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'
import { InDoubtError, NamesInDoubtError } from './in-doubt-error.ts'
import type { LocalLog } from './local-log.ts'
import { CLEANED_SUFFIX, segmentFilePath, SWAP_SUFFIX } from './log-files.ts'
import type { LogSegment } from './log-segment.ts'
import { swapIn } from './swap-files.ts'
import { joinTransactionIndexes } from './transaction-index.ts'

/** Kinds of files that a replacement renames. */
const KINDS = ['index', 'timeindex', 'txnindex', 'log'] as const

/**
 * One segment that replaces several adjacent ones.
 *
 * The record of segments contains neither while the files are renamed, so the next open takes what
 * it finds: all of the old segments, or the new one.
 */
export class SegmentSwap {
  readonly sources: readonly LogSegment[]
  readonly #log: LocalLog
  readonly #fileSystem: FileSystem
  readonly #dir: string
  readonly #sizes: readonly number[]
  #target: LogSegment | null = null
  #hasBegun = false

  constructor(log: LocalLog, fileSystem: FileSystem, dir: string, sources: readonly LogSegment[]) {
    this.#log = log
    this.#fileSystem = fileSystem
    this.#dir = dir
    this.sources = sources
    this.#sizes = sources.map(({ sizeBytes }) => sizeBytes)
  }

  /** Creates the files of the new segment, which do not count yet. */
  async create(): Promise<LogSegment> {
    this.#target = this.#log.newSegment(this.#first.baseOffset, CLEANED_SUFFIX)
    await this.#target.create()
    return this.#target
  }

  /**
   * Makes the contents of the new segment durable. Its names become durable during the swap: the
   * directory is synced before the last of them, that of the log, is changed.
   */
  async finish(): Promise<void> {
    await this.#keepAge()
    const pathAt = (baseOffset: number): string =>
      segmentFilePath(this.#dir, baseOffset, 'txnindex')
    const sources = this.sources.map(({ baseOffset }) => pathAt(baseOffset))
    const target = pathAt(this.#first.baseOffset) + CLEANED_SUFFIX
    await joinTransactionIndexes(this.#fileSystem, sources, target)
    await this.#target?.flush()
    await this.#target?.seal()
    await this.#target?.close()
  }

  /**
   * Gives the new file the modification time of its last source, as Kafka does: if no timestamp can
   * be right, it tells the age of the records. If this fails, they are only kept longer.
   */
  async #keepAge(): Promise<void> {
    try {
      const last = await this.#fileSystem.stat(this.sources.at(-1)?.path ?? '')
      if (last !== null) await this.#target?.file.setModified(last.modifiedMs)
    } catch (error) {
      if (!isSystemError(error)) throw error
    }
  }

  /** Removes the files of the new segment, unless {@link SegmentSwap.run} was called. */
  async discard(): Promise<void> {
    if (this.#hasBegun) return
    await this.#target?.close()
    await this.#removeTarget()
  }

  /** See {@link removeCleaned}. */
  async #removeTarget(): Promise<void> {
    for (const suffix of [SWAP_SUFFIX, CLEANED_SUFFIX]) {
      for (const { name } of await this.#namesOf([this.#first], [suffix])) {
        await this.#fileSystem.unlink(join(this.#dir, name))
      }
    }
  }

  /** The files of these segments that exist. Listing the directory takes longer in a larger log. */
  async #namesOf(
    segments: readonly LogSegment[],
    suffixes: readonly string[],
  ): Promise<DirectoryEntry[]> {
    const found: DirectoryEntry[] = []
    for (const { baseOffset } of segments) {
      for (const kind of KINDS) {
        for (const suffix of suffixes) {
          const path = segmentFilePath(this.#dir, baseOffset, kind) + suffix
          const file = await this.#fileSystem.stat(path)
          if (file !== null) found.push({ name: basename(path), kind: file.kind })
        }
      }
    }
    return found
  }

  /** Whether the segments are still there, unchanged, and none of them is active. */
  get isPossible(): boolean {
    const { all } = this.#log.segments
    const from = all.indexOf(this.#first)
    return (
      from >= 0 &&
      from + this.sources.length < all.length &&
      this.sources.every(
        (source, slot) => all[from + slot] === source && source.sizeBytes === this.#sizes[slot],
      )
    )
  }

  /**
   * Replaces the old segments with the new one; durable when it resolves. Runs as a change of the
   * log.
   *
   * @throws InDoubtError if it fails half-way, and the next open has to finish it; after another
   * error everything is as before.
   */
  async run(): Promise<void> {
    const target = this.#target
    if (target === null) return
    this.#hasBegun = true
    const { segments } = this.#log
    try {
      await this.#log.recordSegments(this.#log.logStartOffset, new Set(this.sources))
    } catch (error) {
      await this.#giveUp()
      throw error
    }
    const replacement = this.#log.newSegment(target.baseOffset)
    replacement.sizeBytes = target.sizeBytes
    replacement.nextOffset = this.sources.at(-1)?.nextOffset ?? target.nextOffset
    replacement.sum.restore(target.sum.state)
    replacement.noteDurable()
    const holds: (() => void)[] = []
    const release = (): void => {
      for (const letGo of holds.splice(0)) letGo()
    }
    let gone: readonly LogSegment[]
    try {
      // Readers continue with the open files: the names may stand for the new file at any moment.
      for (const source of this.sources) holds.push(await holdOpen(source))
      gone = await segments.changing(async () => {
        await this.#swapFiles(target.nextOffset)
        const from = segments.all.indexOf(this.#first)
        return segments.take(segments.all.toSpliced(from, this.sources.length, replacement))
      })
    } catch (error) {
      // In doubt, the log is read from the open files, because the names tell nothing any more.
      if (error instanceof InDoubtError) throw error
      release()
      await this.#giveUp()
      throw error
    }
    // Only now: a reader that began before must see that something has changed.
    release()
    for (const source of gone) await source.close().catch(() => undefined)
    await this.#log.recordSegments()
    // As in Kafka: no segment begins there any more, so nobody would ever look for them.
    await this.#log.producers.dropSnapshots(this.sources.slice(1).map((each) => each.baseOffset))
  }

  async #swapFiles(end: number): Promise<void> {
    try {
      const suffixes = ['', CLEANED_SUFFIX, SWAP_SUFFIX]
      const list = (): Promise<DirectoryEntry[]> => this.#namesOf(this.sources, suffixes)
      // Appends wait meanwhile, so the end is not found by reading what was just written.
      await swapIn(this.#fileSystem, this.#dir, list, end)
    } catch (error) {
      if (await this.#isDecided())
        throw new NamesInDoubtError('a replacement failed', { cause: error })
      throw error
    }
  }

  /** Whether the decisive name has changed. If that cannot be told, it may have. */
  async #isDecided(): Promise<boolean> {
    const path = this.#target?.path ?? ''
    return (await this.#fileSystem.stat(path).catch(() => null)) === null
  }

  async #giveUp(): Promise<void> {
    await this.#removeTarget().catch(() => undefined)
    await this.#log.recordSegments().catch(() => undefined)
  }

  get #first(): LogSegment {
    const [first] = this.sources
    if (first === undefined) throw new RangeError('a replacement must have a segment to replace')
    return first
  }
}

/**
 * Removes what an earlier unfinished pass has left. Files with the suffix `.swap` are removed
 * first: alone they would look like a replacement that is decided.
 */
export async function removeCleaned(fileSystem: FileSystem, dir: string): Promise<void> {
  const names = (await fileSystem.list(dir)).map(({ name }) => name)
  const left = [SWAP_SUFFIX, CLEANED_SUFFIX].flatMap((suffix) =>
    names.filter((name) => name.endsWith(suffix)),
  )
  for (const name of left) await fileSystem.unlink(join(dir, name))
}

/** Keeps the file of a segment open until the returned function is called. */
function holdOpen({ file }: LogSegment): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const hold = (): Promise<void> =>
      new Promise<void>((letGo) => {
        resolve(letGo)
      })
    file.use(hold).catch(reject)
  })
}
