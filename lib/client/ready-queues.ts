import { EndOfTick } from '../broker/end-of-tick.ts'
import { onMicrotask } from '../platform/event-loop.ts'
import { promptIo, type PromptIo } from '../platform/prompt-io.ts'
import { Fifo } from '../storage/fifo.ts'

/** A queue that collects data to write. */
export interface ReadyQueue {
  /** Whether it is scheduled to be drained. */
  isMarked: boolean
  /** Passes on the collected data, whose write starts before the next microtask ends. */
  drain(): void
}

/**
 * Queues drained before checking whether a turn of the event loop is due. With a larger number, the
 * writes of the last queues of a slice would find the turn already used up, and each would wait for
 * the next turn on its own.
 */
const SLICE_QUEUES = 4

/**
 * The queues of a producer that have data to write. They are drained at the end of the tick, in the
 * order in which they were marked.
 *
 * If there are many, and their writes have prolonged this turn of the event loop for long enough,
 * the remaining queues wait for the next turn. Their writes would have to wait for it anyway, one
 * by one and with a promise for each step. In the meantime the queues collect records, so there are
 * fewer writes. A few queues never wait here: their writes check on their own.
 */
export class ReadyQueues {
  readonly #promptIo: Pick<PromptIo, 'begin' | 'turnIfDue'>
  readonly #marked = new Fifo<ReadyQueue>()
  /** Whether the remaining queues are already scheduled. */
  #isUnderWay = false
  readonly #endOfTick: EndOfTick

  constructor(prompt: Pick<PromptIo, 'begin' | 'turnIfDue'> = promptIo) {
    this.#promptIo = prompt
    this.#endOfTick = new EndOfTick(() => {
      if (!this.#isUnderWay) this.#drainSlice()
    }, prompt)
  }

  /**
   * Notes that a record was added: the end of the tick is postponed as long as more records follow.
   */
  note(): void {
    this.#endOfTick.note()
  }

  /** Schedules a queue to be drained once. */
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
    // After the writes of this slice: the time they take in this turn counts.
    if (this.#isUnderWay) onMicrotask(this.#goOn)
  }

  readonly #goOn = (): void => {
    const turn = this.#promptIo.turnIfDue('write')
    if (turn === null) this.#drainSlice()
    else void turn.then(this.#drainSlice)
  }
}
