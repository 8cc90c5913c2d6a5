import { join } from 'node:path'
import {
  checkOneOf,
  checkOptions,
  describeValue,
  isPlainObject,
  wholeNumber,
  reasonOf,
  type Checks,
} from '../checks.ts'
import { resolveTopicConfig, type TopicConfig } from '../config.ts'
import { CorruptRecordError, InvalidPartitionsError } from '../errors.ts'
import { readWholeFile, replaceFile, UnsyncedReplacementError } from '../platform/file-io.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'
import { crc32c } from '../record/crc32c.ts'
import { MAX_PARTITIONS } from './topic.ts'
import { validateTopicName } from './topic-name.ts'

/** Name of the file in the broker's directory. A Kafka broker ignores unknown files. */
export const TOPICS_FILE = 'varve-topics'

const VERSION = 1
/** Upper limit on the partitions of all topics together; a larger number is taken for a mistake. */
export const MAX_ALL_PARTITIONS = 200_000

/** Enough for some 200,000 topics. In memory, the contents take several times this size. */
const MAX_FILE_BYTES = 32 * 1024 * 1024
const FIRST_LINE = /^varve-topics (\d+) ([0-9a-f]{8})$/

/**
 * State of a topic. `creating` and `deleting` are intents: an open after a crash undoes the first
 * and completes the second.
 */
export type TopicState = 'creating' | 'active' | 'deleting'

/** Registry entry of one topic. */
export interface TopicEntry {
  readonly name: string
  readonly id: string
  readonly partitionCount: number
  readonly state: TopicState
  /** The topic's own configuration, without the broker's defaults. */
  readonly config: TopicConfig
}

const STATES: readonly TopicState[] = ['creating', 'active', 'deleting']
const TOPIC_ID = /^[A-Za-z0-9_-]{22}$/

const ENTRY_CHECKS: Checks<TopicEntry> = {
  name: (_, value) => {
    validateTopicName(value)
  },
  id: (name, value) => {
    if (typeof value !== 'string' || !TOPIC_ID.test(value))
      throw new TypeError(`${name} must be a topic id, got ${describeValue(value)}`)
  },
  partitionCount: wholeNumber(1, MAX_PARTITIONS),
  state: (name, value) => {
    checkOneOf(name, value, STATES)
  },
  config: (name, value) => {
    if (value === null) throw new TypeError(`${name} must be a plain object, got null`)
    resolveTopicConfig(value as TopicConfig)
  },
}

/**
 * The topics of a broker's directory, kept in one file:
 *
 * ```
 * varve-topics 1 9ae2c5f1        format version, CRC-32C of everything after this line
 * {"topics":[{"name":"orders","id":"…","partitionCount":3,"state":"active","config":{}}]}
 * ```
 *
 * Each change replaces the whole file. That single step makes creating, growing and deleting a
 * topic atomic: directories are created before it and removed after it. Changes must not overlap.
 */
