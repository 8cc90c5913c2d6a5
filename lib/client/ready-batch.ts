import type { ResolvedTopicConfig } from '../config.ts'
import { decodeRecords, decodeUncompressed, type StoredRecord } from '../record/decode.ts'
import { RecordBatch } from '../record/record-batch.ts'
import { checkBatchSize, checkKeyless, fillLimitOf } from '../storage/append-record.ts'
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
 * large (KIP-126): each of the records was small enough, and would be once more. Of a topic that is
 * compacted by now, those without a key are refused alone.
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
    if (refusal === null || batch.recordCount === 1) {
      into.push({ batch, buffer, refusal })
      return
    }
    const records = decodeUncompressed(new RecordBatch(buffer), placeOf(owner))
    for (const part of split(owner, batch, records)) makeReadyNow(owner, part, into)
  } catch (error) {
    owner.fail(batch, refusal ?? error)
  }
}

/** The same for a batch that is compressed. @returns the batch, or its parts in order */
export async function makeReady(
  owner: ReadyBatchOwner,
  batch: ProducerBatch,
): Promise<readonly ReadyBatch[]> {
  const ready: ReadyBatch[] = []
  if (batch.compressionType === 'none') {
    makeReadyNow(owner, batch, ready)
    return ready
  }
  let refusal: Error | null = null
  try {
    const buffer = await batch.build()
    refusal = refusalOf(owner, batch, buffer)
    if (refusal === null || batch.recordCount === 1) return [{ batch, buffer, refusal }]
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

/** What was asked of each record when it was sent is asked once more: the topic may have been altered. */
function refusalOf({ topic }: ReadyBatchOwner, batch: ProducerBatch, buffer: Buffer): Error | null {
  try {
    checkBatchSize(buffer.length, topic.config)
    if (batch.hasKeyless) checkKeyless(topic.config, topic.name)
    return null
  } catch (error) {
    return error as Error
  }
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
  const fillBytes = fillLimitOf(owner.topic.config, batch.compressionType)
  // As far as needed, and always into two: what has a record without a key is small enough as it is, and
  // what has grown by compression may be within the limit in halves.
  const limitBytes = fillBytes < batch.sizeBytes ? fillBytes : Math.floor(batch.sizeBytes / 2)
  const parts = batch.split(records, limitBytes)
  owner.replaced(batch, parts)
  return parts
}
