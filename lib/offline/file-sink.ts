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
import { REJECTS_EXTENSION, RejectsFile } from './rejects-file.ts'
import type { Column, Row } from './row-shape.ts'
import type { Sink, TaskResult, TaskWriter } from './sink.ts'
import { TopicIds } from './topic-ids.ts'
import { TopicShapes } from './topic-shapes.ts'

/** What all sinks that write files are told. */
export interface FileSinkOptions {
  /**
   * How keys are taken: as text in UTF-8, others are rejected; or as bytes. @defaultValue `'text'`
   */
  readonly key?: 'text' | 'bytes'
  /**
   * How values are taken: as text in UTF-8; as JSON, which is not changed; or as bytes. Others are
   * rejected. Has no meaning with `fields`. @defaultValue `'text'`
   */
  readonly value?: 'text' | 'json' | 'bytes'
  /**
   * The fields of JSON values that become columns in place of `value`; what else a value has goes to
   * the column `rest`. `'infer'` takes them, 500 at most, from the first rows of a topic, 1,000 at
   * most, and keeps them in `topic=…/_fields.json`. Absent: values are not taken apart.
   */
  readonly fields?: Fields | 'infer'
  /**
   * Who may read the files. A warehouse that runs as another user needs more than the default.
   * Has no meaning with a `fileSystem`. @defaultValue `'owner'`
   */
  readonly readableBy?: 'owner' | 'group' | 'everyone'
  /** @defaultValue the real one */
  readonly fileSystem?: FileSystem
}

/** The check of each option of {@link FileSinkOptions}. */
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

/** Turns rows into the bytes of one file. The bytes depend on the rows alone. */
export interface RowWriter {
  /** @returns whether {@link RowWriter.flush} is due, before the next row. */
  add(row: Row): boolean
  flush(): Promise<void>
  /** Writes what is left, and what closes the file. */
  finish(): Promise<void>
}

/** A kind of file. */
export interface RowFormat {
  /** Without a dot. */
  readonly extension: string
  /** Those of files that hold the same, which count as published too. */
  readonly extensions: readonly string[]
  start(output: OutputFile, columns: readonly Column[]): Promise<RowWriter>
}

/** @throws TypeError for options that are not legal. */
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
    // Copies, as the caller may change what he gets.
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
      const extensions = folder === '' ? this.#format.extensions : [REJECTS_EXTENSION]
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

/** Writes one task into one file, and into another what does not fit. */
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
    this.#rejects = new RejectsFile(context.rejects, task)
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
        // Another process that did the same task has been quicker, and has taken this file away.
        if (!(await data.holds(this.#task).catch(() => false))) throw error
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

  /** The rejects first: once the task counts as done, nobody comes back for them. */
  async #publish(output: OutputFile, published: readonly OffsetRange[]): Promise<void> {
    const { data, rejects, format } = this.#context
    const isLeft = await this.#removeStaleRejects(published)
    await this.#rejects.publish()
    await data.publish(output, this.#task, format.extension)
    // Not before: until the data are there, another attempt at this very task goes on with its own.
    await data.removeTemporary(this.#task)
    await rejects.removeTemporary(this.#task)
    // The tasks beside this one may have loaded the rest meanwhile.
    if (isLeft) await this.#removeStaleRejects(await data.published())
  }

  /**
   * Takes away what other attempts have put aside, once all of its offsets are loaded anew: until then it
   * may be all that there is of some of them.
   *
   * @returns whether something is left whose other offsets are not loaded
   */
  async #removeStaleRejects(done: readonly OffsetRange[]): Promise<boolean> {
    const { rejects } = this.#context
    const loaded = [...done, this.#task]
    // One of this very range is replaced, unless somebody quicker is publishing it now.
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
