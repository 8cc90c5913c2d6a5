import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { Broker } from '../lib/broker.ts'
import type { Partition } from '../lib/broker/partition.ts'
import type { BenchStore } from './bench-case.ts'
import { Checksum, TOPIC, Workload } from './workload.ts'

/** When records reach the disk: before they are acknowledged, or when the operating system likes. */
export type Flush = '1' | 'relaxed'

/** A broker with an empty topic. */
export async function createStore(
  dir: string,
  flush: Flush,
): Promise<{ broker: Broker; partition: Partition }> {
  const broker = await Broker.open(dir)
  const flushMessages = flush === '1' ? 1 : Number.MAX_SAFE_INTEGER
  const topic = await broker.createTopic(TOPIC, { flushMessages })
  return { broker, partition: topic.partition(0) }
}

/** A broker with a topic that an earlier process has left. */
export async function openStore(dir: string): Promise<{ broker: Broker; partition: Partition }> {
  const broker = await Broker.open(dir)
  return { broker, partition: broker.topic(TOPIC).partition(0) }
}

/** A cleanly closed store of `count` records, before that is scaled. */
export function filledStore(
  valueBytes: number,
  { count, batchRecords }: { count: number; batchRecords: number },
): BenchStore {
  return {
    name: `varve/records=${count}/value=${valueBytes}/batch=${batchRecords}`,
    fill: async (context) => {
      const workload = new Workload(valueBytes)
      const { broker, partition } = await createStore(context.dir, 'relaxed')
      await inWindow(context.count(count), batchRecords, (from, size) =>
        partition.append(workload.slice(from, size)),
      )
      await broker.close()
    },
  }
}

/** Calls in flight while one caller writes in bulk. */
const WINDOW = 8

/** Calls `write` for `count` records, `batchRecords` at a time, with a few calls in flight. */
export async function inWindow(
  count: number,
  batchRecords: number,
  write: (from: number, size: number) => Promise<unknown>,
): Promise<void> {
  const inFlight: Promise<unknown>[] = []
  for (let from = 0; from < count; from += batchRecords) {
    if (inFlight.length === WINDOW) await inFlight.shift()
    inFlight.push(write(from, Math.min(batchRecords, count - from)))
  }
  await Promise.all(inFlight)
}

/**
 * Opens the store again and reads everything back.
 *
 * @param order whether record `i` of the workload must be at offset `i`, or just be there once.
 * @throws an Error when a record is missing, changed, out of place or too many.
 */
export async function verifyStore(
  dir: string,
  workload: Workload,
  count: number,
  order: 'ordered' | 'unordered' = 'ordered',
): Promise<void> {
  const { broker, partition } = await openStore(dir)
  const checksum = new Checksum()
  let sum = 0
  let offset = partition.logStartOffset
  while (offset < partition.highWatermark) {
    for (const { key, value, offset: found } of await partition.read(offset)) {
      if (key === null || value === null || found !== offset) {
        throw new Error(`offset ${offset}: got ${found} with ${key === null ? 'no key' : 'a key'}`)
      }
      checksum.add(key, value)
      if (order === 'unordered') sum = (sum + crc32(value, crc32(key))) >>> 0
      offset += 1
    }
  }
  await broker.close()
  ensureEqual('count', checksum.count, count)
  if (order === 'ordered') ensureEqual('checksum', checksum.ordered, workload.checksum(count))
  else ensureEqual('checksum', sum, workload.unorderedChecksum(count))
}

/** @throws an Error when they differ. */
export function ensureEqual(what: string, got: number, expected: number): void {
  if (got !== expected) throw new Error(`${what}: got ${got}, expected ${expected}`)
}

/** Sizes of all files in `dir` and below it. */
export function sizeOnDisk(dir: string): number {
  return readdirSync(dir, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0)
}
