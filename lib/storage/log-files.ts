import { join } from 'node:path'
import { nameBefore } from '../platform/windows-names.ts'

/** Suffixes after the extension that mark a file's part in a replacement or deletion. */
export const DELETED_SUFFIX = '.deleted'
export const CLEANED_SUFFIX = '.cleaned'
export const SWAP_SUFFIX = '.swap'

/** Bytes truncated from the end of a segment are kept beside it under this suffix. */
export const TORN_SUFFIX = '.torn'

/** Name of the file that marks a clean shutdown. Only its existence counts. */
export const CLEAN_SHUTDOWN_FILE = '.kafka_cleanshutdown'

const KINDS = ['log', 'index', 'timeindex', 'txnindex', 'snapshot'] as const

/** The content of a file in a partition's directory, by its extension. */
export type SegmentFileKind = (typeof KINDS)[number]

const SUFFIXES = ['', DELETED_SUFFIX, CLEANED_SUFFIX, SWAP_SUFFIX] as const

/** Number of digits of an offset in a name. */
const OFFSET_DIGITS = 20
const [DIGIT_0, DIGIT_9] = [0x30, 0x39]

/** What may follow the offset in a name. */
const ENDINGS: ReadonlyMap<string, Omit<SegmentFileName, 'offset'>> = new Map(
  KINDS.flatMap((kind) => SUFFIXES.map((suffix) => [`.${kind}${suffix}`, { kind, suffix }])),
)

/**
 * Names of the other files that Kafka and this library keep in a partition's directory, including
 * their temporary names: truncated bytes, and files that are replaced as a whole.
 */
const OTHER_NAME = new RegExp(
  '^(?:\\d{20}\\.log(?:(?:\\.\\d+){1,2}\\.torn)?|\\d{20}\\.snapshot|partition\\.metadata|leader-epoch-checkpoint|' +
    'recovery-point-offset-checkpoint|log-start-offset-checkpoint|\\.kafka_cleanshutdown|' +
    'varve-segments|varve-durable-end)(?:\\.tmp)?$',
)

/** The parts of a name in a partition's directory. */
export interface SegmentFileName {
  readonly offset: number
  readonly kind: SegmentFileKind
  readonly suffix: '' | '.deleted' | '.cleaned' | '.swap'
}

/**
 * Name of a file of the segment at `offset`: twenty digits, so that a listing sorts by offset.
 *
 * @param offset base offset of the segment; for a snapshot, one above the last offset it covers.
 */
export function segmentFileName(offset: number, kind: SegmentFileKind): string {
  return `${String(offset).padStart(OFFSET_DIGITS, '0')}.${kind}`
}

/** {@link segmentFileName} inside `dir`. */
export function segmentFilePath(dir: string, offset: number, kind: SegmentFileKind): string {
  return join(dir, segmentFileName(offset, kind))
}

/**
 * Whether a file of that name in a partition's directory belongs to the log and is deleted with it.
 */
export function isLogFileName(name: string): boolean {
  return endingOf(name) !== undefined || OTHER_NAME.test(nameBefore(name))
}

/** Whether a file of that name is part of a segment and not about to be deleted. */
export function isSegmentFileName(name: string): boolean {
  const segment = parseSegmentFileName(name)
  return segment !== null && segment.suffix !== DELETED_SUFFIX
}

/** Whether a file is about to be deleted: it is ignored, and may remain while it is still open. */
export function isDeletedFileName(name: string): boolean {
  return name.endsWith(DELETED_SUFFIX) && isLogFileName(name)
}

/**
 * Base offset of the segment that bytes were truncated from; `null` if the name is of another kind.
 */
export function tornFileOffset(name: string): number | null {
  if (!name.endsWith(TORN_SUFFIX) || !OTHER_NAME.test(name)) return null
  return Number(name.slice(0, OFFSET_DIGITS))
}

/** Parses a file name; `null` unless it is exactly one of the log's own. */
export function parseSegmentFileName(name: string): SegmentFileName | null {
  const ending = endingOf(name)
  if (ending === undefined) return null
  const offset = Number(name.slice(0, OFFSET_DIGITS))
  if (!Number.isSafeInteger(offset)) return null
  return { offset, kind: ending.kind, suffix: ending.suffix }
}

/** Without a regular expression: a directory may hold tens of thousands of names. */
function endingOf(name: string): Omit<SegmentFileName, 'offset'> | undefined {
  for (let at = 0; at < OFFSET_DIGITS; at += 1) {
    const digit = name.charCodeAt(at)
    if (!(digit >= DIGIT_0 && digit <= DIGIT_9)) return undefined
  }
  const ending = name.slice(OFFSET_DIGITS)
  if (!ending.endsWith(DELETED_SUFFIX)) return ENDINGS.get(ending)
  const kind = ENDINGS.get(nameBefore(ending))?.kind
  return kind && { kind, suffix: DELETED_SUFFIX }
}
