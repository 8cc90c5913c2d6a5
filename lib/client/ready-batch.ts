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
 * Builds a batch without compression. What its topic, which was altered while the batch gathered, does not
 * take is split until each part is taken or is a single record. Kafka's producer does so with what is too
 * large (KIP-126): each of the records was small enough, and would be once more. Where the topic is
 * compacted by now, those without a key are refused, behind the others.
 *
 * @param into gets the batch, or its parts in order; nothing when it is given up
 */
export function makeReadyNow(
  owner: ReadyBatchOwner,
  batch: ProducerBatch,
  into: ReadyBatch[],
): void {
  let refusal: Error | null = null
  try {
    const buffer = batch.buildUncompressed()
    refusal = refusalOf(owner, batch, buffer)
    if (refusal === null || isIndivisible(owner, batch)) {
      into.push({ batch, buffer, refusal })
      return
    }
    const records = decodeUncompressed(new RecordBatch(buffer), placeOf(owner))
    for (const part of split(owner, batch, records)) makeReadyNow(owner, part, into)
  } catch (error) {
    owner.fail(batch, refusal ?? error)
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
  const ready: ReadyBatch[] = []
  if (built === null && batch.compressionType === 'none') {
    makeReadyNow(owner, batch, ready)
    return ready
  }
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
