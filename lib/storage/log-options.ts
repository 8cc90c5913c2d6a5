import { dirname, resolve } from 'node:path'
import { boolean, checkOptions, checkPath, objectWith, type Checks } from '../checks.ts'
import {
  checkTopicConfig,
  ensureConsistent,
  resolveTopicConfig,
  type ResolvedTopicConfig,
  type TopicConfig,
} from '../config.ts'
import {
  StorageError,
  type AppendOutcome,
  type CorruptRecordError,
  type VarveError,
} from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import { FILE_SYSTEM_METHODS, type FileSystem } from '../platform/file-system.ts'
import { NodeFileSystem } from '../platform/node-file-system.ts'
import { systemRandom, type Random } from '../platform/random.ts'
import { isSystemError } from '../platform/system-error.ts'
import { realPathOf } from '../platform/real-path.ts'
import { refuseSharedDirectory } from '../platform/shared-directory.ts'
import { systemClock } from '../platform/system-clock.ts'
import type { BatchCache } from './batch-cache.ts'
import type { UnreadableSegment } from './loaded-log.ts'
import { LogStateFiles, partitionOfDirectory, type LogState } from './log-state.ts'

/** Options for opening a {@link Log} on its own, without a broker. */
export interface LogOptions {
  /**
   * Configuration of segments, batches and timestamps, and `flushMessages`. The rest needs a broker: a
   * log does not delete or compact by itself, syncs by no timer, and has no limit of its total size.
   * But a compacted log accepts no record without a key and rolls by `maxCompactionLagMs` too, a
   * batch may not exceed `maxBytes`, and with `maxBytes` or `minFreeBytes` nothing is preallocated.
   *
   * @defaultValue Kafka's defaults, with a sync per append
   */
  readonly config?: TopicConfig | undefined
  /** @defaultValue the real file system */
  readonly fileSystem?: FileSystem | undefined
  /** @defaultValue the system clock */
  readonly clock?: Pick<Clock, 'now'> | undefined
  /** Source of randomness for `segmentJitterMs`. @defaultValue the operating system's */
  readonly random?: Pick<Random, 'integer'> | undefined
  /**
   * Also opens a directory that every user of the machine can write to, and files of other users.
   * Anyone who can write to the directory can forge records. @defaultValue false
   */
  readonly allowSharedDirectory?: boolean | undefined
  /** Changes nothing on disk, neither on open nor later. @defaultValue false */
  readonly readOnly?: boolean | undefined
}

const LOG_OPTIONS: Checks<LogOptions> = {
  config: (name, value) => {
    checkTopicConfig(name, value as TopicConfig)
  },
  fileSystem: objectWith(...FILE_SYSTEM_METHODS),
  clock: objectWith('now'),
  random: objectWith('integer'),
  allowSharedDirectory: boolean,
  readOnly: boolean,
}

/** A snapshot of one segment of a log. */
export interface LogSegmentInfo {
  /** No record of the segment has a lower offset. */
  readonly baseOffset: number
  /** No record of the segment has this or a higher offset. */
  readonly nextOffset: number
  readonly sizeBytes: number
  readonly path: string
}

/** What the owner of a log passes to it on open. */
export interface LogContext extends LogState {
  readonly topic: string
  readonly partition: number
  /**
   * The id of the topic, which may be replaced by another topic of the same name; absent if
   * unknown.
   */
  readonly topicId?: string
  readonly fileSystem: FileSystem
  readonly clock: Pick<Clock, 'now'>
  readonly random: Pick<Random, 'integer'>
  readonly config: Readonly<ResolvedTopicConfig>
  readonly readOnly: boolean
  /** Whether the log was closed cleanly. */
  readonly isClean: boolean
  /** Checks `isClean` again; absent if no one else can have opened the log. */
  readonly isStillClean?: () => Promise<boolean>
  /** Reads the state again; absent if no one else changes it. */
  readonly loadState?: () => Promise<LogState>
  /** Resolves once the state is durable. */
  readonly saveState: (state: LogState) => Promise<void>
  /** Why nothing of the log can be found in its place; absent if the files are to be read. */
  readonly loss?: CorruptRecordError | undefined
  /** A segment that a first attempt could not read; absent if the files are to be read. */
  readonly unreadable?: UnreadableSegment | undefined
  /**
   * Why nothing may be changed: the lock was lost. `null` while it is held; absent without a lock.
   */
  readonly whyFenced?: (outcome: AppendOutcome) => VarveError | null
  /**
   * Why the owner's files of a log that is open for reading only are gone for good; `null` if
   * unknown. Absent if there is no way to tell.
   */
  readonly whyGone?: () => Promise<VarveError | null>
  /** Cache for the results of small reads; absent for none. */
  readonly batchCache?: BatchCache
  /**
   * Called before records from `offset` on are dropped and their offsets reused; the leader epoch
   * rises when it is done.
   */
  readonly beforeTruncation?: (offset: number, leaderEpoch: number) => Promise<void>
  /** Called at the end of a clean close of a sound log. */
  readonly onClosed?: () => Promise<void>
}

