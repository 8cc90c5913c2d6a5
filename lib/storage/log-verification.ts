import { CorruptRecordError, StorageError } from '../errors.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { damageKey, LOOKS_BESIDE_A_WRITER } from './beside-writer.ts'
import type { LeaderEpochCache } from './leader-epoch-cache.ts'
import type { LocalLog } from './local-log.ts'
import type { LogFollower } from './log-follower.ts'
import type { LogGuard } from './log-guard.ts'
import type { LogContext } from './log-options.ts'
import type { LogSegment } from './log-segment.ts'
import { scanBatches } from './segment-scan.ts'
import { SegmentSum } from './segment-sum.ts'
import type { SerialQueue } from './serial-queue.ts'

/**
 * Verifies a log beside its appends. A segment that looks damaged is checked again in the queue of
 * changes, where nothing is truncated, replaced or removed meanwhile. If another process writes the
 * log, its changes are picked up first, and damage is only believed if it is found twice.
 */
export class LogVerifier {
  readonly #fileSystem: FileSystem
  readonly #log: Pick<LocalLog, 'segments' | 'epochs'>
  readonly #guard: LogGuard
  readonly #queue: SerialQueue
  /** `null` if no other process writes. */
  readonly #follower: LogFollower | null
  readonly #whyGone: LogContext['whyGone']
  readonly #running = new Set<Promise<unknown>>()

  constructor(parts: {
    log: LocalLog
    guard: LogGuard
    context: LogContext
    queue: SerialQueue
    follower: LogFollower | null
  }) {
    this.#fileSystem = parts.context.fileSystem
    this.#follower = parts.follower
    this.#whyGone = parts.context.whyGone
    this.#log = parts.log
    this.#guard = parts.guard
    this.#queue = parts.queue
  }

  /** Returns a promise for the end of `other` and of all verifications, after a close has begun. */
  endedWith(other: Promise<unknown> | null): Promise<unknown> | null {
    return this.#running.size === 0 ? other : Promise.allSettled([...this.#running, other])
  }

  /**
   * Returns the first damage of each segment, in offset order, including known damage.
   *
   * @throws {@link ClosedError} if the log is closed, also meanwhile; {@link StorageError} if the
   * disk fails; for damage of a topic that another process is deleting, the reason why it is gone.
   */
  async verify(): Promise<CorruptRecordError[]> {
    const verifying = this.#verify()
    this.#running.add(verifying)
    const found = await verifying.finally(() => this.#running.delete(verifying))
    // Files that are missing to a reader may be those of a topic that its owner is deleting. The look
    // closes such a log, which waits for all that is running.
    const gone = found.length === 0 ? null : await this.#whyGone?.()
    if (gone != null) throw gone
    return found
  }

  async #verify(): Promise<CorruptRecordError[]> {
    this.#guard.ensureOpen()
    const { baseOffset: lastBase = -1, nextOffset: end = -1 } = this.#log.segments.active ?? {}
    const found: CorruptRecordError[] = []
    // Does not wait for new appends: the last segment would be read again and again.
    for (let from = -1; from < end || from <= lastBase;) {
      // A segment with offsets from there on may have replaced some that were verified.
      const segment = this.#nextSegment(from)
      if (segment === undefined || segment.baseOffset > lastBase) break
      const { baseOffset, nextOffset } = segment
      if (!(await this.#isSound(segment))) {
        const again = await this.#queue.run(() => this.#lookAgain(from))
        if (again.damage !== null) found.push(again.damage)
        from = Math.max(again.endOffset, from)
      }
      from = Math.max(from, nextOffset, baseOffset + 1)
    }
    const { damage: known } = this.#guard
    if (known !== null && found.every(({ path }) => path !== known.path)) found.push(known)
    return found.sort((a, b) => Number(a.firstOffset) - Number(b.firstOffset))
  }

  #nextSegment(from: number): LogSegment | undefined {
    return this.#log.segments.all.find((each) => each.baseOffset >= from || each.nextOffset > from)
  }

