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
  #isScheduled = false
  #count = 0
  #countBefore = 0
  #putOffs = 0

  /** @param callback may ask for the next one */
  constructor(callback: () => void) {
    this.#callback = callback
  }

  /** Notes that something has come. */
  note(): void {
    this.#count += 1
  }

  /** Asks for a call, if none is to come. */
  schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
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
