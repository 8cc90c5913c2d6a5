import { damaged, tooLarge } from './codec.ts'

// Parses frames without decompressing them; see RFC 8878. The libraries decompress one frame at a
// time, because some of them stop silently after the first frame, or where a frame is cut off.

const STREAM = 'zstd stream'
const MAGIC = 0xfd2fb528
/** Skippable frames, which hold no records, begin with one of sixteen numbers from this one on. */
const SKIPPABLE_MAGIC = 0x184d2a50
const SKIPPABLE_MASK = 0xfffffff0
const WORD_BYTES = 4
const BLOCK_HEADER_BYTES = 3
const MAX_BLOCK_BYTES = 128 * 1024

/** The parts of a frame's descriptor. */
const SINGLE_SEGMENT = 0b10_0000
const RESERVED = 0b1000
const CHECKSUM = 0b100
const DICTIONARY_ID = 0b11

const RAW = 0
const RLE = 1
const COMPRESSED = 2

/** One complete frame. */
export interface ZstdFrame {
  readonly bytes: Buffer
  /** The most that it can decompress to; its content size if the frame states that. */
  readonly mostBytes: number
}

/**
 * Returns the frames of a stream, checked to be complete and within `maxOutputBytes` as far as
 * their headers tell.
 *
 * @throws {@link CorruptRecordError} if they claim more, or bytes are missing or left over
 */
export function zstdFramesIn(bytes: Buffer, maxOutputBytes: number): ZstdFrame[] {
  const frames: ZstdFrame[] = []
  const reader = new FrameReader(bytes)
  let leastBytes = 0
  do {
    const start = reader.position
    const magic = reader.uint(WORD_BYTES)
    if ((magic & SKIPPABLE_MASK) >>> 0 === SKIPPABLE_MAGIC) {
      reader.skip(reader.uint(WORD_BYTES))
      continue
    }
    if (magic !== MAGIC) throw damaged(STREAM, 'a frame does not begin with the magic number')
    const size = readFrame(reader)
    leastBytes += size.leastBytes
    if (leastBytes > maxOutputBytes) throw tooLarge(maxOutputBytes)
    frames.push({ bytes: bytes.subarray(start, reader.position), mostBytes: size.mostBytes })
  } while (reader.position < bytes.length)
  return frames
}

/** The bounds of a frame's decompressed size, as far as its headers tell. */
interface FrameSize {
  readonly leastBytes: number
  readonly mostBytes: number
}

function readFrame(reader: FrameReader): FrameSize {
  const descriptor = reader.uint(1)
  if ((descriptor & RESERVED) !== 0) throw damaged(STREAM, 'a reserved bit is set')
  if ((descriptor & DICTIONARY_ID) !== 0) throw damaged(STREAM, 'it needs a dictionary')
  const isSingleSegment = (descriptor & SINGLE_SEGMENT) !== 0
  const windowBytes = isSingleSegment ? null : readWindow(reader)
  const contentBytes = readContentSize(reader, descriptor >> 6, isSingleSegment)
  const maxBlockBytes = Math.min(MAX_BLOCK_BYTES, windowBytes ?? contentBytes ?? 0)
  const { leastBytes, mostBytes } = readBlocks(reader, maxBlockBytes)
  if ((descriptor & CHECKSUM) !== 0) reader.skip(WORD_BYTES)
  if (contentBytes === null) return { leastBytes, mostBytes }
  if (contentBytes < leastBytes || contentBytes > mostBytes) {
    throw damaged(
      STREAM,
      `a frame claims ${contentBytes} bytes of content, but has ${leastBytes} to ${mostBytes}`,
    )
  }
  return { leastBytes: contentBytes, mostBytes: contentBytes }
}

function readWindow(reader: FrameReader): number {
  const window = reader.uint(1)
  const base = 2 ** (10 + (window >> 3))
  return base + (base / 8) * (window & 7)
}

/** `null` if the frame does not state it; Kafka's frames do not. */
function readContentSize(
  reader: FrameReader,
  flag: number,
  isSingleSegment: boolean,
): number | null {
  if (flag === 0) return isSingleSegment ? reader.uint(1) : null
  if (flag === 1) return reader.uint(2) + 256
  if (flag === 2) return reader.uint(4)
  return reader.uint(4) + reader.uint(4) * 2 ** 32
}

function readBlocks(reader: FrameReader, maxBlockBytes: number): FrameSize {
  let leastBytes = 0
  let mostBytes = 0
  for (;;) {
    const header = reader.uint(BLOCK_HEADER_BYTES)
    const type = (header >> 1) & 3
    const sizeBytes = header >> 3
    if (type > COMPRESSED) throw damaged(STREAM, 'a block has an unknown type')
    if (sizeBytes > maxBlockBytes) {
      throw damaged(
        STREAM,
        `a block has ${sizeBytes} bytes, but at most ${maxBlockBytes} are allowed`,
      )
    }
    reader.skip(type === RLE ? 1 : sizeBytes)
    if (type === RAW || type === RLE) leastBytes += sizeBytes
    mostBytes += type === COMPRESSED ? maxBlockBytes : sizeBytes
    if ((header & 1) !== 0) return { leastBytes, mostBytes }
  }
}

/** Reads little-endian numbers, and throws where the bytes end too early. */
class FrameReader {
  readonly #bytes: Buffer
  position = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  uint(count: number): number {
    this.#ensure(count)
    const value = this.#bytes.readUIntLE(this.position, count)
    this.position += count
    return value
  }

  skip(count: number): void {
    this.#ensure(count)
    this.position += count
  }

  #ensure(count: number): void {
    if (count > this.#bytes.length - this.position) throw damaged(STREAM, 'it is truncated')
  }
}
