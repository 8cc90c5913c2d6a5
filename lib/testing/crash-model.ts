import type { Random } from '../platform/random.ts'
import { applyEntry, withPredecessors, type EntryOperation } from './entry-journal.ts'
import type { GrowableBytes } from './growable-bytes.ts'
import {
  applyChanges,
  DirectoryInode,
  FileInode,
  type Inode,
  type UnsyncedChange,
} from './simulated-inode.ts'
import { link, SimulatedTree } from './simulated-tree.ts'

/**
 * The file system on which a power loss is modelled.
 *
 * | | strict-posix | ext4 | xfs |
 * |---|---|---|---|
 * | sync of a new file | content only | also its name and the directories above | as ext4 |
 * | unsynced names | kept or lost one by one, in order per name | a prefix of all | as ext4 |
 * | move between directories | each directory needs its own sync | one sync covers both | as ext4 |
 * | unsynced file renamed over another | may be empty | has its content | may be empty |
 * | unsynced bytes | kept, old, zero or garbage | kept, old or zero | as ext4 |
 *
 * Two more are like xfs except for unsynced bytes, and produce states that are rare with the
 * others:
 *
 * - `zero-hole`: the file has its full new size, and bytes that did not reach the disk are zeros.
 * - `preallocated`: the same, and preallocated space appears as zeros after the end.
 */
export type Persona = 'strict-posix' | 'ext4' | 'xfs' | 'zero-hole' | 'preallocated'

/** All values of {@link Persona}. */
export const PERSONAS: readonly Persona[] = [
  'strict-posix',
  'ext4',
  'xfs',
  'zero-hole',
  'preallocated',
]

/** Unit in which space is preallocated for a growing file. */
const PREALLOCATED_BYTES = 4096

/**
 * What a power loss does to everything that no sync covered.
 *
 * - `lost`: nothing is kept, unless more than 16 MiB of a file are unsynced: like a system, the
 *   simulated disk then writes them back by itself.
 * - `kept`: everything is kept, except for what a failed sync dropped.
 * - `random`: any mixture that the persona allows.
 */
export type UnsyncedFate = 'lost' | 'kept' | 'random'

/** All values of {@link UnsyncedFate}. */
export const UNSYNCED_FATES: readonly UnsyncedFate[] = ['lost', 'kept', 'random']

/** Parameters of {@link afterPowerLoss}. */
export interface PowerLoss {
  readonly persona: Persona
  readonly fate: UnsyncedFate
  readonly random: Random
  /** Unit in which unsynced bytes are kept or lost. */
  readonly sectorBytes: number
}

type UnitFate = 'kept' | 'old' | 'zero' | 'garbage'

/** Possible states of a unit that is not kept. A value listed twice is twice as likely. */
const LOST_FATES: Readonly<Record<Persona, readonly UnitFate[]>> = {
  'strict-posix': ['old', 'old', 'zero', 'garbage'],
  ext4: ['old', 'old', 'zero'],
  xfs: ['old', 'old', 'zero'],
  'zero-hole': ['zero'],
  preallocated: ['zero'],
}

/** The tree that a machine finds after a power loss. `tree` itself is not changed. */
export function afterPowerLoss(tree: SimulatedTree, loss: PowerLoss): SimulatedTree {
  const { operations } = tree.journal
  const kept = survivingOperations(operations, loss)
  const entriesOf = new Map<DirectoryInode, Map<string, Inode>>()
  for (const operation of operations) {
    for (const change of kept.has(operation) ? operation.changes : []) {
      const entries = entriesOf.get(change.directory) ?? new Map(change.directory.durable)
      entriesOf.set(change.directory, entries)
      applyEntry(entries, change)
    }
  }

  const survivors = new Map<Inode, Inode>()
  const survive = (inode: Inode): Inode => {
    const known = survivors.get(inode)
    if (known !== undefined) {
      return known
    }
    if (inode.kind === 'file') {
      const file = new FileInode(inode.createdMs, inode.modifiedMs)
      survivors.set(inode, file)
      file.durable = survivingContent(inode, loss)
      file.memory = file.durable.clone()
      return file
    }
    return surviveDirectory(inode)
  }
  const surviveDirectory = (inode: DirectoryInode): DirectoryInode => {
    const directory = new DirectoryInode(inode.createdMs, inode.modifiedMs)
    survivors.set(inode, directory)
    for (const [name, child] of entriesOf.get(inode) ?? inode.durable) {
      const survivor = survive(child)
      link(directory, name, survivor)
      directory.durable.set(name, survivor)
    }
    return directory
  }
  return new SimulatedTree(surviveDirectory(tree.root))
}

/** Writes a random part of a file's unsynced content to the disk, as a failing sync may do. */
export function syncSomeContent(file: FileInode, loss: Omit<PowerLoss, 'fate'>): void {
  file.durable = survivingContent(file, { ...loss, fate: 'random' })
}

function survivingOperations(
  operations: readonly EntryOperation[],
  { persona, fate, random }: PowerLoss,
): ReadonlySet<EntryOperation> {
  if (fate !== 'random') {
    return new Set(fate === 'kept' ? operations : [])
  }
  if (persona === 'strict-posix') {
    return withPredecessors(operations, new Set(operations.filter(() => random.integer(2) === 0)))
  }
  // A single journal holds all changes of names in order, so a power loss leaves a prefix of them.
  return new Set(operations.slice(0, random.integer(operations.length + 1)))
}

