import { join } from 'node:path'
import type { DirectoryEntry, FileSystem } from '../platform/file-system.ts'
import {
  CLEANED_SUFFIX,
  DELETED_SUFFIX,
  parseSegmentFileName,
  SWAP_SUFFIX,
  type SegmentFileName,
} from './log-files.ts'
import { removeLogFile } from './segment-removal.ts'
import { scanBatches } from './segment-scan.ts'

const SUFFIXES = [DELETED_SUFFIX, CLEANED_SUFFIX, SWAP_SUFFIX] as const

/** A file of a log, under its present name. */
export class FoundFile implements SegmentFileName {
  readonly offset: number
  readonly kind: SegmentFileName['kind']
  readonly suffix: SegmentFileName['suffix']
  readonly #dir: string
  readonly #name: string

  constructor(dir: string, name: string, { offset, kind, suffix }: SegmentFileName) {
    this.offset = offset
    this.kind = kind
    this.suffix = suffix
    this.#dir = dir
    this.#name = name
  }

  /** Built on demand: for most files it is never needed. */
  get path(): string {
    return join(this.#dir, this.#name)
  }
}

/** Lists the names in a log's directory, or those that a replacement may affect. */
type ListNames = () => Promise<readonly DirectoryEntry[]>

/** What to do about an interrupted replacement of segments. */
interface SwapPlan {
  /** Files that stay as they are. */
  readonly kept: readonly FoundFile[]
  /** New files of replacements in which others are not renamed yet. */
  readonly premature: readonly FoundFile[]
  /** Files that are neither in the state before the replacement nor in the one after it. */
  readonly dropped: readonly FoundFile[]
  /** Files that the complete replacements supersede. */
  readonly replaced: readonly FoundFile[]
  /** Files of complete replacements that still have the suffix. */
  readonly swapped: readonly FoundFile[]
}

/**
 * Replaces segments with the `.cleaned` ones that hold their records. These must have durable
 * contents, and stand for one range of offsets without another segment in between. Durable when it
 * resolves. After an interruption, {@link completeSwaps} leads to the state before or after it.
 *
 * As in Kafka, the files are renamed to `.swap` from the highest base offset down, the log of each
 * segment last. A power loss may keep some of these names and lose others, so they are synced
 * before the last one is renamed: the log with the lowest offset. That rename decides, and is
 * synced before any original is removed.
 *
 * @param list for callers that know which files there can be: a log may have tens of thousands.
 * @param end for callers that know where the written batches end, exclusive. Otherwise all of the
 * last segment is read to find it.
 */
export async function swapIn(
  fileSystem: FileSystem,
  dir: string,
  list: ListNames = () => fileSystem.list(dir),
  end?: number,
): Promise<void> {
  const cleaned = parsed(await list(), dir).filter((file) => file.suffix === '.cleaned')
  const isLog = ({ kind }: FoundFile): number => Number(kind === 'log')
  const inOrder = cleaned.sort((a, b) => b.offset - a.offset || isLog(a) - isLog(b))
  for (const [slot, file] of inOrder.entries()) {
    if (slot > 0 && slot === inOrder.length - 1) await fileSystem.syncDirectory(dir)
    await fileSystem.rename(file.path, `${withoutSuffix(file.path)}.swap`)
  }
  await completeSwaps(fileSystem, dir, list, end)
}

/**
 * Completes or reverts a replacement of segments that a crash interrupted, as Kafka's log loader
 * does. A cleaned segment is written as `.cleaned`, renamed to `.swap` from the highest base offset
 * down, and gets its final name when the segments it replaces are gone.
 *
 * - `.deleted` files were being deleted and are removed.
 * - `.cleaned` files mean that renaming to `.swap` was not finished: they are removed, with every
 *   `.swap` at or above the lowest of them. The originals are still there.
 * - If the lowest of them begins inside an original, it belongs with the `.swap` files below it,
 *   whose first original is there: a power loss has lost its name and kept theirs. They are removed
 *   too. Otherwise they would replace records that only that `.cleaned` file holds besides.
 * - An index `.swap` without its log `.swap` is removed if the log has an index of that kind: a power
 *   loss may have kept its name and lost that of the `.cleaned` log, and then both are the original
 *   ones. In a decided replacement the original index is gone before the log gets its final name.
 * - The remaining `.swap` files are complete: what they cover is removed, and they get final names.
 *
 * Files are unlinked before others are renamed, and each step is synced before the next, so that an
 * interruption leaves one of these states again.
 */
export async function completeSwaps(
  fileSystem: FileSystem,
  dir: string,
  list: ListNames = () => fileSystem.list(dir),
  end?: number,
): Promise<void> {
  const names = await list()
  const { premature, dropped, replaced, swapped } = await planSwaps(fileSystem, dir, names, end)
  // The names left by a crash may be in memory only: sync them before originals are removed.
  if (swapped.length > 0) await fileSystem.syncDirectory(dir)
  // Without a `.cleaned` beside it, a premature `.swap` would look complete. From the highest down:
  // the lowest tells with which originals they belong.
  await stepwise(fileSystem, dir, premature.toReversed(), (path) => fileSystem.unlink(path))
  const unwanted = [...dropped, ...replaced]
  for (const file of unwanted) await removeLogFile(fileSystem, file.path)
  if (unwanted.length > 0) await fileSystem.syncDirectory(dir)
  // From the lowest up: a segment with its final name must not lie between two without, or it would
  // be taken for an original. So would a transaction index that is renamed before its log, and it
  // cannot be rebuilt.
  const inOrder = swapped.toSorted((a, b) => a.offset - b.offset || rankOf(a) - rankOf(b))
  await stepwise(fileSystem, dir, inOrder, (path) => fileSystem.rename(path, withoutSuffix(path)))
}

/** Order in which the files of one segment get their final names. */
function rankOf({ kind }: FoundFile): number {
  return kind === 'log' ? 0 : kind === 'txnindex' ? 2 : 1
}

/**
 * Changes the names of one segment after another. Each is made durable before the next one, and
 * before that of its transaction index.
 */
async function stepwise(
  fileSystem: FileSystem,
  dir: string,
  files: readonly FoundFile[],
  change: (path: string) => Promise<void>,
): Promise<void> {
  for (const [slot, file] of files.entries()) {
    await change(file.path)
    const next = files[slot + 1]
    const isFree = next?.offset === file.offset && next.kind !== 'txnindex'
    if (!isFree) await fileSystem.syncDirectory(dir)
  }
}

function withoutSuffix(path: string): string {
  return path.slice(0, path.lastIndexOf('.'))
}

/** Whether {@link completeSwaps} has anything to do in a directory with these names. */
export function isSwapping(entries: readonly DirectoryEntry[]): boolean {
  return entries.some(({ name }) => SUFFIXES.some((suffix) => name.endsWith(suffix)))
}

/**
 * The files of the log in `dir`, in offset order. If a replacement was interrupted, these are the
 * files that are left after {@link completeSwaps}, but under their present names.
 *
 * @param entries the names in `dir`. @defaultValue lists the directory
 */
export async function findLogFiles(
  fileSystem: FileSystem,
  dir: string,
  entries?: readonly DirectoryEntry[],
): Promise<FoundFile[]> {
  const names = entries ?? (await fileSystem.list(dir))
  // A log may have tens of thousands of files.
  if (!isSwapping(names)) return parsed(names, dir)
  const { kept, swapped } = await planSwaps(fileSystem, dir, names)
  return [...kept, ...swapped].sort((a, b) => a.offset - b.offset)
}

async function planSwaps(
  fileSystem: FileSystem,
  dir: string,
  entries: readonly DirectoryEntry[],
  knownEnd?: number,
): Promise<SwapPlan> {
  const found = parsed(entries, dir)
  const withSuffix = (suffix: string): FoundFile[] => found.filter((file) => file.suffix === suffix)
  const [plain, cleaned, swaps] = [withSuffix(''), withSuffix('.cleaned'), withSuffix('.swap')]
  const lowestCleaned = lowestOffset(cleaned)
  const originals = new Set(plain.flatMap((file) => (file.kind === 'log' ? [file.offset] : [])))
  const isTorn =
    cleaned.length > 0 && !originals.has(lowestCleaned) && originals.has(lowestOffset(swaps))
  const isWhole = (file: FoundFile): boolean => !isTorn && file.offset < lowestCleaned
  const whole = swaps.filter(isWhole)
  const swapped = whole.filter((file) => isOfSwappedLog(file, whole, plain))
  // The log may already have its final name when an index does not.
  const first = lowestOffset(swapped.filter(({ kind }) => kind === 'log'))
  const end = knownEnd ?? (await endOfSwaps(fileSystem, swapped))
  const isReplaced = (file: FoundFile): boolean =>
    file.kind !== 'snapshot' && file.offset >= first && file.offset < end
  return {
    kept: plain.filter((file) => !isReplaced(file)),
    premature: swaps.filter((file) => !isWhole(file)),
    dropped: [
      ...withSuffix('.deleted'),
      ...cleaned,
      ...whole.filter((file) => !swapped.includes(file)),
    ],
    replaced: plain.filter(isReplaced),
    swapped,
  }
}

/**
 * Whether a `.swap` file belongs with the log that the replacement leaves, as far as that matters.
 *
 * If its log has got its final name already, so has a log that was never replaced. Then the originals
 * of a decided replacement are gone, those of the other are not.
 */
function isOfSwappedLog(
  { kind, offset }: FoundFile,
  swaps: readonly FoundFile[],
  plain: readonly FoundFile[],
): boolean {
  const has = (files: readonly FoundFile[], wanted: FoundFile['kind']): boolean =>
    files.some((file) => file.offset === offset && file.kind === wanted)
  return has(swaps, 'log') || !has(plain, kind)
}

/** The names that belong to a log's files, in offset order. */
function parsed(entries: readonly DirectoryEntry[], dir: string): FoundFile[] {
  const found: FoundFile[] = []
  for (const entry of entries) {
    const name = entry.kind === 'file' ? parseSegmentFileName(entry.name) : null
    if (name !== null) found.push(new FoundFile(dir, entry.name, name))
  }
  return found.sort((a, b) => a.offset - b.offset)
}

/** `Infinity` if there are none. There may be more files than a call takes arguments. */
function lowestOffset(files: readonly FoundFile[]): number {
  return files.reduce((lowest, { offset }) => Math.min(lowest, offset), Infinity)
}

/** Where the offsets of the swapped segments end, exclusive. */
async function endOfSwaps(fileSystem: FileSystem, swaps: readonly FoundFile[]): Promise<number> {
  const last = swaps.findLast((file) => file.kind === 'log')
  if (last === undefined) return 0
  const file = await fileSystem.open(last.path, 'read')
  try {
    const { sizeBytes } = await file.stat()
    const { offset } = last
    const range = { position: 0, end: sizeBytes, nextOffset: offset, baseOffset: offset }
    return (await scanBatches(file, range, () => undefined)).nextOffset
  } finally {
    await file.close()
  }
}
