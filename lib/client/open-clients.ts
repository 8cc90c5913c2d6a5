import type { CloseOptions } from './producer-options.ts'

/** The producers and consumers of a broker that are open. */
export class OpenClients {
  /** How to close each. */
  readonly #closes = new Map<object, (options: CloseOptions) => Promise<void>>()

  /** @param close may be called several times, also to set a time limit */
  add(client: object, close: (options: CloseOptions) => Promise<void>): void {
    this.#closes.set(client, close)
  }

  /** A client has been closed. */
  remove(client: object): void {
    this.#closes.delete(client)
  }

  /**
   * Closes all of them. May be called again, to set those that are being closed a time limit.
   *
   * @returns what some have failed with; it never rejects
   */
  async close(options: CloseOptions): Promise<unknown[]> {
    const closes = [...this.#closes.values()]
    const outcomes = await Promise.allSettled(closes.map(async (close) => close(options)))
    return outcomes.flatMap((each): unknown[] => (each.status === 'rejected' ? [each.reason] : []))
  }
}
