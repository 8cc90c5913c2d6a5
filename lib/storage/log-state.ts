import { basename, join, resolve } from 'node:path'
import { CorruptRecordError } from '../errors.ts'
import { replaceFile } from '../platform/file-io.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { CheckpointFile } from './checkpoint-file.ts'
import { CLEAN_SHUTDOWN_FILE } from './log-files.ts'

/** Names of the checkpoints, in a broker's directory or in that of a log that is used alone. */
export const RECOVERY_POINT_FILE = 'recovery-point-offset-checkpoint'
export const LOG_START_OFFSET_FILE = 'log-start-offset-checkpoint'

/** What is remembered of a log outside of its own files. */
export interface LogState {
  /** Everything below is durable, in the log and in its indexes. */
  readonly recoveryPoint: number
  /** Everything below is deleted, whether or not the bytes are still there. */
  readonly logStartOffset: number
}

/** The state of many logs in one directory, and whether they were closed in order. */
export class LogStateFiles {
  readonly #fileSystem: FileSystem
  readonly #dir: string
  readonly #recoveryPoints: CheckpointFile
  readonly #logStartOffsets: CheckpointFile

  constructor(fileSystem: FileSystem, dir: string) {
    this.#fileSystem = fileSystem
    this.#dir = dir
    this.#recoveryPoints = new CheckpointFile(fileSystem, join(dir, RECOVERY_POINT_FILE), 3)
    this.#logStartOffsets = new CheckpointFile(fileSystem, join(dir, LOG_START_OFFSET_FILE), 3)
  }

  /**
   * Reads the state of every log, by `topic-partition`.
   *
   * A damaged checkpoint counts as absent, as in Kafka: recovery then looks at more than it must,
   * and deleted records that still have bytes come back.
   */
  async read(): Promise<Map<string, LogState>> {
    const states = new Map<string, LogState>()
    const recoveryPoints = await readOffsets(this.#recoveryPoints)
    const logStartOffsets = await readOffsets(this.#logStartOffsets)
    for (const key of [...recoveryPoints.keys(), ...logStartOffsets.keys()]) {
      states.set(key, {
        recoveryPoint: recoveryPoints.get(key) ?? 0,
        logStartOffset: logStartOffsets.get(key) ?? 0,
      })
    }
    return states
  }

  /** Replaces both checkpoints by the states of logs by `topic-partition`; durable when it resolves. Calls must not overlap. */
  async write(states: ReadonlyMap<string, LogState>): Promise<void> {
    const recoveryPoints: string[] = []
    const logStartOffsets: string[] = []
    // Of all logs for each that changes: what is done here is done that often.
    for (const [key, { recoveryPoint, logStartOffset }] of states) {
      const dash = key.lastIndexOf('-')
      const place = `${key.slice(0, dash)} ${key.slice(dash + 1)}`
      recoveryPoints.push(`${place} ${recoveryPoint}`)
      if (logStartOffset > 0) logStartOffsets.push(`${place} ${logStartOffset}`)
    }
    await this.#recoveryPoints.writeLines(recoveryPoints)
    await this.#logStartOffsets.writeLines(logStartOffsets)
  }

  /**
   * Removes the mark of an orderly close, before anything else is done to the directory: a crash
   * from now on must be noticed.
   *
   * @returns whether it was there.
   */
  async takeCleanShutdownMark(): Promise<boolean> {
    const path = join(this.#dir, CLEAN_SHUTDOWN_FILE)
    const hasMark = (await this.#fileSystem.stat(path)) !== null
    if (hasMark) await this.#fileSystem.unlink(path)
    // A process that was killed may have renamed a checkpoint or the list of topics and not synced
    // that. What such a file says is acted on from now on: a power loss must not bring back the one
    // before, with the files gone that only the new one does without.
    try {
      await this.#fileSystem.syncDirectory(this.#dir)
    } catch (error) {
      // Nothing has been done to the directory yet. Without it, the next open would not know of a
      // mark that a power loss may still bring back, under files that had been changed by then.
      if (hasMark) await this.leaveCleanShutdownMark().catch(() => undefined)
      throw error
    }
    return hasMark
  }

  /** Whether the directory was closed in order, without changing that. */
  async hasCleanShutdownMark(): Promise<boolean> {
    return (await this.#fileSystem.stat(join(this.#dir, CLEAN_SHUTDOWN_FILE))) !== null
  }

  /** Leaves the mark of an orderly close: the last write of all. */
  async leaveCleanShutdownMark(): Promise<void> {
    const path = join(this.#dir, CLEAN_SHUTDOWN_FILE)
    await replaceFile(this.#fileSystem, path, '{"version":0,"brokerEpoch":-1}')
  }
}

/** Topic and partition of a directory's name; partition 0 of a topic of that name where it says neither. */
export function partitionOfDirectory(dir: string): { topic: string; partition: number } {
  // What is no topic's name would not survive in a checkpoint, which is divided at white space.
  const name = basename(resolve(dir)).replaceAll(/[^a-zA-Z0-9._-]/g, '_') || 'log'
  const { topic, partition } = splitKey(name)
  return topic === '' || !Number.isSafeInteger(partition)
    ? { topic: name, partition: 0 }
    : { topic, partition }
}

function splitKey(key: string): { topic: string; partition: number } {
  // Topic names may contain dashes, so only the last one divides.
  const dash = key.lastIndexOf('-')
  const digits = key.slice(dash + 1)
  return {
    topic: key.slice(0, Math.max(0, dash)),
    partition: /^\d+$/.test(digits) ? Number(digits) : NaN,
  }
}

async function readOffsets(file: CheckpointFile): Promise<Map<string, number>> {
  const offsets = new Map<string, number>()
  try {
    for (const [topic, partition, offset] of await file.read()) {
      offsets.set(`${topic ?? ''}-${file.wholeNumber(partition)}`, file.wholeNumber(offset))
    }
    return offsets
  } catch (error) {
    if (!(error instanceof CorruptRecordError)) throw error
    return new Map()
  }
}
