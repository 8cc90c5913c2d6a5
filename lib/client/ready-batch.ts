import type { ResolvedTopicConfig } from '../config.ts'
import { decodeRecords, decodeUncompressed, type StoredRecord } from '../record/decode.ts'
import { RecordBatch } from '../record/record-batch.ts'
import { checkBatchSize, checkKeyless, fillLimitOf, isKeyed } from '../storage/append-record.ts'
import type { ProducerBatch } from './producer-batch.ts'

/** A batch, and the bytes to write. */
export interface ReadyBatch {
  readonly batch: ProducerBatch
  readonly buffer: Buffer
  /** Why the topic does not take it, `null` where it does. */
  readonly refusal: Error | null
}

/** Whose batches are made ready: those of one partition. */
export interface ReadyBatchOwner {
  readonly topic: { readonly name: string; readonly config: Readonly<ResolvedTopicConfig> }
  readonly partition: { readonly index: number }
  /** The batch will not be written. */
  fail(batch: ProducerBatch, error: unknown): void
  /** `parts` have taken the place of `batch`. */
  replaced(batch: ProducerBatch, parts: readonly ProducerBatch[]): void
}

/**
 * Builds batches without compression. What their topic, which was altered while they gathered, does not
 * take is split until each part is taken or is a single record. Kafka's producer does so with what is too
 * large (KIP-126): each of the records was small enough, and would be once more. Where the topic is
 * compacted by now, those without a key are refused, behind the others.
 *
 * @returns the batches, or the parts of each, in order; nothing of those that are given up
 */
export function makeReadyNow(
  owner: ReadyBatchOwner,
  batches: readonly ProducerBatch[],
): readonly ReadyBatch[] {
  // Most are alone, and each list is one more for the collector.
  if (batches.length === 1) return makeOneReadyNow(owner, batches[0] as ProducerBatch)
  const ready: ReadyBatch[] = []
  // A batch may have more parts than a call takes arguments.
  for (const batch of batches) for (const each of makeOneReadyNow(owner, batch)) ready.push(each)
  return ready
}

function makeOneReadyNow(owner: ReadyBatchOwner, batch: ProducerBatch): readonly ReadyBatch[] {
  let refusal: Error | null = null
  try {
    const buffer = batch.buildUncompressed()
    refusal = refusalOf(owner, batch, buffer)
    if (refusal === null || isIndivisible(owner, batch)) return [{ batch, buffer, refusal }]
    const records = decodeUncompressed(new RecordBatch(buffer), placeOf(owner))
    return makeReadyNow(owner, split(owner, batch, records))
  } catch (error) {
    owner.fail(batch, refusal ?? error)
    return []
  }
}

/**
 * The same for a batch that is compressed, or has been built already.
 *
 * @param built its bytes, where it has been
 * @returns the batch, or its parts in order
 */
export async function makeReady(
  owner: ReadyBatchOwner,
  batch: ProducerBatch,
  built: Buffer | null = null,
): Promise<readonly ReadyBatch[]> {
  if (built === null && batch.compressionType === 'none') return makeReadyNow(owner, [batch])
  const ready: ReadyBatch[] = []
  let refusal: Error | null = null
  try {
    const buffer = built ?? (await batch.build())
    refusal = refusalOf(owner, batch, buffer)
    if (refusal === null || isIndivisible(owner, batch)) return [{ batch, buffer, refusal }]
    const records = await decodeRecords(new RecordBatch(buffer), placeOf(owner))
    for (const part of split(owner, batch, records)) ready.push(...(await makeReady(owner, part)))
  } catch (error) {
    owner.fail(batch, refusal ?? error)
  }
  return ready
}

/** What is written of them. */
export function buffersOf(ready: readonly ReadyBatch[]): readonly Buffer[] {
  if (ready.length === 1) return [(ready[0] as ReadyBatch).buffer]
  const buffers: Buffer[] = []
  for (const { buffer } of ready) buffers.push(buffer)
  return buffers
}

/** How many of the first the topic takes as one append; at least one, where there is any that it takes. */
export function countWithin(ready: readonly ReadyBatch[], maxBytes: number): number {
  let sizeBytes = 0
  for (let count = 0; count < ready.length; count += 1) {
    const { buffer, refusal } = ready[count] as ReadyBatch
    sizeBytes += buffer.length
    if (refusal !== null || (maxBytes >= 0 && count > 0 && sizeBytes > maxBytes)) return count
  }
  return ready.length
}

/** Why the topic, which may have been altered, takes no records of that size, or none without a key. */
function refusalOf({ topic }: ReadyBatchOwner, batch: ProducerBatch, buffer: Buffer): Error | null {
  try {
    if (batch.keylessCount > 0) checkKeyless(topic.config, topic.name)
    checkBatchSize(buffer.length, topic.config)
    return null
  } catch (error) {
    return error as Error
  }
}

/** Whether what is wrong with a batch is so with each of its records. */
function isIndivisible({ topic }: ReadyBatchOwner, batch: ProducerBatch): boolean {
  const { recordCount, keylessCount } = batch
  return recordCount === 1 || (keylessCount === recordCount && isKeyed(topic.config))
}

function placeOf({ topic, partition }: ReadyBatchOwner): { topic: string; partition: number } {
  return { topic: topic.name, partition: partition.index }
}

/** @returns the parts; none of a batch that was given up while it was built */
function split(
  owner: ReadyBatchOwner,
  batch: ProducerBatch,
  records: readonly StoredRecord[],
): readonly ProducerBatch[] {
  if (batch.isSettled) return []
  const { config } = owner.topic
  const isApart = batch.keylessCount > 0 && isKeyed(config)
  const fillBytes = fillLimitOf(config, batch.compressionType)
  // What has grown by compression is within the limit before it: its halves may be within it afterwards.
  const fewBytes = isApart ? batch.sizeBytes : Math.floor(batch.sizeBytes / 2)
  const parts = batch.split(records, fillBytes < batch.sizeBytes ? fillBytes : fewBytes, isApart)
  owner.replaced(batch, parts)
  return parts
}
