import { promptIo, type PromptIo } from '../platform/prompt-io.ts'

/** How often the call is postponed because more keeps arriving. */
const MAX_PUT_OFFS = 8

/**
 * Queues microtasks by `then`, inside the engine. `queueMicrotask` creates an object for tracing
 * each time, and takes several times as long.
 */
const settled = Promise.resolve()

/**
 * Calls back after everything of one tick has arrived. Callers that resume after an `await` arrive
 * in several microtasks, so the call is postponed, up to eight times, while the last microtask
 * brought more.
 */
export class EndOfTick {
  readonly #callback: () => void
  readonly #promptIo: Pick<PromptIo, 'begin'>
  #isScheduled = false
  #count = 0
  #countBefore = 0
  #putOffs = 0

  /** @param callback may schedule the next call */
  constructor(callback: () => void, prompt: Pick<PromptIo, 'begin'> = promptIo) {
    this.#callback = callback
    this.#promptIo = prompt
  }

  /** Notes an arrival. */
  note(): void {
    this.#count += 1
  }

  /** Schedules the call, unless it is already scheduled. */
  schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    // Appends of this tick are written in it, unless preparing them has used up its time.
    this.#promptIo.begin('write')
    this.#countBefore = this.#count
    void settled.then(this.#look)
  }

  readonly #look = (): void => {
    if (this.#countBefore !== this.#count && this.#putOffs < MAX_PUT_OFFS) {
      this.#countBefore = this.#count
      this.#putOffs += 1
      void settled.then(this.#look)
      return
    }
    this.#putOffs = 0
    this.#isScheduled = false
    this.#callback()
  }
}
