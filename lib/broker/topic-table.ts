import { InvalidTopicError } from '../errors.ts'
import type { Topic } from './topic.ts'
import { topicNamesCollide } from './topic-name.ts'

/** The topics that are open, by their names. */
export class TopicTable {
  readonly #byName = new Map<string, Topic>()
  /** `null` when topics have come or gone since it was asked for. */
  #names: readonly string[] | null = null

  /** In the order of their names. */
  get all(): Topic[] {
    return [...this.#byName.values()].sort((left, right) => (left.name < right.name ? -1 : 1))
  }

  /** In any order: the same list for as long as none comes or goes. */
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
   * Refuses a name that is too much like that of a topic.
   *
   * @param isTaken whether its directory is there: two topics must not share one where the file system
   * takes their names for one.
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
      `it differs from '${caseTwin.name}' only in case, which makes no difference in this directory`,
    )
  }
}