export class TopicRegistry {
  readonly path: string
  readonly #fileSystem: FileSystem
  #entries = new Map<string, TopicEntry>()
  #isInDoubt = false

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
   * @throws {@link CorruptRecordError} when the file is not as described. The topics are not
   * guessed then.
   */
  async load(): Promise<boolean> {
    const content = await readWholeFile(this.#fileSystem, this.path, MAX_FILE_BYTES)
    if (content === null) return false
    const lineEnd = content.indexOf('\n')
    const match = FIRST_LINE.exec(content.toString('latin1', 0, Math.max(0, lineEnd)))
    if (match === null) throw this.#corrupt('the first line is not the header of a topics file')
    if (Number(match[1]) !== VERSION)
      throw this.#corrupt(`version ${match[1] ?? ''} is unsupported`)
    const body = content.subarray(lineEnd + 1)
    if (checksum(body) !== match[2]) throw this.#corrupt('the checksum does not match')
    this.#entries = this.#parse(body.toString('utf8'))
    return true
  }

  /**
   * Reads the file again.
   * @returns whether an active topic was deleted, even if there is a new one of its name.
   */
  async hasLost({ name, id }: TopicEntry): Promise<boolean> {
    if (!(await this.load())) return false
    const now = this.get(name)
    return now?.state !== 'active' || now.id !== id
  }

  /**
   * Whether the file may differ from this object, now or after a power loss. Whatever depends on it
   * must wait for {@link TopicRegistry.ensureCertain}.
   */
  get isInDoubt(): boolean {
    return this.#isInDoubt
  }

  /** Writes the list again if it is in doubt. */
  async ensureCertain(): Promise<void> {
    if (this.#isInDoubt) await this.#write(this.#entries)
  }

  /**
   * Like {@link TopicRegistry.ensureCertain}, without an error.
   * @returns whether the list is certain now.
   */
  async makeCertain(): Promise<boolean> {
    if (!this.#isInDoubt) return true
    try {
      await this.#write(this.#entries)
      return true
    } catch {
      return false
    }
  }

  /**
   * Writes the list again after reading it: an earlier sync of the directory may have failed, and a
   * new sync for the same names would not report that. Without room for it, the list stays in
   * doubt.
   */
  async renew(): Promise<void> {
    try {
      await this.#write(this.#entries)
    } catch (error) {
      // A directory can be opened on a full disk, too.
      if (this.#isInDoubt || !isSystemError(error, 'ENOSPC', 'EDQUOT')) throw error
      this.#isInDoubt = true
    }
  }

  /**
   * Adds or replaces a topic; durable when it resolves. Unchanged when it rejects, unless
   * {@link TopicRegistry.isInDoubt} is true then.
   */
  async put(entry: TopicEntry): Promise<void> {
    await this.#change(new Map(this.#entries).set(entry.name, entry))
  }

  /**
   * Marks a topic for deletion; durable when it resolves. Unchanged when it rejects, unless
   * {@link TopicRegistry.isInDoubt} is true then. In that case the topic counts as deleted, because
   * nothing may be acknowledged that the next open might remove.
   */
  async retire(entry: TopicEntry): Promise<void> {
    const entries = new Map(this.#entries).set(entry.name, { ...entry, state: 'deleting' })
    try {
      await this.#change(entries)
    } catch (error) {
      if (this.#isInDoubt) this.#entries = entries
      throw error
    }
  }

  /**
   * @throws {@link InvalidPartitionsError} when the directory has no room for the topic's
   * partitions.
   */
  ensureRoom(entry: TopicEntry): void {
    ensurePartitionCount(new Map(this.#entries).set(entry.name, entry).values())
  }

  /** Starts with these topics; durable when it resolves. */
  async replace(entries: readonly TopicEntry[]): Promise<void> {
    await this.#write(new Map(entries.map((entry) => [entry.name, entry])))
  }

  /** Removes a topic; like {@link TopicRegistry.put}. */
  async remove(name: string): Promise<void> {
    const entries = new Map(this.#entries)
    entries.delete(name)
    await this.#change(entries)
  }

  async #change(entries: Map<string, TopicEntry>): Promise<void> {
    try {
      await this.#write(entries)
    } catch (error) {
      // The file already shows the new list. If the old one can be restored, nothing has happened.
      await this.makeCertain()
      throw error
    }
  }

  async #write(entries: Map<string, TopicEntry>): Promise<void> {
    const body = Buffer.from(`${JSON.stringify({ topics: [...entries.values()] })}\n`, 'utf8')
    ensurePartitionCount(entries.values())
    const firstLine = Buffer.from(`varve-topics ${VERSION} ${checksum(body)}\n`, 'latin1')
    const content = Buffer.concat([firstLine, body])
    if (content.length > MAX_FILE_BYTES) {
      throw new RangeError(
        `the list of topics must have at most ${MAX_FILE_BYTES} bytes, got ${content.length}`,
      )
    }
    try {
      await replaceFile(this.#fileSystem, this.path, content)
    } catch (error) {
      this.#isInDoubt ||= error instanceof UnsyncedReplacementError
      throw error
    }
    this.#isInDoubt = false
    this.#entries = entries
  }

  /** The checksum proves that the bytes are unchanged, not that Varve has written them. */
  #parse(text: string): Map<string, TopicEntry> {
    const entries = new Map<string, TopicEntry>()
    try {
      for (const value of arrayIn(JSON.parse(text))) {
        const entry = toTopicEntry(value)
        if (entries.has(entry.name)) throw new RangeError(`topic '${entry.name}' is listed twice`)
        entries.set(entry.name, entry)
      }
      ensurePartitionCount(entries.values())
    } catch (error) {
      throw this.#corrupt(reasonOf(error))
    }
    return entries
  }

  #corrupt(reason: string): CorruptRecordError {
    return new CorruptRecordError(`the list of topics is damaged: ${reason}`, {
      path: this.path,
      position: 0,
    })
  }
}

function arrayIn(value: unknown): unknown[] {
  const topics = isPlainObject(value) && Object.hasOwn(value, 'topics') ? Object.entries(value) : []
  const [first] = topics
  if (topics.length !== 1 || !Array.isArray(first?.[1])) {
    throw new TypeError('it must be an object with an array of topics and nothing else')
  }
  return first[1] as unknown[]
}

/** Takes exactly the fields of an entry. @throws TypeError or RangeError for anything else. */
function toTopicEntry(value: unknown): TopicEntry {
  const entry = checkOptions('an entry', value as TopicEntry, ENTRY_CHECKS)
  for (const key of Object.keys(ENTRY_CHECKS)) {
    if (!Object.hasOwn(entry, key)) throw new TypeError(`an entry has no ${key}`)
  }
  const { name, id, partitionCount, state, config } = entry
  return { name, id, partitionCount, state, config }
}

/**
 * @throws {@link InvalidPartitionsError} when there are more partitions than a directory can have.
 */
function ensurePartitionCount(entries: Iterable<TopicEntry>): void {
  let total = 0
  for (const { partitionCount } of entries) total += partitionCount
  if (total > MAX_ALL_PARTITIONS) {
    throw new InvalidPartitionsError(
      `a directory can have at most ${MAX_ALL_PARTITIONS} partitions, got ${total}`,
    )
  }
}

function checksum(bytes: Buffer): string {
  return crc32c(bytes).toString(16).padStart(8, '0')
}
