import { describe, expect, it } from 'vitest'
import * as varve from '../lib/index.ts'
import * as offline from '../lib/offline/index.ts'
import * as testing from '../lib/testing/index.ts'

describe('the entry points', () => {
  it('export exactly these names from varve', () => {
    expect(Object.keys(varve).sort()).toEqual([
      'Broker',
      'BufferExhaustedError',
      'COMPRESSION_TYPES',
      'ClosedError',
      'CommitFailedError',
      'Consumer',
      'CorruptRecordError',
      'GroupIdNotFoundError',
      'GroupNotEmptyError',
      'IllegalStateError',
      'InconsistentGroupProtocolError',
      'InvalidGroupIdError',
      'InvalidPartitionsError',
      'InvalidRecordError',
      'InvalidTimestampError',
      'InvalidTopicError',
      'LockLostError',
      'LockedError',
      'Log',
      'LogFullError',
      'NoOffsetForPartitionError',
      'OffsetConflictError',
      'OffsetOutOfRangeError',
      'Partition',
      'PolicyViolationError',
      'Producer',
      'ReadOnlyError',
      'RecordTooLargeError',
      'SerializationError',
      'StorageError',
      'TimeoutError',
      'Topic',
      'TopicExistsError',
      'UnknownTopicOrPartitionError',
      'UnsupportedCompressionTypeError',
      'VarveError',
      'WakeupError',
      'bytes',
      'defaultPartitioner',
      'json',
      'random',
      'roundRobin',
      'string',
    ])
  })

  it('export exactly these names from varve/offline', () => {
    expect(Object.keys(offline).sort()).toEqual([
      'ImportFileChangedError',
      'ImportFileError',
      'LoadFailedError',
      'LoadPlan',
      'MissingModuleError',
      'RecordsGoneError',
      'importFile',
      'loadEvery',
      'ndjsonSink',
      'parquetSink',
      'planLoad',
      'pushTo',
      'runLoad',
      'runTask',
      'sinkConformance',
      'toReadable',
      'toReadableStream',
      'toWritable',
      'toWritableStream',
    ])
  })

  it('export exactly these names from varve/testing', () => {
    expect(Object.keys(testing).sort()).toEqual([
      'ManualClock',
      'SeededRandom',
      'SimulatedCrash',
      'SimulatedFileSystem',
      'tempBroker',
    ])
  })
})
