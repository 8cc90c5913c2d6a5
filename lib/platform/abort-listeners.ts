/** Who waits for a signal, in the order in which they came. */
const waiting = new WeakMap<AbortSignal, Set<() => void>>()

/**
 * Calls `listener` once the signal is aborted, never where it was aborted before.
 *
 * A signal has one listener for all who wait for it in this process: Node.js 20 takes more than ten for a
 * leak, and says so, where an application hands the signal of its end to all that it reads.
 *
 * @param listener must not throw
 * @returns a function that ends it
 */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  if (signal.aborted) return () => undefined
  const listeners = waiting.get(signal) ?? listenTo(signal)
  // The same function may wait twice.
  const call = (): void => {
    listener()
  }
  listeners.add(call)
  return () => {
    listeners.delete(call)
    if (listeners.size > 0 || waiting.get(signal) !== listeners) return
    waiting.delete(signal)
    signal.removeEventListener('abort', callAll)
  }
}

function listenTo(signal: AbortSignal): Set<() => void> {
  const listeners = new Set<() => void>()
  waiting.set(signal, listeners)
  signal.addEventListener('abort', callAll, { once: true })
  return listeners
}

/** One function for all signals: to listen twice is to listen once. */
function callAll({ target }: Event): void {
  const signal = target as AbortSignal
  const listeners = waiting.get(signal)
  waiting.delete(signal)
  // One that ends another's wait keeps it from being called.
  for (const listener of listeners ?? []) listener()
}
