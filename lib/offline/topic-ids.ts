import { CorruptRecordError, IllegalStateError } from '../index.ts'
import { isPlainObject } from '../checks.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { TopicFile } from './topic-file.ts'

/**
 * Records which topic the files of each topic directory belong to. Offsets start again in a topic
 * that is deleted and created again, so its records would count as loaded if the earlier topic's
 * files are there.
 */
export class TopicIds {
  readonly #root: string
  readonly #file: TopicFile

  constructor(fileSystem: FileSystem, root: string) {
    this.#root = root
    this.#file = new TopicFile(fileSystem, root, '_topic.json')
  }

  /**
   * Ensures that the files belong to this topic and no other. If nothing is recorded, they are
   * taken for its own.
   *
   * @throws {@link IllegalStateError} if they belong to another topic
   */
  async ensure(topic: string, topicId: string): Promise<void> {
    const own = `${JSON.stringify({ topicId }, null, 2)}\n`
    const text = (await this.#file.read(topic)) ?? (await this.#file.keep(topic, own))
    if (text === own) return
    const keptId = topicIdIn(text)
    if (keptId === topicId) return
    const path = this.#file.pathOf(topic)
    if (keptId === null) {
      const reason = 'it has no valid topicId; remove it if the files are those of the topic'
      throw new CorruptRecordError(reason, { path, position: 0 })
    }
    throw new IllegalStateError(
      `${this.#root} holds records of another topic '${topic}', see ${path}: ` +
        `its topicId was ${keptId}, and is now ${topicId}. A topic that was deleted and created again needs another directory`,
    )
  }
}

function topicIdIn(text: string): string | null {
  let content: unknown
  try {
    content = JSON.parse(text)
  } catch {
    return null
  }
  const topicId = isPlainObject(content) ? (content as { topicId?: unknown }).topicId : null
  return typeof topicId === 'string' ? topicId : null
}
