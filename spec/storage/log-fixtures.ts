import type { TopicConfig } from '../../lib/config.ts'
import type { File, FileSystem } from '../../lib/platform/file-system.ts'
import type { StoredRecord } from '../../lib/record/decode.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { stampBatch, RecordBatch } from '../../lib/record/record-batch.ts'
import { Log } from '../../lib/storage/log.ts'
import type { LogOptions } from '../../lib/storage/log-options.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

/** Limits so small that a few records roll segments and fill indexes. */
export const SMALL: TopicConfig = { segmentBytes: 200, indexIntervalBytes: 32 }

export const DIR = '/orders-0'
export const NOW = 1_700_000_000_000

/** The path of a segment's file in {@link DIR}. */
export function pathOf(offset: number, extension = 'log'): string {
  return `${DIR}/${String(offset).padStart(20, '0')}.${extension}`
}

/** Opens the log of these specs with a clock that stands still. */
export function openLog(
  fileSystem: FileSystem,
  options: Omit<LogOptions, 'fileSystem'> = {},
): Promise<Log> {
  return Log.open(DIR, { fileSystem, clock: new ManualClock(NOW), config: SMALL, ...options })
}

/** Reads all records of a log from start to end, in several pieces. */
export async function readAll(log: Log, maxBytes = 100): Promise<StoredRecord[]> {
  const records: StoredRecord[] = []
  let offset = log.logStartOffset
  for (;;) {
    const read = await log.read(offset, maxBytes)
    const last = read.at(-1)
    if (last === undefined) return records
    records.push(...read)
    offset = last.offset + 1
  }
}

export async function valuesOf(log: Log): Promise<string[]> {
  return (await readAll(log)).map((record) => String(record.value))
}

export async function offsetsOf(log: Log): Promise<number[]> {
  return (await readAll(log)).map((record) => record.offset)
}

/** The content of a batch of {@link batchOf}. */
export interface BatchSpec {
  readonly baseOffset?: number
  /** The values of the records, one per offset. */
  readonly values?: readonly string[]
  /** Of all records. */
  readonly timestamp?: number
  readonly epoch?: number
  readonly groupStart?: boolean
  readonly producerId?: number
  readonly producerEpoch?: number
  readonly baseSequence?: number
  readonly isTransactional?: boolean
}

/** The bytes of a stamped batch, as in a file. */
export function bytesOf(spec: BatchSpec = {}): Buffer {
  const { values = ['v'], timestamp = NOW, baseOffset = 0, epoch = 0, groupStart = false } = spec
  const builder = new RecordBatchBuilder({
    producerId: spec.producerId ?? -1,
    producerEpoch: spec.producerEpoch ?? -1,
    baseSequence: spec.baseSequence ?? -1,
    isTransactional: spec.isTransactional ?? false,
  })
  for (const value of values) builder.append(timestamp, Buffer.from('k'), Buffer.from(value))
  const bytes = builder.buildUncompressed()
  stampBatch(bytes, { baseOffset, partitionLeaderEpoch: epoch, groupStart })
  return bytes
}

export function batchOf(spec: BatchSpec = {}): RecordBatch {
  return new RecordBatch(bytesOf(spec))
}

/** A log with one record per batch, `v0` to `v<count - 1>`, closed cleanly by default. */
export async function writtenLog(
  count: number,
  options: { config?: TopicConfig; close?: boolean; seed?: number } = {},
): Promise<SimulatedFileSystem> {
  const fileSystem = new SimulatedFileSystem({ seed: options.seed ?? 1 })
  const log = await openLog(fileSystem, { config: { ...SMALL, ...options.config } })
  for (let each = 0; each < count; each += 1) {
    await log.append([{ key: 'k', value: `v${each}`, timestamp: NOW + each }])
  }
  if (options.close ?? true) await log.close()
  return fileSystem
}

/** `v0` to `v<count - 1>`. */
export function valuesUpTo(count: number): string[] {
  return Array.from({ length: count }, (_, each) => `v${each}`)
}

/** The numbers from 0 to `count - 1`. */
export function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, each) => each)
}

/** Returns which of the files opened from now on are open. */
export function recordOpenFiles(fs: SimulatedFileSystem): () => string[] {
  const openFiles = new Set<File>()
  const open = fs.open.bind(fs)
  fs.open = async (path, mode) => {
    const file = await open(path, mode)
    const close = file.close.bind(file)
    file.close = () => {
      openFiles.delete(file)
      return close()
    }
    openFiles.add(file)
    return file
  }
  return () => [...openFiles].map((file) => file.path).sort()
}
