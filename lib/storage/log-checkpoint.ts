/**
 * The saving of a log's recovery point, which goes on beside appends and syncs.
 *
 * It takes some twenty calls of the file system, each of which is heard of in a later turn of the event
 * loop, and half a dozen syncs. Whoever waited for an acknowledgement behind all that would wait for
 * 10 ms on an idle machine, and for 100 ms beside a reader who uses up what he is given of each turn.
 * What is saved was durable when it began, so what comes behind it does not matter.
 *
 * Everything else that changes what a log consists of waits for its end: other segments, the record of
 * them, index entries that are taken back.
 */
export class LogCheckpoint {
  #saving: Promise<void> | null = null

  /** Resolves once nothing is being saved, whether or not it could be; `null` when nothing is. */
  get ended(): Promise<void> | null {
    return this.#saving
  }

  /** Saves, while none else is under way. @throws what `save` rejects with */
  run(save: () => Promise<void>): Promise<void> {
    const saving = save()
    const end = (): void => {
      this.#saving = null
    }
    this.#saving = saving.then(end, end)
    return saving
  }
}
