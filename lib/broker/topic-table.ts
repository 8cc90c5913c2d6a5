import { InvalidTopicError } from '../errors.ts'
import type { Topic } from './topic.ts'
import { topicNamesCollide } from './topic-name.ts'

/** The open topics, by name. */
export class TopicTable {
  readonly #byName = new Map<string, Topic>()
  /** Computed on demand; `null` after topics were added or removed. */
  #names: readonly string[] | null = null

  /** All topics, in the order of their names. */
  get all(): Topic[] {
    return [...this.#byName.values()].sort((left, right) => (left.name < right.name ? -1 : 1))
  }

  /** All names, in any order. The list is the same one until a topic is added or removed. */
  get names(): readonly string[] {
    return (this.#names ??= [...this.#byName.keys()])
  }

  get(name: string): Topic | undefined {
    return this.#byName.get(name)
  }

  set(topic: Topic): void {
    this.#byName.set(topic.name, topic)
    this.#names = null
  }

  delete(name: string): void {
    this.#byName.delete(name)
    this.#names = null
  }

  /**
   * Refuses a name that is too similar to that of an open topic.
   *
   * @param isTaken whether its directory exists: two topics must not share a directory on a file
   * system that does not distinguish their names.
   * @throws {@link InvalidTopicError}
   */
  async ensureNoTwin(name: string, isTaken: () => Promise<boolean>): Promise<void> {
    const twin = this.all.find((topic) => topicNamesCollide(topic.name, name))
    if (twin !== undefined) {
      throw new InvalidTopicError(name, `it differs from '${twin.name}' only in '.' and '_'`)
    }
    const lowerCase = name.toLowerCase()
    const caseTwin = this.all.find((topic) => topic.name.toLowerCase() === lowerCase)
    if (caseTwin === undefined || !(await isTaken())) return
    throw new InvalidTopicError(
      name,
      `it differs from '${caseTwin.name}' only in case, which this directory's file system ignores`,
    )
  }
}
