import { describe, expect, it } from 'vitest'
import {
  compareNames,
  compareTopicPartitions,
  topicPartitionKey,
} from '../../lib/broker/topic-partition.ts'

describe('topicPartitionKey', () => {
  it('joins the topic and the partition number with a dash', () => {
    expect(topicPartitionKey({ topic: 'orders', partition: 12 })).toBe('orders-12')
  })

  it('returns different keys for topics whose names end in a number', () => {
    expect(topicPartitionKey({ topic: 'a-1', partition: 2 })).not.toBe(
      topicPartitionKey({ topic: 'a', partition: 12 }),
    )
  })
})

describe('compareTopicPartitions', () => {
  it('sorts by topic first, and by partition number, not by digits, second', () => {
    const sorted = [
      { topic: 'b', partition: 0 },
      { topic: 'a', partition: 10 },
      { topic: 'a', partition: 9 },
    ].sort(compareTopicPartitions)
    expect(sorted.map(topicPartitionKey)).toEqual(['a-9', 'a-10', 'b-0'])
  })

  it('returns zero for the same partition', () => {
    expect(compareTopicPartitions({ topic: 'a', partition: 1 }, { topic: 'a', partition: 1 })).toBe(
      0,
    )
  })
})

describe('compareNames', () => {
  it('sorts capitals before underscore before small letters, whatever the locale', () => {
    expect(['b', 'a', '_', 'B', 'é'].sort(compareNames)).toEqual(['B', '_', 'a', 'b', 'é'])
  })
})
