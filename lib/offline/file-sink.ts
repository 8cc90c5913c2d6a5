import { join, resolve } from 'node:path'
import type { FileSystem, StoredRecord } from '../index.ts'
import { checkOptions, checkPath, objectWith, oneOf, type Checks } from '../checks.ts'
import { FILE_SYSTEM_METHODS } from '../platform/file-system.ts'
import { NodeFileSystem } from '../platform/node-file-system.ts'
import { checkFields, type Fields } from './fields.ts'
import type { LoadTask, OffsetRange } from './load-task.ts'
import { subtractRanges } from './offset-ranges.ts'
import type { OutputFile } from './output-file.ts'
import { RangeDirectory } from './range-directory.ts'
import { RejectsFile } from './rejects-file.ts'
import type { Column, Row } from './row-shape.ts'
import type { Sink, TaskResult, TaskWriter } from './sink.ts'
import { TopicIds } from './topic-ids.ts'
import { TopicShapes } from './topic-shapes.ts'

/** Options shared by all sinks that write files. */
export interface FileSinkOptions {
  /**
   * Type of keys: UTF-8 text, in which case records with keys that are not UTF-8 are rejected; or
   * bytes. @defaultValue `'text'`
   */
  readonly key?: 'text' | 'bytes' | undefined
  /**
   * Type of values: UTF-8 text; JSON, which is stored unchanged; or bytes. Records with values that
   * do not fit are rejected. Has no effect with `fields`. @defaultValue `'text'`
   */
  readonly value?: 'text' | 'json' | 'bytes' | undefined
  /**
   * The fields of JSON values that become columns and replace the column `value`. All other fields
   * of a value go to the column `rest`. `'infer'` takes the fields, at most 500, from the first
   * rows of a topic, at most 1,000, and keeps them in `topic=…/_fields.json`. Later rows that do not
   * fit are rejected, as `1.5` is if the first rows have `1` and `2`. Without this option, values are
   * stored whole.
   */
  readonly fields?: Fields | 'infer' | undefined
  /**
   * Who may read the files. A warehouse that runs as another user needs more than the default. Has
   * no effect with a `fileSystem`. @defaultValue `'owner'`
   */
  readonly readableBy?: 'owner' | 'group' | 'everyone' | undefined
  /** @defaultValue the real one */
  readonly fileSystem?: FileSystem | undefined
}

/** The check for each option of {@link FileSinkOptions}. */
export const FILE_SINK_OPTIONS: Checks<FileSinkOptions> = {
  key: oneOf('text', 'bytes'),
  value: oneOf('text', 'json', 'bytes'),
  fields: checkFields,
  readableBy: oneOf('owner', 'group', 'everyone'),
  fileSystem: objectWith(...FILE_SYSTEM_METHODS),
}

const MODES = {
  owner: { fileMode: 0o600, directoryMode: 0o700 },
  group: { fileMode: 0o640, directoryMode: 0o750 },
  everyone: { fileMode: 0o644, directoryMode: 0o755 },
} as const

/** Encodes rows as the bytes of one file. The bytes depend only on the rows. */
export interface RowWriter {
  /** @returns whether {@link RowWriter.flush} must be called before the next row. */
  add(row: Row): boolean
  flush(): Promise<void>
  /** Writes the remaining rows and the end of the file. */
  finish(): Promise<void>
}

/** A file format. */
export interface RowFormat {
  /** File name extension, without a dot. */
  readonly extension: string
  /** Extensions of files with the same content. Such files count as published too. */
  readonly extensions: readonly string[]
  /**
   * Extension of the files of rejects. Each format has its own, so that sinks of different formats
   * in one directory do not remove each other's.
   */
  readonly rejectsExtension: string
  start(output: OutputFile, columns: readonly Column[]): Promise<RowWriter>
}

/** @throws TypeError for invalid options. */
export function createFileSink(dir: string, options: FileSinkOptions, format: RowFormat): FileSink {
  checkPath('dir', dir)
  const checked = checkOptions('sink options', options, FILE_SINK_OPTIONS)
  return new FileSink(resolve(dir), checked, format)
}

/** A directory of files, `topic=<name>/partition=<number>/<start>-<end>.<extension>`. */
export class FileSink implements Sink {
  readonly #fileSystem: FileSystem
  readonly #root: string
  readonly #format: RowFormat
  readonly #shapes: TopicShapes
  readonly #topicIds: TopicIds
  readonly #directories = new Map<string, RangeDirectory>()

  constructor(root: string, options: FileSinkOptions, format: RowFormat) {
    const { key = 'text', value = 'text', fields = null, readableBy = 'owner' } = options
    this.#fileSystem = options.fileSystem ?? new NodeFileSystem(MODES[readableBy])
    this.#root = root
    this.#format = format
    this.#topicIds = new TopicIds(this.#fileSystem, root)
    this.#shapes = new TopicShapes(this.#fileSystem, root, { key, value, fields })
  }

  async published(
    place: { readonly topic: string; readonly partition: number; readonly topicId?: string },
    fromOffset: number,
  ): Promise<readonly OffsetRange[]> {
    const { topic, partition, topicId } = place
    if (topicId !== undefined) await this.#topicIds.ensure(topic, topicId)
    const ranges = await this.#directory('', topic, partition).published()
    // Copies, as the caller may change the result.
    const wanted = ranges.filter(({ endOffset }) => endOffset > fromOffset)
    return wanted.map(({ startOffset, endOffset }) => ({ startOffset, endOffset }))
  }

