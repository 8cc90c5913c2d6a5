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

/** How a {@link Log} that is used alone is opened. */
export interface LogOptions {
  /** Configuration of segments and batches. @defaultValue Kafka's defaults, with a sync per append */
  readonly config?: TopicConfig
  /** @defaultValue the real one */
  readonly fileSystem?: FileSystem
  /** @defaultValue the real one */
  readonly clock?: Pick<Clock, 'now'>
  /** Chooses when to roll within `segmentJitterMs`. @defaultValue the operating system's */
  readonly random?: Pick<Random, 'integer'>
  /**
   * Opens a directory that every user of the machine may write to, and files of other users. Who can
   * write to the directory can make up records. @defaultValue false
   */
  readonly allowSharedDirectory?: boolean
  /** Changes nothing on disk, neither now nor later. @defaultValue false */
  readonly readOnly?: boolean
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

/** One segment of a log as it stands. */
export interface LogSegmentInfo {
  /** No record of the segment has a lower offset. */
  readonly baseOffset: number
  /** No record of the segment has this or a higher offset. */
  readonly nextOffset: number
  readonly sizeBytes: number
  readonly path: string
}

/** What the owner of a log tells it when it is opened. */
export interface LogContext extends LogState {
  readonly topic: string
  readonly partition: number
  /** Of the topic, which may give way to another of its name; absent where nobody knows it. */
  readonly topicId?: string
  readonly fileSystem: FileSystem
  readonly clock: Pick<Clock, 'now'>
  readonly random: Pick<Random, 'integer'>
  readonly config: Readonly<ResolvedTopicConfig>
  readonly readOnly: boolean
  /** Whether the log was closed in order. */
  readonly isClean: boolean
  /** Looks again whether it was; absent where nobody else can have opened it. */
  readonly isStillClean?: () => Promise<boolean>
  /** Reads the state again; absent where nobody else changes it. */
  readonly loadState?: () => Promise<LogState>
  /** Makes a state durable before it resolves. */
  readonly saveState: (state: LogState) => Promise<void>
  /** Why nothing of the log can be found where it was; absent where the files are to be read. */
  readonly loss?: CorruptRecordError | undefined
  /** A segment that cannot be read, as a first attempt has found; absent where the files are to be read. */
  readonly unreadable?: UnreadableSegment | undefined
  /** Why nothing may be changed because the lock is lost, `null` while it is held; absent: no lock. */
  readonly whyFenced?: (outcome: AppendOutcome) => VarveError | null
  /**
   * Why the owner's files of a log that is open for reading only are gone for good; `null` where nobody
   * knows. Absent where nobody can tell.
   */
  readonly whyGone?: () => Promise<VarveError | null>
  /** Where small reads keep what they have read; absent: nowhere. */
  readonly batchCache?: BatchCache
  /** Called before records from `offset` on are dropped for others to come in their place. */
  readonly beforeTruncation?: (offset: number) => Promise<void>
  /** Called at the end of an orderly close of a sound log. */
  readonly onClosed?: () => Promise<void>
}

type CheckedLogOptions = LogOptions & {
  readonly config: Readonly<ResolvedTopicConfig>
  readonly fileSystem: FileSystem
  readonly readOnly: boolean
  readonly allowSharedDirectory: boolean
}

/**
 * Options with what they leave out, where that is the same for every log.
 *
 * @throws TypeError or RangeError for a path, options or a configuration that are not legal
 * @throws {@link UnsupportedCompressionTypeError} when there is no codec for `compressionType`
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

/** The path from the root: the process may go to another directory, and the log must not follow. @throws TypeError */
export function absolutePath(name: string, path: string): string {
  return resolve(checkPath(name, path))
}

/**
 * The context of a log that is used alone: its state lies in its own directory, under the names and
 * in the form in which a broker keeps that of all its logs.
 *
 * @returns with `dir`, where the path leads now.
 * @throws {@link StorageError} when the directory cannot be had, also because a file has its name
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
 * Creates a directory and what is missing above it, so that a power loss does not take it away.
 *
 * A directory that is there and empty may be left from a call that a crash interrupted, so the
 * names above it are made durable as far as they can be.
 */
export async function createDurably(fileSystem: FileSystem, dir: string): Promise<void> {
  const created = await fileSystem.createDirectory(dir)
  for (const each of created) await fileSystem.syncDirectory(dirname(each))
  if (created.length > 0 || (await fileSystem.list(dir)).length > 0) return
  for (let at = resolve(dir); at !== dirname(at); at = dirname(at)) {
    try {
      await fileSystem.syncDirectory(dirname(at))
    } catch (error) {
      // Directories further up belong to somebody else, and were there before.
      if (isSystemError(error, 'EACCES', 'EPERM')) return
      throw error
    }
  }
}

/** What a log is made of besides its files. */
export type LocalLogOptions = { readonly dir: string } & Pick<
  LogContext,
  'fileSystem' | 'clock' | 'random' | 'readOnly' | 'recoveryPoint' | 'batchCache'
>
