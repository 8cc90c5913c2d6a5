import { join } from 'node:path'
import { CorruptRecordError } from '../errors.ts'
import { readWholeFile, replaceFile } from '../platform/file-io.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { crc32c } from '../record/crc32c.ts'

/** Name of the file in a partition's directory. A Kafka broker ignores files it does not know. */
export const SEGMENTS_FILE = 'varve-segments'

const VERSION = 1
const MAX_FILE_BYTES = 64 * 1024 * 1024
const FIRST_LINE = /^varve-segments (\d+) ([0-9a-f]{8})$/
const START_LINE = /^start (\d{1,16})$/
const SEGMENT_LINE =
  /^(sealed|active) (\d{1,16}) (\d{1,16}) (\d{1,10}) ([0-9a-f]{8}|-) (dense|gaps)$/

/** What is remembered of one segment: all of it, or of the active one what was durable. */
export interface SegmentEntry {
  readonly baseOffset: number
  /** One above the last offset; for a sealed segment the base offset of the one behind it. */
  readonly nextOffset: number
  readonly sizeBytes: number
  /** CRC-32C of these bytes of the log file, `null` where nobody has read them all. */
  readonly crc: number | null
  /** Whether each batch begins at the offset where the one before ends. */
  readonly isDense: boolean
}

/** Which segments a log has, and where it begins. */
export interface SegmentRecord {
  /** Everything below is deleted. */
  readonly logStartOffset: number
  /** In offset order, each beginning where the one before ends. The last one is active. */
  readonly segments: readonly SegmentEntry[]
}

/**
 * The record of a log's segments, kept in one file of its directory:
 *
 * ```
 * varve-segments 1 ae3d885f           format version, CRC-32C of everything behind this line
 * start 0                             log start offset
 * sealed 0 120 4821 5d1c0a77 dense    base offset, next offset, bytes, CRC-32C of the log file
 * active 120 131 470 0b8e2f14 dense   the same of what was durable of the last one
 * ```
 *
 * It says what must be there, so that a file that is missing, cut or put in from elsewhere is not
 * taken for the state of the log. Each write replaces the file as a whole. Calls must not overlap.
 */
export class SegmentRecordFile {
  readonly path: string
  readonly #fileSystem: FileSystem
  #durableText: string | null = null

  constructor(fileSystem: FileSystem, dir: string) {
    this.#fileSystem = fileSystem
    this.path = join(dir, SEGMENTS_FILE)
  }

  /** Whether there is a record that is known to be on disk. */
  get isThere(): boolean {
    return this.#durableText !== null
  }

  /**
   * Reads the record; `null` when there is no file.
   *
   * @throws {@link CorruptRecordError} when it is not as described.
   */
  async read(): Promise<SegmentRecord | null> {
    this.#durableText = null
    const content = await readWholeFile(this.#fileSystem, this.path, MAX_FILE_BYTES)
    if (content === null) return null
    const text = content.toString('latin1')
    const record = this.#parse(text)
    this.#durableText = text
    return record
  }

  /** The record that was read may be in the page cache alone: the next write replaces it in any case. */
  distrust(): void {
    this.#durableText = null
  }

  /** Replaces the record, unless it is as this object last knew it; durable when it resolves. */
  async write(record: SegmentRecord): Promise<void> {
    const text = formatRecord(record)
    if (text === this.#durableText) return
    this.#durableText = null
    await replaceFile(this.#fileSystem, this.path, text)
    this.#durableText = text
  }

  #parse(text: string): SegmentRecord {
    const lines = text.split('\n')
    const first = FIRST_LINE.exec(String(lines[0]))
    if (first === null) throw this.#corrupt('the first line is not that of such a record')
    if (Number(first[1]) !== VERSION)
      throw this.#corrupt(`version ${String(first[1])} is not known`)
    if (checksum(text.slice(text.indexOf('\n') + 1)) !== first[2]) {
      throw this.#corrupt('the checksum does not fit')
    }
    const start = START_LINE.exec(String(lines[1]))
    const segments = lines.slice(2, -1).map((line) => {
      const match = SEGMENT_LINE.exec(line)
      if (match === null) throw this.#corrupt(`'${line}' describes no segment`)
      return {
        baseOffset: Number(match[2]),
        nextOffset: Number(match[3]),
        sizeBytes: Number(match[4]),
        crc: match[5] === '-' ? null : parseInt(String(match[5]), 16),
        isDense: match[6] === 'dense',
      }
    })
    if (start === null || segments.length === 0) throw this.#corrupt('it describes no log')
    return { logStartOffset: Number(start[1]), segments }
  }

  #corrupt(reason: string): CorruptRecordError {
    return new CorruptRecordError(`the record of segments is damaged: ${reason}`, {
      path: this.path,
      position: 0,
    })
  }
}

function formatRecord({ logStartOffset, segments }: SegmentRecord): string {
  const lines = segments.map((segment, slot) => {
    const { baseOffset, nextOffset, sizeBytes, crc, isDense } = segment
    const kind = slot === segments.length - 1 ? 'active' : 'sealed'
    const sum = crc === null ? '-' : hex(crc)
    return `${kind} ${baseOffset} ${nextOffset} ${sizeBytes} ${sum} ${isDense ? 'dense' : 'gaps'}`
  })
  const body = [`start ${logStartOffset}`, ...lines, ''].join('\n')
  return `varve-segments ${VERSION} ${checksum(body)}\n${body}`
}

function checksum(text: string): string {
  return hex(crc32c(Buffer.from(text, 'latin1')))
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0')
}
