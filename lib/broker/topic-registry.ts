import { join } from 'node:path'
import { resolveTopicConfig, type TopicConfig } from '../config.ts'
import { CorruptRecordError } from '../errors.ts'
import { readWholeFile, replaceFile } from '../platform/file-io.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { crc32c } from '../record/crc32c.ts'
import { validateTopicName } from './topic-name.ts'

/** Name of the file in the broker's directory. A Kafka broker ignores files it does not know. */
export const TOPICS_FILE = 'varve-topics'

const VERSION = 1
const MAX_FILE_BYTES = 256 * 1024 * 1024
const FIRST_LINE = /^varve-topics (\d+) ([0-9a-f]{8})$/

/**
 * Where a topic is in its life. `creating` and `deleting` are intents: whoever opens the directory
 * after a crash takes the first back and finishes the second.
 */
export type TopicState = 'creating' | 'active' | 'deleting'

/** What is remembered of one topic. */
export interface TopicEntry {
  readonly name: string
  readonly id: string
  readonly partitionCount: number
  readonly state: TopicState
  /** What differs from the broker's defaults. */
  readonly config: TopicConfig
}

/**
 * The topics of a broker's directory, kept in one file:
 *
 * ```
 * varve-topics 1 9ae2c5f1        format version, CRC-32C of everything behind this line
 * {"topics":[{"name":"orders","id":"…","partitionCount":3,"state":"active","config":{}}]}
 * ```
 *
 * Each change replaces the file as a whole. That one step is what makes creating, growing and
 * deleting a topic atomic: directories are made before and removed after it. Changes must not overlap.
 */
export class TopicRegistry {
  readonly path: string
  readonly #fileSystem: FileSystem
  #entries = new Map<string, TopicEntry>()

  constructor(fileSystem: FileSystem, dir: string) {
    this.#fileSystem = fileSystem
    this.path = join(dir, TOPICS_FILE)
  }

  get entries(): TopicEntry[] {
    return [...this.#entries.values()]
  }

  get(name: string): TopicEntry | undefined {
    return this.#entries.get(name)
  }

  /**
   * Reads the file.
   *
   * @returns false when there is none.
   * @throws {@link CorruptRecordError} when it is not as described. Which topics there are is not
   * guessed then.
   */
  async load(): Promise<boolean> {
    const content = await readWholeFile(this.#fileSystem, this.path, MAX_FILE_BYTES)
    if (content === null) return false
    const lineEnd = content.indexOf('\n')
    const match = FIRST_LINE.exec(content.toString('latin1', 0, Math.max(0, lineEnd)))
    if (match === null) throw this.#corrupt('the first line is not that of a topics file')
    if (Number(match[1]) !== VERSION) throw this.#corrupt(`version ${match[1] ?? ''} is not known`)
    const body = content.subarray(lineEnd + 1)
    if (checksum(body) !== match[2]) throw this.#corrupt('the checksum does not fit')
    const { topics } = JSON.parse(body.toString('utf8')) as { topics: TopicEntry[] }
    this.#entries = new Map(topics.map((entry) => [validateTopicName(entry.name), entry]))
    for (const entry of topics) resolveTopicConfig(entry.config)
    return true
  }

  /** Adds or replaces a topic; durable when it resolves, unchanged when it rejects. */
  async put(entry: TopicEntry): Promise<void> {
    await this.#write(new Map(this.#entries).set(entry.name, entry))
  }

  /** Starts with these topics; durable when it resolves. */
  async replace(entries: readonly TopicEntry[]): Promise<void> {
    await this.#write(new Map(entries.map((entry) => [entry.name, entry])))
  }

  /** Forgets a topic; durable when it resolves, unchanged when it rejects. */
  async remove(name: string): Promise<void> {
    const entries = new Map(this.#entries)
    entries.delete(name)
    await this.#write(entries)
  }

  async #write(entries: Map<string, TopicEntry>): Promise<void> {
    const body = Buffer.from(`${JSON.stringify({ topics: [...entries.values()] })}\n`, 'utf8')
    const firstLine = Buffer.from(`varve-topics ${VERSION} ${checksum(body)}\n`, 'latin1')
    await replaceFile(this.#fileSystem, this.path, Buffer.concat([firstLine, body]))
    this.#entries = entries
  }

  #corrupt(reason: string): CorruptRecordError {
    return new CorruptRecordError(`the list of topics is damaged: ${reason}`, {
      path: this.path,
      position: 0,
    })
  }
}

function checksum(bytes: Buffer): string {
  return crc32c(bytes).toString(16).padStart(8, '0')
}
