import { CorruptRecordError } from '../errors.ts'
import { readInt64, writeInt64 } from '../record/int64.ts'
import { ByteReader } from '../record/varint.ts'
import type { OffsetAndMetadata } from './offset-and-metadata.ts'
import type { TopicPartition } from './topic-partition.ts'

// Each record of the internal topic holds the committed offset of a group for one partition. All
// numbers are big-endian; a string is an int16 length in bytes and that many bytes of UTF-8.
//
//   key    2       version          1; 0 has the same fields; from 2 on a key is no offset commit
//          2+n     group
//          2+n     topic
//          4       partition
//
//   value  2       version          3 is written, 0 to 4 are read
//          8       offset           the next one to read; negative: there is none
//          4       leaderEpoch      versions 3 and 4; -1: not known
//          2+n     metadata         in version 4 the length is an unsigned varint of length + 1
//          8       commitTimestamp  milliseconds since the epoch
//          8       expireTimestamp  version 1 only
//                  tagged fields    version 4 only
//
// A null value is a tombstone: the group no longer has an offset for that partition. The CRC of the
// batch covers the whole record.

const KEY_VERSION = 1
const VALUE_VERSION = 3
const HIGHEST_READ_VALUE_VERSION = 4
const NO_LEADER_EPOCH = -1
/** Size of the last field of a key. */
const PARTITION_BYTES = 4

/** Identifies the group and partition of a committed offset. */
export interface OffsetCommitKey extends TopicPartition {
  readonly groupId: string
}

/**
 * A committed offset as it is stored. A negative offset, which brokers accept and Varve does not,
 * means none.
 */
export interface OffsetCommitValue extends OffsetAndMetadata {
  /** Milliseconds since the epoch. */
  readonly commitTimestamp: number
}

/**
 * Encodes the key of an offset's record; equal keys have equal bytes.
 * @throws RangeError for a string of more than 32767 bytes.
 */
export function encodeOffsetCommitKey({ groupId, topic, partition }: OffsetCommitKey): Buffer {
  const groupBytes = Buffer.from(groupId)
  const topicBytes = Buffer.from(topic)
  const key = Buffer.allocUnsafe(2 + 2 + groupBytes.length + 2 + topicBytes.length + 4)
  let position = key.writeInt16BE(KEY_VERSION, 0)
  position = writeString(key, position, groupBytes)
  position = writeString(key, position, topicBytes)
  key.writeInt32BE(partition, position)
  return key
}

/**
 * Creates the keys of one group's offsets. Most offsets that are committed together are of one
 * topic, so their keys differ only in the last field.
 */
export function offsetCommitKeys(groupId: string): (topicPartition: TopicPartition) => Buffer {
  let last: { readonly topic: string; readonly key: Buffer } | null = null
  return ({ topic, partition }) => {
    if (last?.topic !== topic) {
      last = { topic, key: encodeOffsetCommitKey({ groupId, topic, partition }) }
      return last.key
    }
    const key = Buffer.from(last.key)
    key.writeInt32BE(partition, key.length - PARTITION_BYTES)
    return key
  }
}

/**
 * Encodes the value of an offset's record.
 * @throws RangeError for metadata of more than 32767 bytes.
 */
export function encodeOffsetCommitValue(value: OffsetCommitValue): Buffer {
  const metadataBytes = Buffer.from(value.metadata)
  const buffer = Buffer.allocUnsafe(2 + 8 + 4 + 2 + metadataBytes.length + 8)
  let position = buffer.writeInt16BE(VALUE_VERSION, 0)
  position = writeInt64(buffer, position, value.offset)
  position = buffer.writeInt32BE(value.leaderEpoch ?? NO_LEADER_EPOCH, position)
  position = writeString(buffer, position, metadataBytes)
  writeInt64(buffer, position, value.commitTimestamp)
  return buffer
}

/**
 * Decodes a key of the internal topic.
 *
 * @returns `null` for a key of another kind, such as a group's members in Kafka
 * @throws {@link CorruptRecordError} when the bytes do not match the version
 */
export function decodeOffsetCommitKey(key: Buffer): OffsetCommitKey | null {
  const reader = new ByteReader(key)
  const version = reader.readInt16()
  if (version < 0 || version > KEY_VERSION) return null
  const groupId = reader.readString(reader.readInt16())
  const topic = reader.readString(reader.readInt16())
  const partition = reader.readInt32()
  if (partition < 0) throw corrupt(`the partition number ${partition} is negative`, 0)
  ensureAtEnd(reader)
  return { groupId, topic, partition }
}

/**
 * Decodes the value that belongs to a key of {@link decodeOffsetCommitKey}.
 *
 * @returns `null` for a version newer than this code
 * @throws {@link CorruptRecordError} when the bytes do not match the version
 */
export function decodeOffsetCommitValue(value: Buffer): OffsetCommitValue | null {
  const reader = new ByteReader(value)
  const version = reader.readInt16()
  if (version < 0 || version > HIGHEST_READ_VALUE_VERSION) return null
  const isFlexible = version >= 4
  const offset = readLong(reader)
  const leaderEpoch = version >= 3 ? reader.readInt32() : NO_LEADER_EPOCH
  const metadataBytes = isFlexible ? readUnsignedVarint(reader) - 1 : reader.readInt16()
  const metadata = reader.readString(metadataBytes)
  const commitTimestamp = readLong(reader)
  if (version === 1) readLong(reader)
  // Later versions may add tagged fields, so nothing can be said about the rest.
  if (!isFlexible) ensureAtEnd(reader)
  return { offset, leaderEpoch: leaderEpoch < 0 ? null : leaderEpoch, metadata, commitTimestamp }
}

/**
 * The partition of the internal topic that holds a group's offsets. Kafka chooses it by Java's hash
 * of the group id.
 *
 * @param partitionCount at least 1
 */
export function partitionForGroup(groupId: string, partitionCount: number): number {
  let hash = 0
  for (let at = 0; at < groupId.length; at++) {
    hash = (Math.imul(31, hash) + groupId.charCodeAt(at)) | 0
  }
  // The smallest int32 has no positive counterpart; Kafka takes 0 for it.
  return (hash === -0x8000_0000 ? 0 : Math.abs(hash)) % partitionCount
}

function writeString(buffer: Buffer, position: number, bytes: Buffer): number {
  const start = buffer.writeInt16BE(bytes.length, position)
  return start + bytes.copy(buffer, start)
}

function readLong(reader: ByteReader): number {
  return readInt64(reader.readBytes(8), 0)
}

function readUnsignedVarint(reader: ByteReader): number {
  const start = reader.position
  let value = 0
  for (let shift = 0; shift <= 28; shift += 7) {
    const byte = reader.readUInt8()
    value |= (byte & 0x7f) << shift
    if (byte < 0x80) return value >>> 0
  }
  throw corrupt('a variable-length number does not fit 32 bits', start)
}

function ensureAtEnd(reader: ByteReader): void {
  if (reader.remaining > 0) {
    throw corrupt(`${reader.remaining} bytes after the last field`, reader.position)
  }
}

function corrupt(reason: string, position: number): CorruptRecordError {
  return new CorruptRecordError(reason, { path: null, position })
}