type CheckedLogOptions = LogOptions & {
  readonly config: Readonly<ResolvedTopicConfig>
  readonly fileSystem: FileSystem
  readonly readOnly: boolean
  readonly allowSharedDirectory: boolean
}

/**
 * Checks the options and fills in the defaults that are the same for every log.
 *
 * @throws TypeError or RangeError if the path, an option or the configuration is invalid
 * @throws {@link UnsupportedCompressionTypeError} if there is no codec for `compressionType`
 */
export function checkLogOptions(dir: string, options: LogOptions): CheckedLogOptions {
  checkPath('dir', dir)
  const checked = checkOptions('log options', options, LOG_OPTIONS)
  const config = resolveTopicConfig(checked.config ?? {})
  ensureConsistent(config)
  const { readOnly = false, allowSharedDirectory = false } = checked
  const { fileSystem = new NodeFileSystem({ allowSharedDirectory }) } = checked
  return { ...checked, config, fileSystem, readOnly, allowSharedDirectory }
}

/**
 * Resolves a path now, since the process may later change its working directory. @throws TypeError
 */
export function absolutePath(name: string, path: string): string {
  return resolve(checkPath(name, path))
}

/**
 * The context of a log that is opened on its own. The log's directory holds its state, in files
 * with the same names and format that a broker uses for the state of all its logs.
 *
 * @returns the context with `dir`, the path with its symbolic links resolved.
 * @throws {@link StorageError} if the directory is inaccessible, or a file has its name
 *
 * @internal
 */
export async function standaloneContext(
  path: string,
  options: LogOptions,
): Promise<LogContext & { readonly dir: string }> {
  const checked = checkLogOptions(path, options)
  try {
    return await contextIn(path, checked)
  } catch (error) {
    if (!isSystemError(error)) throw error
    const message = `${path} cannot be opened: ${error.message}`
    throw new StorageError(message, { path, outcome: 'not-written' }, { cause: error })
  }
}

async function contextIn(
  path: string,
  checked: CheckedLogOptions,
): Promise<LogContext & { readonly dir: string }> {
  const { config, fileSystem, readOnly, allowSharedDirectory } = checked
  const place = partitionOfDirectory(path)
  const key = `${place.topic}-${place.partition}`
  if (!readOnly) await createDurably(fileSystem, path)
  const following = realPathOf(fileSystem, path)
  const dir = following === null ? path : await following
  if (!allowSharedDirectory) await refuseSharedDirectory(fileSystem, dir)
  const files = new LogStateFiles(fileSystem, dir)
  const isClean = readOnly
    ? await files.hasCleanShutdownMark()
    : await files.takeCleanShutdownMark()
  const loadState = async (): Promise<LogState> => {
    const states = await files.read()
    // The directory of a single log may have been renamed since the state was written.
    const [only] = states.size === 1 ? states.values() : []
    return states.get(key) ?? only ?? { recoveryPoint: 0, logStartOffset: 0 }
  }
  return {
    ...place,
    dir,
    ...(await loadState()),
    fileSystem,
    clock: checked.clock ?? systemClock,
    random: checked.random ?? systemRandom,
    config,
    readOnly,
    isClean,
    isStillClean: () => files.hasCleanShutdownMark(),
    loadState,
    saveState: (newState) => files.write(new Map([[key, newState]])),
    onClosed: () => files.leaveCleanShutdownMark(),
  }
}

/**
 * Creates a directory and its missing parents such that they survive a power loss.
 *
 * A directory that exists and is empty may be left from a call that was interrupted by a crash.
 * Therefore the names of all its parents are made durable too, as far as permissions allow.
 */
export async function createDurably(fileSystem: FileSystem, dir: string): Promise<void> {
  const created = await fileSystem.createDirectory(dir)
  for (const each of created) await fileSystem.syncDirectory(dirname(each))
  if (created.length > 0 || (await fileSystem.list(dir)).length > 0) return
  for (let at = resolve(dir); at !== dirname(at); at = dirname(at)) {
    try {
      await fileSystem.syncDirectory(dirname(at))
    } catch (error) {
      // Directories further up belong to other users, and existed before.
      if (isSystemError(error, 'EACCES', 'EPERM')) return
      throw error
    }
  }
}

/** The parts of the context that `LocalLog` needs, besides the files. */
export type LocalLogOptions = { readonly dir: string } & Pick<
  LogContext,
  'fileSystem' | 'clock' | 'random' | 'readOnly' | 'recoveryPoint' | 'batchCache'
>