  async open(task: LoadTask): Promise<TaskWriter> {
    const { topic, partition } = task
    return Promise.resolve(
      new FileTaskWriter(task, {
        format: this.#format,
        shapes: this.#shapes,
        data: this.#directory('', topic, partition),
        rejects: this.#directory('_rejects', topic, partition),
      }),
    )
  }

  #directory(folder: '' | '_rejects', topic: string, partition: number): RangeDirectory {
    const path = join(this.#root, folder, `topic=${topic}`, `partition=${partition}`)
    let directory = this.#directories.get(path)
    if (directory === undefined) {
      const extensions = folder === '' ? this.#format.extensions : [this.#format.rejectsExtension]
      directory = new RangeDirectory(this.#fileSystem, { root: this.#root, path, extensions })
      this.#directories.set(path, directory)
    }
    return directory
  }
}

interface FileTaskContext {
  readonly format: RowFormat
  readonly shapes: TopicShapes
  readonly data: RangeDirectory
  readonly rejects: RangeDirectory
}

interface Started {
  readonly output: OutputFile
  readonly rowOf: (record: StoredRecord) => Row | string
  readonly writer: RowWriter
}

/** Writes one task to one file, and its rejected records to another. */
class FileTaskWriter implements TaskWriter {
  readonly #task: LoadTask
  readonly #context: FileTaskContext
  readonly #rejects: RejectsFile
  #output: OutputFile | null = null
  #started: Started | null = null
  #records = 0

  constructor(task: LoadTask, context: FileTaskContext) {
    this.#task = task
    this.#context = context
    this.#rejects = new RejectsFile(context.rejects, task, context.format.rejectsExtension)
  }

  async write(records: readonly StoredRecord[]): Promise<void> {
    const { writer, rowOf } = (this.#started ??= await this.#start(records))
    for (const record of records) {
      const row = rowOf(record)
      if (typeof row === 'string') {
        if (this.#rejects.add(record, row)) await this.#rejects.flush()
        continue
      }
      this.#records += 1
      if (writer.add(row)) await writer.flush()
    }
  }

  async commit(): Promise<TaskResult> {
    const { writer, output } = (this.#started ??= await this.#start([]))
    await writer.finish()
    await output.finish()
    await this.#rejects.finish()
    const { data } = this.#context
    const published = await data.published()
    if (data.isIn(published, this.#task)) {
      await this.abort()
    } else {
      try {
        await this.#publish(output, published)
      } catch (error) {
        // Another process finished the same task first and removed this temporary file.
        const isDone = data.published().then((now) => data.isIn(now, this.#task))
        if (!(await isDone.catch(() => false))) throw error
        await this.abort()
      }
    }
    const bytes = output.sizeBytes + this.#rejects.sizeBytes
    return { records: this.#records, rejected: this.#rejects.count, bytes }
  }

  async abort(): Promise<void> {
    try {
      await this.#output?.discard()
    } finally {
      await this.#rejects.discard()
    }
  }

  /** Publishes the rejects first: once the task counts as done, nobody would publish them. */
  async #publish(output: OutputFile, published: readonly OffsetRange[]): Promise<void> {
    const { data, rejects, format } = this.#context
    const doubtful = data.doubtfulIn(this.#task, format.extension)
    const isLeft = await this.#removeStaleRejects(published)
    await this.#rejects.publish()
    // At the last moment: another process may have counted them.
    await data.remove(doubtful)
    await data.publish(output, this.#task, format.extension)
    // Not earlier: until the data is published, another attempt at the same task still needs its
    // files.
    await data.removeTemporary(this.#task)
    await rejects.removeTemporary(this.#task)
    // Neighbouring tasks may have loaded the rest in the meantime.
    if (isLeft) await this.#removeStaleRejects(await data.published())
  }

  /**
   * Removes reject files of earlier attempts once all of their offsets are loaded again. Until then
   * such a file may be the only copy of some records.
   *
   * @returns whether a file was kept because some of its other offsets are not loaded
   */
  async #removeStaleRejects(done: readonly OffsetRange[]): Promise<boolean> {
    const { rejects } = this.#context
    const loaded = [...done, this.#task]
    // A reject file of exactly this range is either replaced by this attempt or, once the range is
    // published, may belong to another attempt at the same task.
    const kept = this.#rejects.count > 0 ? loaded : done
    let isLeft = false
    await rejects.removeOverlapping(this.#task, (other) => {
      const { startOffset, endOffset } = other
      if (kept.some((each) => each.startOffset === startOffset && each.endOffset === endOffset)) {
        return true
      }
      const isNeeded = subtractRanges(other, loaded).length > 0
      isLeft ||= isNeeded
      return isNeeded
    })
    return isLeft
  }

  async #start(records: readonly StoredRecord[]): Promise<Started> {
    const { format, shapes, data } = this.#context
    const shape = await shapes.shapeFor(this.#task.topic, records)
    this.#output = await data.create(this.#task, format.extension)
    const writer = await format.start(this.#output, shape.columns)
    return { output: this.#output, writer, rowOf: (record) => shape.rowOf(record) }
  }
}
