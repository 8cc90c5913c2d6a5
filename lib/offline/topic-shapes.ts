import { reasonOf } from '../checks.ts'
import { CorruptRecordError, type StoredRecord } from '../index.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { checkStoredFields, inferFields, type Fields, type JsonSample } from './fields.ts'
import { RowShape, sampleOf, type RowShapeOptions } from './row-shape.ts'
import { TopicFile } from './topic-file.ts'

/** Number of rows that fields are inferred from. */
const SAMPLE_ROWS = 1000

/** {@link RowShapeOptions} with fields that may have to be inferred. */
export interface TopicShapeOptions extends Omit<RowShapeOptions, 'fields'> {
  readonly fields: Fields | 'infer' | null
}

/** The shape of each topic's rows: from the options, or inferred from the topic's first rows. */
export class TopicShapes {
  readonly #file: TopicFile
  readonly #options: TopicShapeOptions

  constructor(fileSystem: FileSystem, root: string, options: TopicShapeOptions) {
    this.#file = new TopicFile(fileSystem, root, '_fields.json')
    this.#options = options
  }

  /**
   * The shape for a task that begins with these records. Inferred fields are stored with the topic
   * before they are used, so that all tasks have them, even after a restart. Each task reads them
   * again, as somebody may have edited them. If none are stored and no record is a JSON object,
   * this task alone has no field columns.
   */
  async shapeFor(topic: string, records: readonly StoredRecord[]): Promise<RowShape> {
    const { key, value, fields } = this.#options
    if (fields !== 'infer') return new RowShape({ key, value, fields })
    return (await this.#infer(topic, records)) ?? new RowShape({ key, value, fields: {} })
  }

  async #infer(topic: string, records: readonly StoredRecord[]): Promise<RowShape | null> {
    const { key, value } = this.#options
    let text = await this.#file.read(topic)
    if (text === null) {
      const samples: JsonSample[] = []
      for (const record of records) {
        if (samples.length >= SAMPLE_ROWS) break
        const sample = record.value === null ? null : sampleOf(record.value)
        if (sample !== null) samples.push(sample)
      }
      if (samples.length === 0) return null
      // If another writer was first, its rows have the fields that it found, and so must these.
      text = await this.#file.keep(topic, `${JSON.stringify(inferFields(samples), null, 2)}\n`)
    }
    return new RowShape({ key, value, fields: this.#fieldsIn(text, topic) })
  }

  /** @throws {@link CorruptRecordError} if the file contains anything else. */
  #fieldsIn(text: string, topic: string): Fields {
    const place = { path: this.#file.pathOf(topic), position: 0 }
    let fields: unknown
    try {
      fields = JSON.parse(text)
    } catch (error) {
      throw new CorruptRecordError(`it is not JSON: ${reasonOf(error)}`, place)
    }
    try {
      return checkStoredFields('it', fields)
    } catch (error) {
      throw new CorruptRecordError(reasonOf(error), place)
    }
  }
}
