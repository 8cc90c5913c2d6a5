// Captured at load: a test that replaces the globals later and holds back its turns must not block
// anybody who waits for one here.
const { queueMicrotask, setImmediate } = globalThis
const nextTick = process.nextTick.bind(process)

/** Calls `callback` in the next turn of the event loop. */
export function onNextTurn(callback: () => void): void {
  setImmediate(callback)
}

/** Resolves in the next turn of the event loop. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

/** Calls `callback` in a microtask. If the callback throws, the process ends. */
export function onMicrotask(callback: () => void): void {
  queueMicrotask(callback)
}

/** Calls `callback` once all microtasks have run, before the event loop continues. */
export function behindMicrotasks(callback: () => void): void {
  // From a microtask: a tick queued outside of one would run before the microtasks.
  queueMicrotask(() => {
    nextTick(callback)
  })
}
