import { join } from 'node:path'
import { CorruptRecordError, LockedError, type StoredRecord } from '../index.ts'
import { readWholeFile } from '../platform/file-io.ts'
import type { DirectoryLock, FileSystem } from '../platform/file-system.ts'
import { systemClock } from '../platform/system-clock.ts'
import { makeDurableDirectory } from './durable-directory.ts'
import { columnsOf, FIELD_TYPES, inferFields, type Fields, type JsonSample } from './fields.ts'
import { OutputFile } from './output-file.ts'
import { pause } from './pause.ts'
import { RowShape, sampleOf, type RowShapeOptions } from './row-shape.ts'

/** Rows that fields are inferred from. */
const SAMPLE_ROWS = 1000
const FIELDS_FILE = '_fields.json'
/** Another process has it for as long as it takes to write a small file. */
const LOCK_ATTEMPTS = 100
const LOCK_PAUSE_MS = 100
const MAX_FIELDS_BYTES = 1024 * 1024

/** {@link RowShapeOptions}, of which the fields may have to be found out. */
export interface TopicShapeOptions extends Omit<RowShapeOptions, 'fields'> {
  readonly fields: Fields | 'infer' | null
}

/** How the rows of each topic are shaped: by what the options say, or by what its first rows are like. */
export class TopicShapes {
  readonly #fileSystem: FileSystem
  readonly #root: string
  readonly #options: TopicShapeOptions
  /** By topic, what is being settled, for the tasks that begin meanwhile. */
  readonly #settling = new Map<string, Promise<RowShape | null>>()
  /** By topic, what its file was like when its name was made durable. */
  readonly #durable = new Map<string, string>()

  constructor(fileSystem: FileSystem, root: string, options: TopicShapeOptions) {
    this.#fileSystem = fileSystem
    this.#root = root
    this.#options = options
  }

  /**
   * The shape for a task of which these are the first records. What is inferred is kept with the
   * topic before it is used, so that all tasks have it, also after a restart, and is read again for
   * each task, as somebody may have edited it. Where no record is a JSON object, the task alone has
   * no fields of its own.
   */
  async shapeFor(topic: string, records: readonly StoredRecord[]): Promise<RowShape> {
    const { key, value, fields } = this.#options
    if (fields !== 'infer') return new RowShape({ key, value, fields })
    for (;;) {
      const settling = this.#settling.get(topic)
      if (settling === undefined) {
        const own = this.#infer(topic, records)
        this.#settling.set(topic, own)
        try {
          return (await own) ?? new RowShape({ key, value, fields: {} })
        } finally {
          this.#settling.delete(topic)
        }
      }
      // One that comes to nothing is for its own task to tell.
      const shape = await settling.catch(() => null)
      if (shape !== null) return shape
    }
  }

  async #infer(topic: string, records: readonly StoredRecord[]): Promise<RowShape | null> {
    const { key, value } = this.#options
    const directory = join(this.#root, `topic=${topic}`)
    const path = join(directory, FIELDS_FILE)
    let fields = await this.#read(path)
    if (fields === null) {
      const samples: JsonSample[] = []
      for (const record of records) {
        if (samples.length >= SAMPLE_ROWS) break
        const sample = record.value === null ? null : sampleOf(record.value)
        if (sample !== null) samples.push(sample)
      }
      if (samples.length === 0) return null
      fields = await this.#keep(directory, path, inferFields(samples))
    } else if (JSON.stringify(fields) !== this.#durable.get(topic)) {
      // It may have been left by a process that was killed before its name was durable.
      await makeDurableDirectory(this.#fileSystem, this.#root, directory)
      await this.#fileSystem.syncDirectory(directory)
    }
    this.#durable.set(topic, JSON.stringify(fields))
    return new RowShape({ key, value, fields })
  }

  /**
   * Keeps what was inferred, unless another process has been quicker: then its tasks have the fields
   * that it found, and so must these.
   */
  async #keep(directory: string, path: string, fields: Fields): Promise<Fields> {
    await makeDurableDirectory(this.#fileSystem, this.#root, directory)
    const lock = await this.#lock(directory)
    try {
      const kept = await this.#read(path)
      if (kept === null) await this.#write(directory, path, fields)
      await this.#fileSystem.syncDirectory(directory)
      return kept ?? fields
    } finally {
      await lock.release()
    }
  }

  /** @throws LockedError when another process has it for too long. */
  async #lock(directory: string): Promise<DirectoryLock> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#fileSystem.lock(directory)
      } catch (error) {
        if (!(error instanceof LockedError) || attempt === LOCK_ATTEMPTS) throw error
        await pause(systemClock, LOCK_PAUSE_MS)
      }
    }
  }

  async #write(directory: string, path: string, fields: Fields): Promise<void> {
    const output = await OutputFile.create(this.#fileSystem, directory, FIELDS_FILE)
    try {
      await output.append(Buffer.from(`${JSON.stringify(fields, null, 2)}\n`, 'utf8'))
      await output.finish()
      await output.rename(path)
    } finally {
      await output.discard().catch(() => undefined)
    }
  }

  /** @throws {@link CorruptRecordError} when the file holds something else. */
  async #read(path: string): Promise<Fields | null> {
    const content = await readWholeFile(this.#fileSystem, path, MAX_FIELDS_BYTES)
    if (content === null) return null
    let fields: unknown
    try {
      fields = JSON.parse(content.toString('utf8'))
    } catch {
      fields = null
    }
    if (isFields(fields)) return fields
    const reason = 'it is not an object of fields and types; remove it to have them inferred again'
    throw new CorruptRecordError(reason, { path, position: 0 })
  }
}

function isFields(value: unknown): value is Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const types: readonly unknown[] = Object.values(value)
  if (!types.every((type) => FIELD_TYPES.some((known) => known === type))) return false
  const columns = columnsOf(value as Fields).map(({ column }) => column.toLowerCase())
  return new Set(columns).size === columns.length
}
