import { join } from 'node:path'
import { CorruptRecordError } from '../errors.ts'
import { readWholeFile, replaceFile, writeFully } from '../platform/file-io.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { continueCrc32c } from '../record/crc32c.ts'

/** Name of the file in a partition's directory. A Kafka broker ignores files it does not know. */
export const SEGMENTS_FILE = 'varve-segments'

const VERSION = 2
/** Its first line does not contain the length of the record, because nothing follows it. */
const VERSION_WITHOUT_EDITS = 1
const MAX_FILE_BYTES = 64 * 1024 * 1024
/** Edits may be this much larger than the record before it is written again. */
const FREE_EDIT_BYTES = 4096
const FIRST_LINE = /^varve-segments (\d+) ([0-9a-f]{8})(?: (\d{1,10}))?$/
const START_LINE = /^start (\d{1,16})$/
const SEGMENT_LINE =
  /^(?:sealed|active) (\d{1,16}) (\d{1,16}) (\d{1,10}) ([0-9a-f]{8}|-) (dense|gaps)$/
const EDIT_LINE = /^edit ([0-9a-f]{8}) (\d{1,16}) (\d{1,16}) (\d{1,16}|-)((?:,[^,]+)*)$/

/** What is remembered of one segment: all of it; of the active one, what was durable. */
export interface SegmentEntry {
  readonly baseOffset: number
  /** One above the last offset; for a sealed segment, the base offset of the next one. */
  readonly nextOffset: number
  readonly sizeBytes: number
  /** CRC-32C of these bytes of the log file; `null` if nobody has read them all. */
  readonly crc: number | null
  /** Whether each batch begins at the offset where the previous one ends. */
  readonly isDense: boolean
}

/** Which segments a log has, and where it starts. */
export interface SegmentRecord {
  /** Everything below is deleted. */
  readonly logStartOffset: number
  /** In offset order, each beginning where the previous one ends. The last one is active. */
  readonly segments: readonly SegmentEntry[]
}

/** A change of a {@link SegmentRecord}. */
export interface SegmentRecordEdit {
  readonly logStartOffset: number
  /** The entries with a base offset in [`from`, `to`) are replaced by `segments`. */
  readonly from: number
  readonly to: number
  readonly segments: readonly SegmentEntry[]
}

/** What is known to be on disk. */
interface DurableRecord {
  /** `null` if edits have changed it since it was written. */
  readonly text: string | null
  readonly sizeBytes: number
  /** Position of the first edit. */
  readonly editsFrom: number
  /** CRC-32C of the record and of all edits. */
  readonly crc: number
}

/**
 * The record of a log's segments, kept in one file of its directory:
 *
 * ```
 * varve-segments 2 ae3d885f 75        format version, CRC-32C and length of the record
 * start 0                             log start offset
 * sealed 0 120 4821 5d1c0a77 dense    base offset, next offset, bytes, CRC-32C of the log file
 * active 120 131 470 0b8e2f14 dense   the same of what was durable of the last one
 * edit ddb4cd99 0 120 -,sealed 120 140 901 77aa0d1e dense,active 140 141 71 9c40e2b5 dense
 * ```
 *
 * It says what must exist, so that a missing, truncated or foreign file is not taken for the state
 * of the log. It is replaced as a whole, or an edit is appended, which costs the same however many
 * segments there are. An edit holds the log start offset, the range of base offsets that it
 * changes, and their new entries. Its checksum also covers everything before it.
 *
 * Calls must not overlap.
 */
export class SegmentRecordFile {
  readonly path: string
  /**
   * The record before its last edit, if {@link SegmentRecordFile.read} has rejected only because of
   * that one: a power loss may have kept its end and lost its beginning, or it is damaged since.
   */
  beforeLastEdit: SegmentRecord | null = null
  readonly #fileSystem: FileSystem
  #durable: DurableRecord | null = null

  constructor(fileSystem: FileSystem, dir: string) {
    this.#fileSystem = fileSystem
    this.path = join(dir, SEGMENTS_FILE)
  }

  /** Whether a record is known to be on disk. */
  get isThere(): boolean {
    return this.#durable !== null
  }

  /** Whether edits follow the record. */
  get hasEdits(): boolean {
    return this.#durable !== null && this.#durable.sizeBytes > this.#durable.editsFrom
  }