function survivingContent(file: FileInode, loss: PowerLoss): GrowableBytes {
  const content = file.durable.clone()
  if (loss.fate === 'kept') {
    applyChanges(content, file.unsynced)
  } else if (loss.fate === 'random' && file.unsynced.length > 0) {
    loseSome(content, file.unsynced, loss)
  }
  return content
}

function loseSome(
  content: GrowableBytes,
  changes: readonly UnsyncedChange[],
  { persona, random, sectorBytes }: PowerLoss,
): void {
  // Bytes and size reach the disk independently, so bytes may be stored after the end of the file,
  // which moves later.
  const durableBytes = content.sizeBytes
  let sizeBytes = durableBytes
  content.resize(largestSize(content.sizeBytes, changes))
  const fateOf = unitFates(changes, sectorBytes, persona, random)
  for (const change of changes) {
    if (change.kind === 'truncate') {
      if (random.integer(2) === 0) {
        content.zero(change.sizeBytes, content.sizeBytes)
        sizeBytes = change.sizeBytes
      }
      continue
    }
    for (const whole of unitsOf(change, sectorBytes)) {
      const fate = fateOf()
      const unit = changedPart(content.view().subarray(0, durableBytes), whole)
      if (fate === 'kept') {
        content.write(unit.bytes, unit.position)
      } else if (fate === 'zero') {
        content.zero(unit.position, unit.position + unit.bytes.length)
      } else if (fate === 'garbage') {
        content.write(random.bytes(unit.bytes.length), unit.position)
      }
    }
    const end = change.position + change.bytes.length
    sizeBytes = isSizeKept(persona)
      ? Math.max(sizeBytes, end)
      : survivingSize(sizeBytes, end, random)
  }
  content.resize(sizeBytes)
  if (persona === 'preallocated' && sizeBytes > durableBytes) {
    content.resize(Math.ceil(sizeBytes / PREALLOCATED_BYTES) * PREALLOCATED_BYTES)
  }
}

function isSizeKept(persona: Persona): boolean {
  return persona === 'zero-hole' || persona === 'preallocated'
}

function largestSize(sizeBytes: number, changes: readonly UnsyncedChange[]): number {
  return changes.reduce(
    (largest, change) =>
      Math.max(
        largest,
        change.kind === 'write' ? change.position + change.bytes.length : change.sizeBytes,
      ),
    sizeBytes,
  )
}

/** The end of the file after a write up to `end`: moved there, not moved, or moved partly. */
function survivingSize(sizeBytes: number, end: number, random: Random): number {
  if (end <= sizeBytes) {
    return sizeBytes
  }
  const fate = random.integer(4)
  if (fate === 0) {
    return sizeBytes
  }
  return fate === 1 ? sizeBytes + random.integer(end - sizeBytes + 1) : end
}

/**
 * The part of a unit that changes. Bytes that are overwritten with equal bytes keep their value,
 * whatever happens to the write. Appending relies on this as well, because it writes the rest of
 * the last sector again.
 */
function changedPart(
  there: Buffer,
  { position, bytes }: { readonly position: number; readonly bytes: Buffer },
): { position: number; bytes: Buffer } {
  let equal = 0
  while (equal < bytes.length && there[position + equal] === bytes[equal]) equal += 1
  return { position: position + equal, bytes: bytes.subarray(equal) }
}

/** The parts of a write that share no sector. Each is kept or lost on its own. */
function* unitsOf(
  write: { readonly position: number; readonly bytes: Buffer },
  sectorBytes: number,
): Generator<{ position: number; bytes: Buffer }> {
  const end = write.position + write.bytes.length
  for (let position = write.position; position < end;) {
    const next = Math.min(end, position - (position % sectorBytes) + sectorBytes)
    yield {
      position,
      bytes: write.bytes.subarray(position - write.position, next - write.position),
    }
    position = next
  }
}

/**
 * Draws the fates of a file's unsynced units, in order.
 *
 * Independent draws would hardly ever produce a clean prefix, a lone suffix or a single hole in a
 * long series of units, nor all units or none. Recovery code typically fails on these shapes, so
 * half of the time one of them is drawn.
 */
function unitFates(
  changes: readonly UnsyncedChange[],
  sectorBytes: number,
  persona: Persona,
  random: Random,
): () => UnitFate {
  const lostFates = LOST_FATES[persona]
  const lost = (): UnitFate => lostFates[random.integer(lostFates.length)] ?? 'old'
  if (random.integer(2) === 0) {
    return () => (random.integer(2) === 0 ? 'kept' : lost())
  }
  let unitCount = 0
  for (const change of changes) {
    unitCount += change.kind === 'write' ? [...unitsOf(change, sectorBytes)].length : 0
  }
  const [from, until] = lostRange(unitCount, random)
  let unit = -1
  return () => {
    unit += 1
    return unit >= from && unit < until ? lost() : 'kept'
  }
}

/** The units `[from, until)` to lose: none, all, those after a cut, before it, or between two. */
function lostRange(unitCount: number, random: Random): [number, number] {
  const cuts = [random.integer(unitCount + 1), random.integer(unitCount + 1)]
  const [first, second] = [Math.min(...cuts), Math.max(...cuts)]
  const ranges: [number, number][] = [
    [0, 0],
    [0, unitCount],
    [first, unitCount],
    [0, second],
    [first, second],
  ]
  return ranges[random.integer(ranges.length)] ?? [0, unitCount]
}
