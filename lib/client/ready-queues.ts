import { EndOfTick } from '../broker/end-of-tick.ts'
import { onMicrotask } from '../platform/event-loop.ts'
import { promptIo, type PromptIo } from '../platform/prompt-io.ts'
import { Fifo } from './fifo.ts'

/** Something that gathers what is to be written. */
export interface ReadyQueue {
  /** Whether it is among those that are to be drained. */
  isMarked: boolean
  /** Hands over what it has gathered, which is written before the next microtask ends. */
  drain(): void
}

/**
 * So many are drained before it is asked whether the event loop has to turn. Of more, those at the end of
 * a slice would find no time left for their writes, and each wait for the turn by itself.
 */
const SLICE_QUEUES = 4

/**
 * The queues of a producer that have something to write. They are drained at the end of the tick, in
 * the order in which they were marked.
 *
 * Where there are many, those that are left when this turn of the event loop has been drawn out for
 * long enough by what is written wait for the next. Their writes would have to wait for it anyway,
 * one by one and with a promise for each step; here they gather records meanwhile, so there are fewer
 * writes. A few queues never wait here, and their writes find out for themselves.
 */
export class ReadyQueues {
  readonly #promptIo: Pick<PromptIo, 'begin' | 'turnIfDue'>
  readonly #marked = new Fifo<ReadyQueue>()
  /** Whether those that are left are drained without being asked for. */
  #isUnderWay = false
  readonly #endOfTick: EndOfTick

  constructor(prompt: Pick<PromptIo, 'begin' | 'turnIfDue'> = promptIo) {
    this.#promptIo = prompt
    this.#endOfTick = new EndOfTick(() => {
      if (!this.#isUnderWay) this.#drainSlice()
    }, prompt)
  }

  /** Notes that a record has come: the end of the tick is put off as long as more do. */
  note(): void {
    this.#endOfTick.note()
  }

  /** Has a queue drained, once. */
  mark(queue: ReadyQueue): void {
    if (queue.isMarked) return
    queue.isMarked = true
    this.#marked.push(queue)
    if (!this.#isUnderWay) this.#endOfTick.schedule()
  }

  readonly #drainSlice = (): void => {
    for (let count = 0; count < SLICE_QUEUES; count += 1) {
      const queue = this.#marked.shift()
      if (queue === undefined) break
      queue.isMarked = false
      queue.drain()
    }
    this.#isUnderWay = this.#marked.length > 0
    // Behind the writes of these: what they take of the turn counts.
    if (this.#isUnderWay) onMicrotask(this.#goOn)
  }

  readonly #goOn = (): void => {
    const turn = this.#promptIo.turnIfDue('write')
    if (turn === null) this.#drainSlice()
    else void turn.then(this.#drainSlice)
  }
}
