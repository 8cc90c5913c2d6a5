/**
 * Batch loads for systems that read files or take data at their own pace. A load is split into
 * tasks, one per partition or range of offsets. Each task can be restarted without loading anything
 * twice. Also imports files into a topic, pushes records to other systems, and adapts topics to
 * Node.js and web streams.
 *
 * @module
 */
export type { FieldType, Fields } from './fields.ts'
export type { FileSinkOptions } from './file-sink.ts'
export { LoadFailedError, RecordsGoneError, type LoadFailure } from './load-errors.ts'
export { LoadPlan, type LoadPlanJson, type LoadStart } from './load-plan.ts'
export type { LoadTask, OffsetRange } from './load-task.ts'
export { ndjsonSink, type NdjsonSinkOptions } from './ndjson-sink.ts'
export { MissingModuleError } from './optional-module.ts'
export { parquetSink, type ParquetSinkOptions } from './parquet-sink.ts'
export { planLoad, type PlanLoadOptions } from './plan-load.ts'
export { runLoad, type LoadProgress, type LoadResult, type RunLoadOptions } from './run-load.ts'
export { runTask, type RunTaskOptions } from './run-task.ts'
export type { Sink, TaskContext, TaskResult, TaskWriter } from './sink.ts'
export { sinkConformance, type SinkCase, type SinkUnderTest } from './sink-conformance.ts'
export type { SplitBy } from './split-range.ts'
export { ImportFileChangedError, ImportFileError } from './import-errors.ts'
export { importFile } from './import-file.ts'
export type {
  ImportFormat,
  ImportOptions,
  ImportProgress,
  ImportRecord,
  ImportReject,
  ImportResult,
} from './import-options.ts'
export type { PushContext, PushErrorHandler, PushOptions } from './push-options.ts'
export { pushTo, type Push, type PushResult } from './push-to.ts'
export {
  toReadable,
  toReadableStream,
  toWritable,
  toWritableStream,
  type WritableOptions,
} from './streams.ts'
export { loadEvery, type LoadEveryOptions, type LoadSchedule } from './load-every.ts'
