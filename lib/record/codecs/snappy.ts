import { nextTurn } from '../../platform/event-loop.ts'
import { BYTES_PER_TURN, damaged, tooLarge, type Codec } from './codec.ts'
import {
  boundOfSnappyBlock,
  compressSnappyBlock,
  decompressSnappyBlock,
  readSnappyLength,
} from './snappy-block.ts'

// The stream format is that of snappy-java, which Kafka uses, not Google's framing format. If the
// magic bytes are missing, snappy-java reads all bytes as one plain block: clients built on the C
// library write such blocks, and brokers store them as they are.

const STREAM = 'snappy stream'
/** Magic bytes, the version, and the oldest version that can read it. */
const HEADER = Buffer.from('82534e41505059000000000100000001', 'hex')
const NAME_BYTES = 8
const NAME = HEADER.subarray(0, NAME_BYTES)
const OLDEST_READER_POSITION = 12
const VERSION = 1
const LENGTH_BYTES = 4
/** How much content snappy-java puts into a block. */
const BLOCK_BYTES = 32 * 1024

/** Snappy in snappy-java's stream. Runs on the caller's thread, and yields now and then. */
export const SNAPPY: Codec = {
  type: 'snappy',
  compress: async (bytes) => {
    const blockCount = Math.ceil(bytes.length / BLOCK_BYTES)
    const boundBytes = HEADER.length + blockCount * (LENGTH_BYTES + boundOfSnappyBlock(0))
    const target = Buffer.allocUnsafe(boundBytes + boundOfSnappyBlock(bytes.length))
    let position = HEADER.copy(target)
    for (let start = 0; start < bytes.length; start += BLOCK_BYTES) {
      if (start > 0 && start % BYTES_PER_TURN === 0) await nextTurn()
      const end = Math.min(start + BLOCK_BYTES, bytes.length)
      const at = position + LENGTH_BYTES
      const blockEnd = compressSnappyBlock(bytes, start, end, target, at)
      target.writeInt32BE(blockEnd - at, position)
      position = blockEnd
    }
    return target.subarray(0, position)
  },
  decompress: async (bytes, maxOutputBytes) => {
    const { blocks, totalBytes } = readBlocks(bytes, maxOutputBytes)
    const target = Buffer.allocUnsafe(totalBytes)
    let at = 0
    let turnBytes = 0
    for (const { source, start, contentBytes } of blocks) {
      const content = target.subarray(at, at + contentBytes)
      if (!decompressSnappyBlock(source, start, content)) {
        throw damaged(STREAM, 'a block cannot be decompressed')
      }
      at += contentBytes
      turnBytes += contentBytes + source.length
      if (turnBytes < BYTES_PER_TURN) continue
      turnBytes = 0
      await nextTurn()
    }
    return target
  },
}

interface Block {
  readonly source: Buffer
  /** Where its elements begin. */
  readonly start: number
  readonly contentBytes: number
}

interface Blocks {
  readonly blocks: readonly Block[]
  readonly totalBytes: number
}

/** Reads the blocks of a stream and their total content size, before memory is allocated for it. */
function readBlocks(bytes: Buffer, maxOutputBytes: number): Blocks {
  if (!bytes.subarray(0, NAME_BYTES).equals(NAME)) return plainBlock(bytes, maxOutputBytes)
  if (bytes.length < HEADER.length) throw damaged(STREAM, 'it ends within its header')
  const oldestReader = bytes.readInt32BE(OLDEST_READER_POSITION)
  if (oldestReader !== VERSION) {
    throw damaged(STREAM, `it requires readers of version ${oldestReader}, not ${VERSION}`)
  }
  const blocks: Block[] = []
  let totalBytes = 0
  let position = HEADER.length
  while (position < bytes.length) {
    if (bytes.length - position < LENGTH_BYTES) throw damaged(STREAM, 'it is truncated')
    const sizeBytes = bytes.readInt32BE(position)
    position += LENGTH_BYTES
    if (sizeBytes < 0 || sizeBytes > bytes.length - position) {
      throw damaged(
        STREAM,
        `a block claims ${sizeBytes} bytes, but ${bytes.length - position} remain`,
      )
    }
    const source = bytes.subarray(position, position + sizeBytes)
    position += sizeBytes
    const length = readSnappyLength(source)
    if (length === null) throw damaged(STREAM, 'the length of a block is invalid')
    blocks.push({ source, ...length })
    totalBytes += length.contentBytes
    if (totalBytes > maxOutputBytes) throw tooLarge(maxOutputBytes)
  }
  return { blocks, totalBytes }
}

function plainBlock(source: Buffer, maxOutputBytes: number): Blocks {
  const length = readSnappyLength(source)
  if (length === null)
    throw damaged(STREAM, 'it begins neither with the header of snappy-java nor with a block')
  if (length.contentBytes > maxOutputBytes) throw tooLarge(maxOutputBytes)
  return { blocks: [{ source, ...length }], totalBytes: length.contentBytes }
}
