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
 * Which file system a power loss is modelled on.
 *
 * | | strict-posix | ext4 | xfs |
 * |---|---|---|---|
 * | sync of a new file | content only | and its name, with the directories above | as ext4 |
 * | unsynced names | kept or lost one by one, in order for each name | a prefix of all of them | as ext4 |
 * | move between directories | each side needs the sync of its directory | one sync covers both sides | as ext4 |
 * | unsynced file renamed over another | may be empty | has its content | may be empty |
 * | unsynced bytes | kept, old, zero or garbage | kept, old or zero | as ext4 |
 *
 * Two more are as xfs but for unsynced bytes, and give shapes that the others seldom do:
 *
 * - `zero-hole`: the file has grown all the way, and what did not reach the disk is zeros.
 * - `preallocated`: the same, and space that was taken ahead shows as zeros behind the end.
 */
export type Persona = 'strict-posix' | 'ext4' | 'xfs' | 'zero-hole' | 'preallocated'

/** Every {@link Persona} there is. */
export const PERSONAS: readonly Persona[] = [
  'strict-posix',
  'ext4',
  'xfs',
  'zero-hole',
  'preallocated',
]

/** In which space is taken ahead for a file that grows. */
const PREALLOCATED_BYTES = 4096

/**
 * What a power loss does to everything that no sync covered.
 *
 * - `lost`: none of it is there.
 * - `kept`: all of it is there, but for what a failed sync dropped.
 * - `random`: any mixture that the persona allows.
 */
export type UnsyncedFate = 'lost' | 'kept' | 'random'

/** Every {@link UnsyncedFate} there is. */
export const UNSYNCED_FATES: readonly UnsyncedFate[] = ['lost', 'kept', 'random']

/** How {@link afterPowerLoss} decides. */
export interface PowerLoss {
  readonly persona: Persona
  readonly fate: UnsyncedFate
  readonly random: Random
  /** Unit in which unsynced bytes are kept or lost. */
  readonly sectorBytes: number
}

type UnitFate = 'kept' | 'old' | 'zero' | 'garbage'

/** What a unit that is not kept may be, each as likely as it is often here. */
const LOST_FATES: Readonly<Record<Persona, readonly UnitFate[]>> = {
  'strict-posix': ['old', 'old', 'zero', 'garbage'],
  ext4: ['old', 'old', 'zero'],
  xfs: ['old', 'old', 'zero'],
  'zero-hole': ['zero'],
  preallocated: ['zero'],
}

/** The tree that a machine finds after its power was cut. `tree` itself is not changed. */
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

/**
 * Brings a random part of a file's unsynced content to the disk, as a sync may do before it fails.
 */
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
  // One journal holds every change of names in order, so a cut leaves a prefix of them.
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
  // Bytes and size reach the disk independently, so bytes may land behind an end that moves later.
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

/** The end of the file after a write up to `end`: moved there, not moved, or moved part of the way. */
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
 * What a unit changes: bytes that are written over equal ones stay what they are, whatever becomes
 * of the write. Appending relies on that too, since it writes the rest of the last sector again.
 */
function changedPart(
  there: Buffer,
  { position, bytes }: { readonly position: number; readonly bytes: Buffer },
): { position: number; bytes: Buffer } {
  let equal = 0
  while (equal < bytes.length && there[position + equal] === bytes[equal]) equal += 1
  return { position: position + equal, bytes: bytes.subarray(equal) }
}

/** The parts of a write that share no sector: each has a fate of its own. */
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
 * Draws the fates of a file's unsynced units in their order.
 *
 * Independent draws alone would hardly ever leave a clean prefix, a lone suffix or one hole in a
 * long row of units, nor all of them or none. These are the shapes that recovery code gets wrong, so
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

/** The units `[from, until)` to lose: none, all, those behind a cut, before it, or between two. */
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
