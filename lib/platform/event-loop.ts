// Taken once, so that a test which replaces the globals after this module was loaded leaves nobody
// waiting for a turn that it does not let come.
const { queueMicrotask, setImmediate } = globalThis
const nextTick = process.nextTick.bind(process)

/** Calls back in the next turn of the event loop. */
export function onNextTurn(callback: () => void): void {
  setImmediate(callback)
}

/** Lets the event loop turn. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

/** Calls back once the code that runs now has ended. What the callback throws ends the process. */
export function onMicrotask(callback: () => void): void {
  queueMicrotask(callback)
}

/** Calls back once nothing is left to be done but what waits for the event loop. */
export function behindMicrotasks(callback: () => void): void {
  // From a microtask: a tick that is asked for outside of one comes before them.
  queueMicrotask(() => {
    nextTick(callback)
  })
}
