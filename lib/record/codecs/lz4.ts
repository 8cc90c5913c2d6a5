import { DAMAGED, NO_ROOM } from './block-output.ts'
import { nextTurn } from '../../platform/event-loop.ts'
import { BYTES_PER_TURN, damaged, tooLarge, type Codec } from './codec.ts'
import { DEFAULT_LEVELS } from './levels.ts'
import { compressLz4Block, decompressLz4Block } from './lz4-block.ts'
import { MAX_BLOCK_BYTES } from './matches.ts'
import { xxh32 } from './xxh32.ts'

// The frames that Kafka writes and reads, with independent blocks only: a subset of
// https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md.

const FRAME = 'LZ4 frame'
const MAGIC = 0x184d2204
const MAGIC_BYTES = 4
/** FLG: version 01, independent blocks. BD: blocks of up to 64 KiB. HC: checksum of both. */
const HEADER = Buffer.from('04224d18604082', 'hex')
const LENGTH_BYTES = 4
const CHECKSUM_BYTES = 4
const CONTENT_SIZE_BYTES = 8
const STORED = 0x80000000

/** The parts of FLG and BD. */
const VERSION = 1
const RESERVED_FLAGS = 0b11
const CONTENT_CHECKSUM = 0b100
const CONTENT_SIZE = 0b1000
const BLOCK_CHECKSUM = 0b1_0000
const INDEPENDENT_BLOCKS = 0b10_0000
const RESERVED_BD = 0b1000_1111
const SMALLEST_BLOCK_SIZE = 4

const MAX_ATTEMPTS = 256

/** LZ4 in Kafka's frame. Runs on the caller's thread, and yields to the event loop now and then. */
export const LZ4: Codec = {
  type: 'lz4',
  compress: async (bytes, level = DEFAULT_LEVELS.compressionLz4Level) => {
    const attempts = attemptsOf(level)
    const blockCount = Math.ceil(bytes.length / MAX_BLOCK_BYTES)
    const boundBytes = HEADER.length + bytes.length + (blockCount + 1) * LENGTH_BYTES
    const target = Buffer.allocUnsafe(boundBytes)
    let position = HEADER.copy(target)
    // A thorough search of one block takes as long as a fast search of several.
    const bytesPerTurn = attempts === 1 ? BYTES_PER_TURN : MAX_BLOCK_BYTES
    for (let start = 0; start < bytes.length; start += MAX_BLOCK_BYTES) {
      if (start > 0 && start % bytesPerTurn === 0) await nextTurn()
      position = putBlock(bytes, start, target, position, attempts)
    }
    return target.subarray(0, target.writeUInt32LE(0, position))
  },
  decompress: async (bytes, maxOutputBytes) => {
    const { maxBlockBytes, hasBlockChecksums, hasContentChecksum, headerBytes } = readHeader(bytes)
    const frame = new BlockReader(bytes, headerBytes, maxBlockBytes, hasBlockChecksums)
    const parts: Buffer[] = []
    let totalBytes = 0
    let turnBytes = 0
    for (let block = frame.next(); block !== null; block = frame.next()) {
      const part = contentOf(block, maxBlockBytes, maxOutputBytes - totalBytes)
      if (part === null) throw tooLarge(maxOutputBytes)
      parts.push(part)
      totalBytes += part.length
      turnBytes += part.length + block.bytes.length
      if (turnBytes < BYTES_PER_TURN) continue
      turnBytes = 0
      await nextTurn()
    }
    frame.end(hasContentChecksum ? CHECKSUM_BYTES : 0)
    return Buffer.concat(parts, totalBytes)
  },
}

/** Kafka's default level selects its fast compressor, every other level the thorough one. */
function attemptsOf(level: number): number {
  if (level === DEFAULT_LEVELS.compressionLz4Level) return 1
  return Math.min(2 ** level, MAX_ATTEMPTS)
}

function putBlock(
  source: Buffer,
  start: number,
  target: Buffer,
  position: number,
  attempts: number,
): number {
  const end = Math.min(start + MAX_BLOCK_BYTES, source.length)
  const at = position + LENGTH_BYTES
  const blockEnd = compressLz4Block(source, start, end, target, at, attempts)
  if (blockEnd !== null) {
    target.writeUInt32LE(blockEnd - at, position)
    return blockEnd
  }
  target.writeUInt32LE((STORED | (end - start)) >>> 0, position)
  return at + source.copy(target, at, start, end)
}

interface Block {
  readonly bytes: Buffer
  readonly isStored: boolean
}

interface FrameHeader {
  readonly maxBlockBytes: number
  readonly hasBlockChecksums: boolean
  readonly hasContentChecksum: boolean
  readonly headerBytes: number
}

