/**
 * Loads by task, for systems that read files or take data at their own pace: one task per topic,
 * partition or range of offsets, each of which can be started again without loading anything twice.
 *
 * @module
 */
export type { LoadTask, OffsetRange } from './load-task.ts'
export type { Sink, TaskResult, TaskWriter } from './sink.ts'
