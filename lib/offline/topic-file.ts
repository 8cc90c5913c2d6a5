import { join } from 'node:path'
import { LockedError } from '../index.ts'
import { readWholeFile } from '../platform/file-io.ts'
import type { DirectoryLock, FileSystem } from '../platform/file-system.ts'
import { systemClock } from '../platform/system-clock.ts'
import { pause } from '../platform/pause.ts'
import { syncOnce } from './doubtful-directory.ts'
import { makeDurableDirectory } from './durable-directory.ts'
import { OutputFile } from './output-file.ts'

/** Another process holds the lock while it writes a small file. */
const LOCK_ATTEMPTS = 100
const LOCK_PAUSE_MS = 100
const MAX_BYTES = 1024 * 1024

/** A small file with the files of each topic, `topic=<name>/<file>`, which is written once. */
export class TopicFile {
  readonly #fileSystem: FileSystem
  readonly #root: string
  readonly #name: string
  /** By topic, the content whose file name is durable. */
  readonly #durable = new Map<string, string>()
  /** By topic, the write in progress, for concurrent callers. */
  readonly #keeping = new Map<string, Promise<string>>()

  constructor(fileSystem: FileSystem, root: string, name: string) {
    this.#fileSystem = fileSystem
    this.#root = root
    this.#name = name
  }

  /** Path of a topic's file. */
  pathOf(topic: string): string {
    return join(this.#directoryOf(topic), this.#name)
  }

  /** Its content, made durable; `null` without a file. */
  async read(topic: string): Promise<string | null> {
    const content = await this.#read(topic)
    if (content !== null && content !== this.#durable.get(topic)) {
      // A process may have been killed before it made the name durable.
      const files = this.#fileSystem
      const directory = this.#directoryOf(topic)
      await makeDurableDirectory(files, this.#root, directory)
      await syncOnce(files, directory, () => files.syncDirectory(directory))
      this.#durable.set(topic, content)
    }
    return content
  }

  /**
   * Writes the file, unless somebody else was first.
   *
   * @returns its content, durable
   * @throws `LockedError` if another process holds the topic's lock for too long
   */
  keep(topic: string, content: string): Promise<string> {
    let keeping = this.#keeping.get(topic)
    if (keeping === undefined) {
      keeping = this.#keep(topic, content).finally(() => this.#keeping.delete(topic))
      this.#keeping.set(topic, keeping)
    }
    return keeping
  }

  async #keep(topic: string, content: string): Promise<string> {
    const files = this.#fileSystem
    const directory = this.#directoryOf(topic)
    await makeDurableDirectory(files, this.#root, directory)
    const lock = await this.#lock(directory)
    try {
      const kept = await this.#read(topic)
      if (kept === null) await this.#write(topic, content)
      await syncOnce(files, directory, () => files.syncDirectory(directory))
      this.#durable.set(topic, kept ?? content)
      return kept ?? content
    } finally {
      await lock.release()
    }
  }

  #directoryOf(topic: string): string {
    return join(this.#root, `topic=${topic}`)
  }

  async #read(topic: string): Promise<string | null> {
    const content = await readWholeFile(this.#fileSystem, this.pathOf(topic), MAX_BYTES)
    return content?.toString('utf8') ?? null
  }

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

  async #write(topic: string, content: string): Promise<void> {
    const directory = this.#directoryOf(topic)
    const output = await OutputFile.create(this.#fileSystem, directory, this.#name)
    try {
      await output.append(Buffer.from(content, 'utf8'))
      await output.finish()
      await output.rename(this.pathOf(topic))
    } finally {
      await output.discard().catch(() => undefined)
    }
  }
}
