import { promptIo, type PromptIo } from '../platform/prompt-io.ts'

/** How often it is put off because more keeps coming. */
const MAX_PUT_OFFS = 8

/**
 * Has its microtasks made by the engine. `queueMicrotask` makes an object for those who trace them, and
 * takes several times as long.
 */
const settled = Promise.resolve()

/**
 * Calls back once what comes in one tick has come. That comes in several microtasks where it stands
 * behind some `await`, so the call is put off as long as there was more in the last of them, up to
 * eight times.
 */
export class EndOfTick {
  readonly #callback: () => void
  readonly #promptIo: Pick<PromptIo, 'begin'>
  #isScheduled = false
  #count = 0
  #countBefore = 0
  #putOffs = 0

  /** @param callback may ask for the next one */
  constructor(callback: () => void, prompt: Pick<PromptIo, 'begin'> = promptIo) {
    this.#callback = callback
    this.#promptIo = prompt
  }

  /** Notes that something has come. */
  note(): void {
    this.#count += 1
  }

  /** Asks for a call, if none is to come. */
  schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    // What comes in this tick is written in it, unless making it has taken all the time there is.
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