  /**
   * Reads the record; `null` if there is no file. An edit without its last byte was interrupted: it
   * is ignored, and the next write replaces the file.
   *
   * @throws {@link CorruptRecordError} when the file is not as described above.
   */
  async read(): Promise<SegmentRecord | null> {
    this.#durable = null
    this.beforeLastEdit = null
    const content = await readWholeFile(this.#fileSystem, this.path, MAX_FILE_BYTES)
    if (content === null) return null
    return this.#parse(content.toString('latin1'))
  }

  /** The record may be in the page cache only: the next write replaces it in any case. */
  distrust(): void {
    this.#durable = null
  }

  /** Replaces the record, unless it is known to be the same already; durable when it resolves. */
  async write(record: SegmentRecord): Promise<void> {
    const body = formatRecord(record)
    const crc = checksum(0, body)
    const text = `varve-segments ${VERSION} ${hex(crc)} ${body.length}\n${body}`
    if (text === this.#durable?.text) return
    this.#durable = null
    await replaceFile(this.#fileSystem, this.path, text)
    this.#durable = { text, sizeBytes: text.length, editsFrom: text.length, crc }
  }

  /**
   * Appends an edit; durable when it resolves.
   *
   * @returns false, without a change, if the record must be written as a whole: it is not known, or
   * its edits have outgrown it.
   */
  async edit(edit: SegmentRecordEdit): Promise<boolean> {
    const before = this.#durable
    if (before === null) return false
    const { sizeBytes: position, editsFrom } = before
    const body = formatEdit(edit)
    const crc = checksum(before.crc, body)
    const line = `edit ${hex(crc)}${body}`
    const sizeBytes = position + line.length
    if (sizeBytes - editsFrom > editsFrom + FREE_EDIT_BYTES) return false
    this.#durable = null
    const file = await this.#fileSystem.open(this.path, 'update')
    try {
      await writeFully(file, [Buffer.from(line, 'latin1')], position)
      await file.datasync()
    } finally {
      await file.close()
    }
    this.#durable = { text: null, sizeBytes, editsFrom, crc }
    return true
  }

  #parse(text: string): SegmentRecord {
    const firstLine = text.slice(0, Math.max(0, text.indexOf('\n')))
    const first = FIRST_LINE.exec(firstLine)
    if (first === null) throw this.#corrupt('the first line is not the header of such a record')
    const [, version, sum, length] = first
    const from = firstLine.length + 1
    const isKnown = version === String(length === undefined ? VERSION_WITHOUT_EDITS : VERSION)
    if (!isKnown) throw this.#corrupt(`version ${String(version)} is unsupported`)
    const editsFrom = length === undefined ? text.length : from + Number(length)
    const body = text.slice(from, editsFrom)
    const crc = checksum(0, body)
    if (hex(crc) !== sum) throw this.#corrupt('the checksum does not match')
    const record = this.#parseBody(body)
    if (editsFrom === text.length) {
      const isCurrent = length !== undefined
      if (isCurrent) this.#durable = { text, sizeBytes: text.length, editsFrom, crc }
      return record
    }
    return this.#applyEdits(record, text, { text: null, sizeBytes: editsFrom, editsFrom, crc })
  }

  #parseBody(body: string): SegmentRecord {
    const [startLine, ...lines] = body.split('\n')
    const start = START_LINE.exec(String(startLine))
    const segments = lines.slice(0, -1).map((line) => this.#parseSegment(line))
    if (start === null || segments.length === 0)
      throw this.#corrupt('it has no start line or no segments')
    return { logStartOffset: Number(start[1]), segments }
  }

  #parseSegment(line: string): SegmentEntry {
    const match = SEGMENT_LINE.exec(line)
    if (match === null) throw this.#corrupt(`'${line}' does not describe a segment`)
    return {
      baseOffset: Number(match[1]),
      nextOffset: Number(match[2]),
      sizeBytes: Number(match[3]),
      crc: match[4] === '-' ? null : parseInt(String(match[4]), 16),
      isDense: match[5] === 'dense',
    }
  }

  #applyEdits(record: SegmentRecord, text: string, before: DurableRecord): SegmentRecord {
    let { logStartOffset } = record
    const segments = [...record.segments]
    let { sizeBytes: position, crc } = before
    for (let end = text.indexOf('\n', position); end >= 0; end = text.indexOf('\n', position)) {
      const line = text.slice(position, end)
      const match = EDIT_LINE.exec(line)
      const sum = checksum(crc, line.slice(line.indexOf(' ', 5)) + '\n')
      if (match === null || match[1] !== hex(sum)) break
      logStartOffset = Number(match[2])
      const [from, to] = [Number(match[3]), match[4] === '-' ? Infinity : Number(match[4])]
      const entries = String(match[5]).split(',').slice(1)
      const slot = slotOf(segments, from)
      const added = entries.map((entry) => this.#parseSegment(entry))
      segments.splice(slot, slotOf(segments, to) - slot, ...added)
      position = end + 1
      crc = sum
    }
    if (position === text.length) this.#durable = { ...before, sizeBytes: position, crc }
    else if (text.includes('\n', position)) {
      // Other edits may have followed this one, which was written completely: what they say is lost.
      const isLast = text.indexOf('\n', position) === text.length - 1
      if (isLast) this.beforeLastEdit = { logStartOffset, segments }
      throw this.#corrupt('an edit is damaged')
    }
    return { logStartOffset, segments }
  }

  #corrupt(reason: string): CorruptRecordError {
    return new CorruptRecordError(`the record of segments is damaged: ${reason}`, {
      path: this.path,
      position: 0,
    })
  }
}

/** Slot of the first segment with a base offset of at least `offset`; most edits are at the end. */
function slotOf(segments: readonly SegmentEntry[], offset: number): number {
  return segments.findLastIndex(({ baseOffset }) => baseOffset < offset) + 1
}

function formatRecord({ logStartOffset, segments }: SegmentRecord): string {
  const lines = segments.map((segment, slot) =>
    formatSegment(segment, slot === segments.length - 1),
  )
  return [`start ${logStartOffset}`, ...lines, ''].join('\n')
}

function formatEdit({ logStartOffset, from, to, segments }: SegmentRecordEdit): string {
  const isAtEnd = to === Infinity
  const entries = segments.map(
    (segment, slot) => `,${formatSegment(segment, isAtEnd && slot === segments.length - 1)}`,
  )
  return ` ${logStartOffset} ${from} ${isAtEnd ? '-' : to}${entries.join('')}\n`
}

function formatSegment(segment: SegmentEntry, isActive: boolean): string {
  const { baseOffset, nextOffset, sizeBytes, crc, isDense } = segment
  const sum = crc === null ? '-' : hex(crc)
  const kind = isActive ? 'active' : 'sealed'
  return `${kind} ${baseOffset} ${nextOffset} ${sizeBytes} ${sum} ${isDense ? 'dense' : 'gaps'}`
}

function checksum(before: number, text: string): number {
  return continueCrc32c(before, Buffer.from(text, 'latin1'))
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0')
}
