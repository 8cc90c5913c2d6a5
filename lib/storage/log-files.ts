import { join } from 'node:path'

/** What a file of a partition's directory holds, by its extension. */
export type SegmentFileKind = 'log' | 'index' | 'timeindex' | 'txnindex' | 'snapshot'

/** Suffixes behind the extension that mark a file's part in a replacement or deletion. */
export const DELETED_SUFFIX = '.deleted'
export const CLEANED_SUFFIX = '.cleaned'
export const SWAP_SUFFIX = '.swap'

/** Bytes that were cut from the end of a segment are kept beside it under this suffix. */
export const TORN_SUFFIX = '.torn'

/** Name of the file that marks an orderly close. Only its existence counts. */
export const CLEAN_SHUTDOWN_FILE = '.kafka_cleanshutdown'

const NAME = /^(\d{20})\.(log|index|timeindex|txnindex|snapshot)(\.deleted|\.cleaned|\.swap)?$/

/**
 * Names of what else Kafka and this library keep in a partition's directory, also half-written:
 * bytes that were cut, and files that are replaced as a whole.
 */
const OTHER_NAME = new RegExp(
  '^(?:\\d{20}\\.log\\.\\d+\\.torn|\\d{20}\\.snapshot|partition\\.metadata|leader-epoch-checkpoint|' +
    'recovery-point-offset-checkpoint|log-start-offset-checkpoint|\\.kafka_cleanshutdown|' +
    'varve-segments|varve-durable-end)(?:\\.tmp)?$',
)

/** A name in a partition's directory, taken apart. */
export interface SegmentFileName {
  readonly offset: number
  readonly kind: SegmentFileKind
  readonly suffix: '' | '.deleted' | '.cleaned' | '.swap'
}

/**
 * Name of a file of the segment at `offset`: twenty digits, so that a listing sorts by offset.
 *
 * @param offset the segment's base offset; of a snapshot the offset after the last one it covers.
 */
export function segmentFileName(offset: number, kind: SegmentFileKind): string {
  return `${String(offset).padStart(20, '0')}.${kind}`
}

/** {@link segmentFileName} inside `dir`. */
export function segmentFilePath(dir: string, offset: number, kind: SegmentFileKind): string {
  return join(dir, segmentFileName(offset, kind))
}

/** Whether a file of that name in a partition's directory belongs to the log, and goes with it. */
export function isLogFileName(name: string): boolean {
  return NAME.test(name) || OTHER_NAME.test(name)
}

/** Takes a file name apart; `null` for every name that is not exactly one of the log's own. */
export function parseSegmentFileName(name: string): SegmentFileName | null {
  const match = NAME.exec(name)
  if (match === null) return null
  const offset = Number(match[1])
  if (!Number.isSafeInteger(offset)) return null
  return {
    offset,
    kind: match[2] as SegmentFileKind,
    suffix: (match[3] ?? '') as SegmentFileName['suffix'],
  }
}
