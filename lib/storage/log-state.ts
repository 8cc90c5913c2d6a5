import { basename, join, resolve } from 'node:path'
import { CorruptRecordError } from '../errors.ts'
import { replaceFile } from '../platform/file-io.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { CheckpointFile } from './checkpoint-file.ts'
import { CLEAN_SHUTDOWN_FILE } from './log-files.ts'

/** Names of the checkpoint files, in a broker's directory or in that of a log opened on its own. */
export const RECOVERY_POINT_FILE = 'recovery-point-offset-checkpoint'
export const LOG_START_OFFSET_FILE = 'log-start-offset-checkpoint'

/** The state of a log that is kept outside its own files. */
export interface LogState {
  /** Everything below is durable, in the log and in its indexes. */
  readonly recoveryPoint: number
  /** Everything below is deleted, even if the bytes are still in the files. */
  readonly logStartOffset: number
}

/** A clean-shutdown mark that was looked for and removed. */
export interface TakenMark {
  /** Whether there was one. */
  readonly hasMark: boolean
  /**
   * Settles once the directory is synced. Until then nothing in it may be changed, and nobody be
   * told what was found in it; it may be read. If it rejects, a mark that was there has been put
   * back, as far as possible.
   */
  readonly durable: Promise<void>
}

/** The state of the logs in one directory, and whether they were closed cleanly. */
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
   * A damaged checkpoint counts as absent, as in Kafka: recovery then reads more than necessary,
   * and deleted records whose bytes still exist reappear.
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

  /**
   * Replaces both checkpoints by the states of logs, by `topic-partition`. Durable when it
   * resolves. Calls must not overlap.
   */
  async write(states: ReadonlyMap<string, LogState>): Promise<void> {
    const recoveryPoints: string[] = []
    const logStartOffsets: string[] = []
    // Keep this cheap: it runs for all logs whenever one of them changes.
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
   * Removes the clean-shutdown mark before anything else in the directory is changed: a crash from
   * now on must be noticed.
   *
   * @returns whether the mark existed.
   */
  async takeCleanShutdownMark(): Promise<boolean> {
    const { hasMark, durable } = await this.removeCleanShutdownMark()
    await durable
    return hasMark
  }

  /** The same for a caller that goes on before the removal is durable, see {@link TakenMark}. */
  async removeCleanShutdownMark(): Promise<TakenMark> {
    const path = join(this.#dir, CLEAN_SHUTDOWN_FILE)
    const hasMark = (await this.#fileSystem.stat(path)) !== null
    if (hasMark) await this.#fileSystem.unlink(path)
    return { hasMark, durable: this.#syncRemoval(hasMark) }
  }

  async #syncRemoval(hasMark: boolean): Promise<void> {
    // A killed process may have renamed a checkpoint or the list of topics without syncing the
    // directory. From now on the new file is acted upon. A power loss must not bring back the old
    // file, since files that only the old one refers to may be gone by then.
    try {
      await this.#fileSystem.syncDirectory(this.#dir)
    } catch (error) {
      // Nothing in the directory has been changed yet. The next open must find the mark, and remove
      // it durably: otherwise a power loss could bring it back after that open has changed files.
      if (hasMark) await this.leaveCleanShutdownMark().catch(() => undefined)
      throw error
    }
  }

  /** Whether the directory was closed cleanly. Does not change the mark. */
  async hasCleanShutdownMark(): Promise<boolean> {
    return (await this.#fileSystem.stat(join(this.#dir, CLEAN_SHUTDOWN_FILE))) !== null
  }

  /** Writes the clean-shutdown mark. It must be the last write of all. */
  async leaveCleanShutdownMark(): Promise<void> {
    const path = join(this.#dir, CLEAN_SHUTDOWN_FILE)
    await replaceFile(this.#fileSystem, path, '{"version":0,"brokerEpoch":-1}')
  }
}

/**
 * Topic and partition from the name of a directory; partition 0 of a topic with that name if it
 * does not contain both.
 */
export function partitionOfDirectory(dir: string): { topic: string; partition: number } {
  // Other characters are illegal in topic names. White space would split a checkpoint's fields.
  const name = basename(resolve(dir)).replaceAll(/[^a-zA-Z0-9._-]/g, '_') || 'log'
  const { topic, partition } = splitKey(name)
  return topic === '' || !Number.isSafeInteger(partition)
    ? { topic: name, partition: 0 }
    : { topic, partition }
}

function splitKey(key: string): { topic: string; partition: number } {
  // Topic names may contain dashes, so only the last dash separates.
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
