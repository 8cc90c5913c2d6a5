import { expect, it } from 'vitest'
import { ReadyQueues, type ReadyQueue } from '../../lib/client/ready-queues.ts'
import { behindMicrotasks } from '../../lib/platform/event-loop.ts'
import { PromptIo } from '../../lib/platform/prompt-io.ts'

/** Queues that each take half a millisecond to drain, and an event loop that turns on demand. */
class Scene {
  nowMs = 0
  readonly drained: string[] = []
  #turns: (() => void)[] = []
  readonly io = new PromptIo({
    now: () => this.nowMs,
    diskReads: () => 0,
    behindMicrotasks,
    nextTurn: (callback) => {
      this.#turns.push(callback)
    },
  })
  readonly ready = new ReadyQueues(this.io)

  queue(name: string, onDrain: () => void = () => undefined): ReadyQueue {
    return {
      isMarked: false,
      drain: () => {
        this.nowMs += 0.25
        this.drained.push(name)
        onDrain()
      },
    }
  }

  mark(count: number): ReadyQueue[] {
    const queues = Array.from({ length: count }, (_, index) => this.queue(`q${index}`))
    for (const queue of queues) this.ready.mark(queue)
    return queues
  }

  async turn(): Promise<void> {
    for (const callback of this.#turns.splice(0)) callback()
    await microtasks()
  }
}

/** More microtasks than any chain here takes. */
async function microtasks(): Promise<void> {
  for (let count = 0; count < 100; count += 1) await Promise.resolve()
}

it('drains each queue once at the end of the tick, in the order in which they were marked', async () => {
  const scene = new Scene()
  const [first] = scene.mark(3)
  if (first !== undefined) scene.ready.mark(first)
  expect(scene.drained).toEqual([])
  await microtasks()
  expect(scene.drained).toEqual(['q0', 'q1', 'q2'])
})

it('drains as many queues as the time of one turn allows, and leaves the rest to the next turn', async () => {
  const scene = new Scene()
  const queues = scene.mark(20)
  await microtasks()
  // The first mark begins the turn's budget, the second slice exceeds it.
  expect(scene.drained).toHaveLength(8)
  expect(queues.filter(({ isMarked }) => isMarked)).toHaveLength(12)
  await scene.turn()
  expect(scene.drained).toHaveLength(20)
  expect(scene.drained).toEqual(queues.map((_, index) => `q${index}`))
})

it('does not count time that reads have taken in the turn, as writes have their own budget', async () => {
  const scene = new Scene()
  scene.io.try('read', 1, () => (scene.nowMs += 3))
  scene.mark(20)
  await microtasks()
  expect(scene.drained).toHaveLength(8)
})

it('drains a queue that is marked meanwhile after the remaining ones, in the next turn', async () => {
  const scene = new Scene()
  scene.mark(19)
  await microtasks()
  scene.ready.mark(scene.queue('late'))
  await microtasks()
  expect(scene.drained).toHaveLength(8)
  await scene.turn()
  expect(scene.drained.at(-1)).toBe('late')
  expect(scene.drained).toHaveLength(20)
})

it('drains a queue again if it is marked while it is being drained', async () => {
  const scene = new Scene()
  let count = 0
  const queue = scene.queue('again', () => {
    count += 1
    if (count < 3) scene.ready.mark(queue)
  })
  scene.ready.mark(queue)
  await microtasks()
  expect(scene.drained).toEqual(['again', 'again', 'again'])
})
