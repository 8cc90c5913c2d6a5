import type { CloseOptions } from './producer-options.ts'

/** The open producers and consumers of a broker. */
export class OpenClients {
  /** The close function of each client. */
  readonly #closes = new Map<object, (options: CloseOptions) => Promise<void>>()

  /** @param close may be called several times, for instance to set a time limit */
  add(client: object, close: (options: CloseOptions) => Promise<void>): void {
    this.#closes.set(client, close)
  }

  /** Called when a client has closed. */
  remove(client: object): void {
    this.#closes.delete(client)
  }

  /**
   * Closes all clients. It may be called again, to set a time limit for those that are still
   * closing.
   *
   * @returns the errors of the clients whose close failed; it never rejects
   */
  async close(options: CloseOptions): Promise<unknown[]> {
    const closes = [...this.#closes.values()]
    const outcomes = await Promise.allSettled(closes.map(async (close) => close(options)))
    return outcomes.flatMap((each): unknown[] => (each.status === 'rejected' ? [each.reason] : []))
  }
}