function readHeader(bytes: Buffer): FrameHeader {
  if (bytes.length < HEADER.length) throw damaged(FRAME, 'it ends within its header')
  if (bytes.readUInt32LE(0) !== MAGIC)
    throw damaged(FRAME, 'it does not begin with the magic number')
  const flags = bytes.readUInt8(MAGIC_BYTES)
  const blockSize = bytes.readUInt8(MAGIC_BYTES + 1)
  if (flags >> 6 !== VERSION) throw damaged(FRAME, `its version is ${flags >> 6}, not ${VERSION}`)
  if ((flags & INDEPENDENT_BLOCKS) === 0) throw damaged(FRAME, 'its blocks depend on each other')
  const hasReserved = (flags & RESERVED_FLAGS) !== 0 || (blockSize & RESERVED_BD) !== 0
  if (hasReserved) throw damaged(FRAME, 'reserved bits are set')
  const maxSize = blockSize >> 4
  if (maxSize < SMALLEST_BLOCK_SIZE) throw damaged(FRAME, `its block size code is ${maxSize}`)
  const hasContentSize = (flags & CONTENT_SIZE) !== 0
  const headerBytes = HEADER.length + (hasContentSize ? CONTENT_SIZE_BYTES : 0)
  if (bytes.length < headerBytes) throw damaged(FRAME, 'it ends within its header')
  const checksum = (xxh32(bytes.subarray(MAGIC_BYTES, headerBytes - 1)) >> 8) & 0xff
  const stored = bytes.readUInt8(headerBytes - 1)
  if (checksum !== stored) {
    throw damaged(FRAME, `its header checksum is ${stored}, but its bytes have ${checksum}`)
  }
  return {
    maxBlockBytes: 2 ** (8 + 2 * maxSize),
    hasBlockChecksums: (flags & BLOCK_CHECKSUM) !== 0,
    hasContentChecksum: (flags & CONTENT_CHECKSUM) !== 0,
    headerBytes,
  }
}

/** Iterates over the blocks of a frame. */
class BlockReader {
  readonly #bytes: Buffer
  readonly #maxBlockBytes: number
  readonly #hasChecksums: boolean
  #position: number

  constructor(bytes: Buffer, position: number, maxBlockBytes: number, hasChecksums: boolean) {
    this.#bytes = bytes
    this.#position = position
    this.#maxBlockBytes = maxBlockBytes
    this.#hasChecksums = hasChecksums
  }

  /** Returns the next block, `null` at the end mark. */
  next(): Block | null {
    const word = this.#take(LENGTH_BYTES).readUInt32LE(0)
    if (word === 0) return null
    const isStored = word >= STORED
    const sizeBytes = isStored ? word - STORED : word
    if (sizeBytes > this.#maxBlockBytes) {
      throw damaged(
        FRAME,
        `a block has ${sizeBytes} bytes, but at most ${this.#maxBlockBytes} are allowed`,
      )
    }
    const bytes = this.#take(sizeBytes)
    if (this.#hasChecksums && this.#take(CHECKSUM_BYTES).readUInt32LE(0) !== xxh32(bytes)) {
      throw damaged(FRAME, 'the checksum of a block does not match')
    }
    return { bytes, isStored }
  }

  /** Checks that exactly `restBytes` follow. Like Kafka, ignores the content checksum in them. */
  end(restBytes: number): void {
    this.#take(restBytes)
    const left = this.#bytes.length - this.#position
    if (left > 0) throw damaged(FRAME, `${left} bytes follow it`)
  }

  #take(count: number): Buffer {
    const end = this.#position + count
    if (end > this.#bytes.length) throw damaged(FRAME, 'it is truncated')
    const taken = this.#bytes.subarray(this.#position, end)
    this.#position = end
    return taken
  }
}

/** Returns the content of a block; `null` if that is more than `maxBytes`. */
function contentOf(block: Block, maxBlockBytes: number, maxBytes: number): Buffer | null {
  const { bytes, isStored } = block
  if (isStored) return bytes.length > maxBytes ? null : bytes
  // A byte expands to at most 255, so a small block takes little memory whatever it claims.
  const mostBytes = Math.min(maxBlockBytes, bytes.length * 255)
  const target = Buffer.allocUnsafe(Math.min(mostBytes, maxBytes))
  const count = decompressLz4Block(bytes, target)
  if (count === NO_ROOM && maxBytes < mostBytes) return null
  if (count === NO_ROOM || count === DAMAGED) throw damaged(FRAME, 'a block cannot be decompressed')
  // Most blocks fill little of their buffer: a copy lets the buffer be freed.
  return count * 2 > target.length
    ? target.subarray(0, count)
    : Buffer.from(target.subarray(0, count))
}
