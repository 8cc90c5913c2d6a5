import type { ResolvedTopicConfig } from '../config.ts'
import { decodeRecords, decodeUncompressed, type StoredRecord } from '../record/decode.ts'
import { RecordBatch } from '../record/record-batch.ts'
import { checkBatchSize, checkKeyless, fillLimitOf, isKeyed } from '../storage/append-record.ts'
import type { ProducerBatch } from './producer-batch.ts'

/** A batch and the bytes to write. */
export interface ReadyBatch {
  readonly batch: ProducerBatch
  readonly buffer: Buffer
  /** Why the topic refuses it, `null` if it does not. */
  readonly refusal: Error | null
}

/** The owner of the batches: those of one partition. */
export interface ReadyBatchOwner {
  readonly topic: { readonly name: string; readonly config: Readonly<ResolvedTopicConfig> }
  readonly partition: { readonly index: number }
  /** Called when the batch will not be written. */
  fail(batch: ProducerBatch, error: unknown): void
  /** `parts` have replaced `batch`. */
  replaced(batch: ProducerBatch, parts: readonly ProducerBatch[]): void
}

/**
 * Builds batches without compression. If the topic was altered meanwhile and refuses a batch, the
 * batch is split until each part is accepted or is a single record. Kafka's producer does the same
 * with batches that are too large (KIP-126): each record was small enough, and may be again on its
 * own. If the topic is now compacted, records without a key are refused, after the others.
 *
 * @returns the batches, or the parts of each, in order, without batches that were given up
 */
export function makeReadyNow(
  owner: ReadyBatchOwner,
  batches: readonly ProducerBatch[],
): readonly ReadyBatch[] {
  // Most calls have one batch, and each extra list costs garbage collection.
  if (batches.length === 1) return makeOneReadyNow(owner, batches[0] as ProducerBatch)
  const ready: ReadyBatch[] = []
  // A batch may have more parts than a call can have arguments.
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
 * The same for a batch that is compressed or already built.
 *
 * @param built its bytes, if it is already built
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

/** The bytes to write. */
export function buffersOf(ready: readonly ReadyBatch[]): readonly Buffer[] {
  if (ready.length === 1) return [(ready[0] as ReadyBatch).buffer]
  const buffers: Buffer[] = []
  for (const { buffer } of ready) buffers.push(buffer)
  return buffers
}

/**
 * How many batches, from the first on, the topic accepts as one append; at least one, if it accepts
 * the first.
 */
export function countWithin(ready: readonly ReadyBatch[], maxBytes: number): number {
  let sizeBytes = 0
  for (let count = 0; count < ready.length; count += 1) {
    const { buffer, refusal } = ready[count] as ReadyBatch
    sizeBytes += buffer.length
    if (refusal !== null || (maxBytes >= 0 && count > 0 && sizeBytes > maxBytes)) return count
  }
  return ready.length
}

/**
 * Why the topic, which may have been altered, refuses the batch: its size, or records without a
 * key. `null` if it does not.
 */
function refusalOf({ topic }: ReadyBatchOwner, batch: ProducerBatch, buffer: Buffer): Error | null {
  try {
    if (batch.keylessCount > 0) checkKeyless(topic.config, topic.name)
    checkBatchSize(buffer.length, topic.config, topic.name)
    return null
  } catch (error) {
    return error as Error
  }
}

/** Whether each single record would be refused for the same reason. */
function isIndivisible({ topic }: ReadyBatchOwner, batch: ProducerBatch): boolean {
  const { recordCount, keylessCount } = batch
  return recordCount === 1 || (keylessCount === recordCount && isKeyed(topic.config))
}

function placeOf({ topic, partition }: ReadyBatchOwner): { topic: string; partition: number } {
  return { topic: topic.name, partition: partition.index }
}

/** @returns the parts; none if the batch was given up while it was built */
function split(
  owner: ReadyBatchOwner,
  batch: ProducerBatch,
  records: readonly StoredRecord[],
): readonly ProducerBatch[] {
  if (batch.isSettled) return []
  const { config } = owner.topic
  const isApart = batch.keylessCount > 0 && isKeyed(config)
  const fillBytes = fillLimitOf(config, batch.compressionType)
  // A batch that grew by compression is within the limit before it, so its halves may be within the
  // limit afterwards.
  const fewBytes = isApart ? batch.sizeBytes : Math.floor(batch.sizeBytes / 2)
  const parts = batch.split(records, fillBytes < batch.sizeBytes ? fillBytes : fewBytes, isApart)
  owner.replaced(batch, parts)
  return parts
}
