import { describe, expect, it } from 'vitest'
import { ProducerBatch, type ProducerBatchOptions } from '../../lib/client/producer-batch.ts'
import type { SendCompletion, SentTo } from '../../lib/client/send-completion.ts'
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
  return { ...place, key: null, value, headers: [], timestamp, bringsTimestamp: true, slot: 0 }
}

/** Logs its calls. */
function listener(heard: unknown[]): SendCompletion {
  return {
    succeed: (_to: SentTo, offset: number) => heard.push(offset),
    fail: (error: Error) => heard.push(error.message),
  }
}

const to = { topic: 't', index: 3 }

describe('ProducerBatch', () => {
  it('has room for any first record, then only for records that stay within its limit', () => {
    const batch = newBatch()
    expect(batch.sizeBytes).toBe(0)
    expect(batch.hasRoomFor(10_000, 0)).toBe(true)
    batch.append(record(), null, 0)
    expect(batch.hasRoomFor(200 - batch.sizeBytes, 0)).toBe(true)
    expect(batch.hasRoomFor(201 - batch.sizeBytes, 0)).toBe(false)
  })

  it('is full at its limit of bytes or of records', () => {
    const limited = newBatch({ limitRecords: 2 })
    limited.append(record(), null, 0)
    expect(limited.isFull).toBe(false)
    limited.append(record(), null, 0)
    expect(limited.isFull).toBe(true)
    const small = newBatch({ limitBytes: 62 })
    expect(small.isFull).toBe(false)
    small.append(record(), null, 0)
    expect(small.isFull).toBe(true)
  })

  it('completes each record with its own offset and slot, and its timestamp or the append time', () => {
    for (const [logAppendTime, timestamps] of [
      [null, [5, 6]],
      [99, [99, 99]],
    ] as const) {
      const batch = newBatch()
      const heard: unknown[] = []
      const succeed = (...told: unknown[]) => heard.push(told)
      for (const [timestamp, slot] of [
        [5, 7],
        [6, 2],
      ] as const) {
        batch.append(record(timestamp), { succeed, fail: () => undefined }, slot)
      }
      batch.complete(to, 10, logAppendTime)
      expect(heard).toEqual([
        [to, 10, timestamps[0], 7],
        [to, 11, timestamps[1], 2],
      ])
    }
  })

  it('reports the slot of each record on success, on failure and after a split', () => {
    const numbers = [0, 0, 3, 0, 1]
    for (const outcome of ['succeed', 'fail', 'split'] as const) {
      const batch = newBatch({ limitBytes: 10_000 })
      const heard: unknown[] = []
      const completion: SendCompletion = {
        succeed: (...told) => heard.push(told.at(-1)),
        fail: (...told) => heard.push(told.at(-1)),
      }
      for (const number of numbers) batch.append(record(), completion, number)
      if (outcome === 'fail') batch.fail(new Error('broken'))
      else if (outcome === 'succeed') batch.complete(to, 10, null)
      else {
        const parts = batch.split(
          numbers.map(() => record()),
          90,
          false,
        )
        expect(parts.length).toBeGreaterThan(1)
        for (const part of parts) part.complete(to, 10, null)
      }
      expect(heard).toEqual(numbers)
    }
  })

  it('settles once, and ignores later outcomes', () => {
    for (const isFirstFailure of [true, false]) {
      const batch = newBatch()
      const heard: unknown[] = []
      batch.append(record(), listener(heard), 0)
      const outcomes = [
        () => {
          batch.fail(new Error('broken'))
        },
        () => {
          batch.complete(to, 10, null)
        },
      ]
      for (const tell of isFirstFailure ? outcomes : outcomes.reverse()) tell()
      expect(heard).toEqual([isFirstFailure ? 'broken' : 10])
      expect(batch.isSettled).toBe(true)
    }
  })

  it('is already settled when its first record is completed', () => {
    const batch = newBatch()
    const states: boolean[] = []
    const succeed = () => states.push(batch.isSettled)
    batch.append(record(), { succeed, fail: () => undefined }, 0)
    batch.complete(to, 10, null)
    expect(states).toEqual([true])
  })
})
