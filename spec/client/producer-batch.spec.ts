import { describe, expect, it } from 'vitest'
import { ProducerBatch, type ProducerBatchOptions } from '../../lib/client/producer-batch.ts'
import type { RecordMetadata, SendCompletion } from '../../lib/client/send-completion.ts'
import type { SerializedRecord } from '../../lib/client/producer-record.ts'

function newBatch(options: Partial<ProducerBatchOptions> = {}): ProducerBatch {
  return new ProducerBatch({
    compressionType: 'none',
    capacityBytes: 100,
    limitBytes: 200,
    limitRecords: Infinity,
    createdMs: 0,
    ...options,
  })
}

function record(timestamp = 5): SerializedRecord {
  const value = Buffer.from('value')
  const place = { topic: 't', partition: undefined }
  return { ...place, key: null, value, headers: [], timestamp, bringsTimestamp: true }
}

/** Writes down what it is told. */
function listener(heard: unknown[]): SendCompletion {
  return {
    succeed: (metadata: RecordMetadata) => heard.push(metadata.offset),
    fail: (error: Error) => heard.push(error.message),
  }
}

const place = { topic: 't', partition: 3, baseOffset: 10, logAppendTime: null }

describe('ProducerBatch', () => {
  it('has room for any first record, then for what surely stays within its limit', () => {
    const batch = newBatch()
    expect(batch.sizeBytes).toBe(0)
    expect(batch.hasRoomFor(10_000, 0)).toBe(true)
    batch.append(record(), null)
    expect(batch.hasRoomFor(200 - batch.sizeBytes, 0)).toBe(true)
    expect(batch.hasRoomFor(201 - batch.sizeBytes, 0)).toBe(false)
  })

  it('is full at its limit of bytes or of records', () => {
    const limited = newBatch({ limitRecords: 2 })
    limited.append(record(), null)
    expect(limited.isFull).toBe(false)
    limited.append(record(), null)
    expect(limited.isFull).toBe(true)
    const small = newBatch({ limitBytes: 62 })
    expect(small.isFull).toBe(false)
    small.append(record(), null)
    expect(small.isFull).toBe(true)
  })

  it('tells each record its own offset and timestamp, or the time of the append', () => {
    for (const [logAppendTime, timestamps] of [
      [null, [5, 6]],
      [99, [99, 99]],
    ] as const) {
      const batch = newBatch()
      const heard: RecordMetadata[] = []
      for (const timestamp of [5, 6]) {
        const succeed = (metadata: RecordMetadata) => heard.push(metadata)
        batch.append(record(timestamp), { succeed, fail: () => undefined })
      }
      batch.complete({ ...place, logAppendTime })
      expect(heard).toEqual([
        { topic: 't', partition: 3, offset: 10, timestamp: timestamps[0] },
        { topic: 't', partition: 3, offset: 11, timestamp: timestamps[1] },
      ])
    }
  })

  it('settles once: the first outcome counts, and later ones are ignored', () => {
    for (const isFirstFailure of [true, false]) {
      const batch = newBatch()
      const heard: unknown[] = []
      batch.append(record(), listener(heard))
      const outcomes = [
        () => {
          batch.fail(new Error('broken'))
        },
        () => {
          batch.complete(place)
        },
      ]
      for (const tell of isFirstFailure ? outcomes : outcomes.reverse()) tell()
      expect(heard).toEqual([isFirstFailure ? 'broken' : 10])
      expect(batch.isSettled).toBe(true)
    }
  })

  it('is settled already when the first of its records hears of it', () => {
    const batch = newBatch()
    const states: boolean[] = []
    const succeed = () => states.push(batch.isSettled)
    batch.append(record(), { succeed, fail: () => undefined })
    batch.complete(place)
    expect(states).toEqual([true])
  })
})
