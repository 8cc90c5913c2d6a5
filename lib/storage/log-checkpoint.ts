/**
 * Saves a log's recovery point concurrently with appends and syncs.
 *
 * A save takes about twenty file system calls, each completing in a later turn of the event loop,
 * and half a dozen syncs. An acknowledgement that waited for it would take 10 ms on an idle
 * machine, and 100 ms beside a reader that uses up its share of each turn. What is saved was
 * durable when the save began, so later appends do not matter.
 *
 * Everything else that changes what the log consists of waits for its end: changes of the set of
 * segments or of the segment record, and the removal of index entries.
 */
export class LogCheckpoint {
  #saving: Promise<void> | null = null

  /** Resolves when no save is running, whether or not it succeeded; `null` if none is running. */
  get ended(): Promise<void> | null {
    return this.#saving
  }

  /** Runs `save`. No other one may be running. @throws what `save` rejects with */
  run(save: () => Promise<void>): Promise<void> {
    const saving = save()
    const end = (): void => {
      this.#saving = null
    }
    this.#saving = saving.then(end, end)
    return saving
  }
}