  /** Whether a segment, which may change meanwhile, shows no damage. */
  async #isSound(segment: LogSegment): Promise<boolean> {
    const isSound = await this.#damageOf(segment).then(
      (damage) => damage === null,
      (error: unknown) => {
        // It may have been removed since.
        if (isSystemError(error, 'ENOENT')) return false
        throw this.#guard.failed('verification', error, 'not-written')
      },
    )
    this.#guard.ensureOpen()
    return isSound
  }

  #lookAgain(from: number): Promise<SecondLook> {
    const follower = this.#follower
    return follower === null ? this.#look(from) : this.#lookBesideWriter(from, follower)
  }

  async #lookBesideWriter(from: number, follower: LogFollower): Promise<SecondLook> {
    let before: string | null = null
    for (let looks = 0; looks < LOOKS_BESIDE_A_WRITER; looks += 1) {
      await follower.refresh()
      const look = await this.#lookUnlessGone(from)
      if (look?.damage === null) return look
      const found = look === null ? null : damageKey(look.damage)
      if (look !== null && found === before) return look
      before = found
    }
    // It keeps changing. If it is missing for good, the follower has detected that.
    return { damage: null, endOffset: this.#nextSegment(from)?.nextOffset ?? from }
  }

  /** @returns `null` if the file that was checked no longer has its name. */
  async #lookUnlessGone(from: number): Promise<SecondLook | null> {
    const file = this.#nextSegment(from)?.file
    try {
      const look = await this.#look(from)
      const isThere = look.damage === null || (await file?.isInPlace()) !== false
      return isThere ? look : null
    } catch (error) {
      if (error instanceof StorageError && isSystemError(error.cause, 'ENOENT')) return null
      throw error
    }
  }

  async #look(from: number): Promise<SecondLook> {
    const segment = this.#nextSegment(from)
    if (segment === undefined) return { damage: null, endOffset: from }
    try {
      return { damage: await this.#damageOf(segment), endOffset: segment.nextOffset }
    } catch (error) {
      throw this.#guard.failed('verification', error, 'not-written')
    }
  }

  async #damageOf(segment: LogSegment): Promise<CorruptRecordError | null> {
    const ensureOpen = (): void => {
      this.#guard.ensureOpen()
    }
    ensureOpen()
    const objection = epochObjection(this.#log.epochs)
    return await verifySegment(this.#fileSystem, segment, objection, ensureOpen)
  }
}

/** Result from an offset on, and the offset at which to continue. */
interface SecondLook {
  readonly damage: CorruptRecordError | null
  readonly endOffset: number
}

/**
 * Reads the log file of one segment from its start to its end at the time of the call.
 *
 * @returns the first damage in a batch or in its leader epoch. If every batch is sound in itself,
 * the damage may be that the file does not match its recorded checksum. `null` if there is none.
 */
async function verifySegment(
  fileSystem: FileSystem,
  segment: LogSegment,
  objectionTo: (batch: RecordBatch) => string | null,
  ensureOpen: () => void,
): Promise<CorruptRecordError | null> {
  const { baseOffset, nextOffset, path, sizeBytes: end, entry } = segment
  const file = await fileSystem.open(path, 'read')
  try {
    const objection = (batch: RecordBatch): string | null => {
      ensureOpen()
      return objectionTo(batch)
    }
    const gaps = entry.isDense ? 'none' : 'any'
    const range = { position: 0, end, baseOffset, nextOffset: baseOffset, gaps, objection } as const
    const sum = new SegmentSum(baseOffset)
    const scan = await scanBatches(file, range, (batch, position) => {
      sum.note(batch, position)
    })
    const offsets = { firstOffset: scan.nextOffset, lastOffset: nextOffset - 1 }
    if (scan.reason !== null) {
      return new CorruptRecordError(scan.reason, { path, position: scan.position, ...offsets })
    }
    const { crc } = sum.state
    if (entry.crc === null || crc === entry.crc) return null
    return new CorruptRecordError(
      `the checksum of the file is ${hex(crc)}, but the recorded one is ${hex(entry.crc)}`,
      { path, position: 0, firstOffset: baseOffset, lastOffset: nextOffset - 1 },
    )
  } finally {
    await file.close()
  }
}

/**
 * Returns a function that tells for each batch why its leader epoch is wrong; `null` if it is
 * correct or unknown. The CRC of a batch does not cover it, and an open only checks the last ones.
 */
function epochObjection(epochs: LeaderEpochCache): (batch: RecordBatch) => string | null {
  return ({ baseOffset, partitionLeaderEpoch: epoch }) => {
    const known = epochs.epochOf(baseOffset)
    return known < 0 || known === epoch ? null : `its leader epoch is ${epoch}, not ${known}`
  }
}

function hex(crc: number | null): string {
  return `0x${Number(crc).toString(16).padStart(8, '0')}`
}
