import { CorruptRecordError } from '../errors.ts'
import { crc32c } from '../record/crc32c.ts'
import { readInt64, writeInt64 } from '../record/int64.ts'

// Header
const VERSION_POSITION = 0
const CRC_POSITION = VERSION_POSITION + 2
const COUNT_POSITION = CRC_POSITION + 4
const HEADER_SIZE_BYTES = COUNT_POSITION + 4
// Entry
const PRODUCER_ID_POSITION = 0
const PRODUCER_EPOCH_POSITION = PRODUCER_ID_POSITION + 8
const LAST_SEQUENCE_POSITION = PRODUCER_EPOCH_POSITION + 2
const LAST_OFFSET_POSITION = LAST_SEQUENCE_POSITION + 4
const OFFSET_DELTA_POSITION = LAST_OFFSET_POSITION + 8
const TIMESTAMP_POSITION = OFFSET_DELTA_POSITION + 4
const COORDINATOR_EPOCH_POSITION = TIMESTAMP_POSITION + 8
const TXN_FIRST_OFFSET_POSITION = COORDINATOR_EPOCH_POSITION + 4
const ENTRY_SIZE_BYTES = TXN_FIRST_OFFSET_POSITION + 8

const VERSION = 1

/** What is remembered of one producer: its last batch. */
export interface ProducerStateEntry {
  readonly producerId: number
  readonly producerEpoch: number
  readonly lastSequence: number
  readonly lastOffset: number
  /** Last sequence minus first sequence of the last batch. */
  readonly offsetDelta: number
  readonly timestamp: number
  /** -1 if no transaction marker was seen. */
  readonly coordinatorEpoch: number
  /** First offset of the open transaction; -1 if none is open. */
  readonly currentTxnFirstOffset: number
}

/**
 * Encodes a snapshot:
 *
 * ```
 * 0..1   version, int16 = 1
 * 2..5   CRC-32C of everything after it
 * 6..9   count, int32
 * 10..   count entries of 46 bytes: producer id int64, epoch int16, last sequence int32,
 *        last offset int64, offset delta int32, timestamp int64, coordinator epoch int32,
 *        first offset of the open transaction int64
 * ```
 */
export function encodeProducerSnapshot(entries: readonly ProducerStateEntry[]): Buffer {
  const bytes = Buffer.alloc(HEADER_SIZE_BYTES + entries.length * ENTRY_SIZE_BYTES)
  bytes.writeInt16BE(VERSION, VERSION_POSITION)
  bytes.writeInt32BE(entries.length, COUNT_POSITION)
  entries.forEach((entry, slot) => {
    const at = HEADER_SIZE_BYTES + slot * ENTRY_SIZE_BYTES
    writeInt64(bytes, at + PRODUCER_ID_POSITION, entry.producerId)
    bytes.writeInt16BE(entry.producerEpoch, at + PRODUCER_EPOCH_POSITION)
    bytes.writeInt32BE(entry.lastSequence, at + LAST_SEQUENCE_POSITION)
    writeInt64(bytes, at + LAST_OFFSET_POSITION, entry.lastOffset)
    bytes.writeInt32BE(entry.offsetDelta, at + OFFSET_DELTA_POSITION)
    writeInt64(bytes, at + TIMESTAMP_POSITION, entry.timestamp)
    bytes.writeInt32BE(entry.coordinatorEpoch, at + COORDINATOR_EPOCH_POSITION)
    writeInt64(bytes, at + TXN_FIRST_OFFSET_POSITION, entry.currentTxnFirstOffset)
  })
  bytes.writeUInt32BE(crc32c(bytes, COUNT_POSITION), CRC_POSITION)
  return bytes
}

/**
 * Decodes a snapshot.
 *
 * @throws {@link CorruptRecordError} when the version, the length or the checksum is wrong.
 */
export function decodeProducerSnapshot(bytes: Buffer, path: string): ProducerStateEntry[] {
  const corrupt = (reason: string): CorruptRecordError =>
    new CorruptRecordError(`producer snapshot is damaged: ${reason}`, { path, position: 0 })
  if (bytes.length < HEADER_SIZE_BYTES)
    throw corrupt(`${bytes.length} bytes are too few for its header`)
  const version = bytes.readInt16BE(VERSION_POSITION)
  if (version !== VERSION) throw corrupt(`version is ${version}, not ${VERSION}`)
  const count = bytes.readInt32BE(COUNT_POSITION)
  if (count < 0 || bytes.length !== HEADER_SIZE_BYTES + count * ENTRY_SIZE_BYTES) {
    throw corrupt(`it announces ${count} entries, but has ${bytes.length} bytes`)
  }
  if (bytes.readUInt32BE(CRC_POSITION) !== crc32c(bytes, COUNT_POSITION)) {
    throw corrupt('the checksum does not match')
  }
  return Array.from({ length: count }, (_, slot) => {
    const at = HEADER_SIZE_BYTES + slot * ENTRY_SIZE_BYTES
    return {
      producerId: readInt64(bytes, at + PRODUCER_ID_POSITION),
      producerEpoch: bytes.readInt16BE(at + PRODUCER_EPOCH_POSITION),
      lastSequence: bytes.readInt32BE(at + LAST_SEQUENCE_POSITION),
      lastOffset: readInt64(bytes, at + LAST_OFFSET_POSITION),
      offsetDelta: bytes.readInt32BE(at + OFFSET_DELTA_POSITION),
      timestamp: readInt64(bytes, at + TIMESTAMP_POSITION),
      coordinatorEpoch: bytes.readInt32BE(at + COORDINATOR_EPOCH_POSITION),
      currentTxnFirstOffset: readInt64(bytes, at + TXN_FIRST_OFFSET_POSITION),
    }
  })
}
