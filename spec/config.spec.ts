import { describe, expect, it } from 'vitest'
import { DEFAULT_TOPIC_CONFIG, resolveTopicConfig } from '../lib/config.ts'

describe('the configuration of a topic', () => {
  it('has the defaults of Kafka except for flushMessages', () => {
    expect(resolveTopicConfig({})).toMatchObject({
      segmentBytes: 1_073_741_824,
      segmentMs: 604_800_000,
      segmentJitterMs: 0,
      indexIntervalBytes: 4096,
      segmentIndexBytes: 10_485_760,
      maxMessageBytes: 1_048_588,
      retentionBytes: -1,
      cleanupPolicy: 'delete',
      compressionType: 'producer',
      compressionGzipLevel: -1,
      compressionLz4Level: 9,
      compressionZstdLevel: 3,
      flushMessages: 1,
    })
  })

  it('contains the given options, and the given defaults for the rest', () => {
    const defaults = { segmentBytes: 500, retentionMs: 7 }
    const config = resolveTopicConfig({ segmentBytes: 600, flushMs: undefined }, defaults)
    expect(config).toEqual({ ...DEFAULT_TOPIC_CONFIG, segmentBytes: 600, retentionMs: 7 })
    expect(Object.isFrozen(config)).toBe(true)
  })

  it('sets no retentionMs for retention by consumption unless the topic or the defaults give one', () => {
    const consumed = { retention: 'consumed' } as const
    expect(resolveTopicConfig(consumed).retentionMs).toBe(-1)
    expect(resolveTopicConfig({ ...consumed, retentionMs: 5 }).retentionMs).toBe(5)
    expect(resolveTopicConfig(consumed, { retentionMs: 7 }).retentionMs).toBe(7)
    expect(resolveTopicConfig({}, consumed).retentionMs).toBe(-1)
    expect(resolveTopicConfig({ retention: 'limits' }, consumed).retentionMs).toBe(604_800_000)
  })

  it.each([
    [
      { segmentBytes: 99 },
      RangeError,
      'segmentBytes must be a whole number from 100 to 2147483647, got 99',
    ],
    [{ segmentBytes: 100.5 }, RangeError, 'got 100.5'],
    [{ segmentBytes: NaN }, RangeError, 'got NaN'],
    [{ segmentBytes: '500' }, TypeError, 'segmentBytes must be a number, got "500"'],
    [{ segmentIndexBytes: 23 }, RangeError, 'from 24'],
    [{ indexIntervalBytes: -1 }, RangeError, 'from 0'],
    [{ retentionMs: -2 }, RangeError, 'from -1'],
    [{ flushMessages: 0 }, RangeError, 'from 1'],
    [{ minCleanableDirtyRatio: 1.1 }, RangeError, 'from 0 to 1, got 1.1'],
    [{ minCleanableDirtyRatio: '1' }, TypeError, 'must be a number'],
    [{ cleanupPolicy: 'shrink' }, TypeError, '"delete", "compact", "compact,delete", got "shrink"'],
    [{ compressionType: 'brotli' }, TypeError, 'compressionType must be one of'],
    [{ compressionGzipLevel: 0 }, RangeError, 'must be -1, or a whole number from 1 to 9, got 0'],
    [{ compressionGzipLevel: 10 }, RangeError, 'must be -1, or a whole number from 1 to 9, got 10'],
    [{ compressionGzipLevel: 1.5 }, RangeError, 'compressionGzipLevel must be'],
    [{ compressionGzipLevel: '1' }, TypeError, 'compressionGzipLevel must be a number'],
    [{ compressionLz4Level: 18 }, RangeError, 'from 1 to 17, got 18'],
    [{ compressionZstdLevel: -131_073 }, RangeError, 'from -131072 to 22, got -131073'],
    [{ compressionZstdLevel: 23 }, RangeError, 'from -131072 to 22, got 23'],
    [{ messageTimestampType: 5 }, TypeError, 'got 5'],
    [{ segmentJitterMs: -1 }, RangeError, 'from 0'],
    [{ segmentSize: 5 }, TypeError, 'unknown key "segmentSize" in topic options'],
    [JSON.parse('{"__proto__": 5}') as object, TypeError, 'unknown key "__proto__" in'],
  ])('refuses %j', (config, error, message) => {
    expect(() => resolveTopicConfig(config as never)).toThrow(error)
    expect(() => resolveTopicConfig(config as never)).toThrow(message)
  })
})
