/** Callbacks that wait for a signal, in the order of their registration. */
const waiting = new WeakMap<AbortSignal, Set<() => void>>()

/**
 * Calls `listener` once the signal is aborted; never if it was aborted before.
 *
 * All callbacks of this process share one listener per signal. Node.js 20 reports more than ten as
 * a leak, and an application may pass its shutdown signal to all of its reads.
 *
 * @param listener must not throw
 * @returns a function that removes the listener
 */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  if (signal.aborted) return () => undefined
  const listeners = waiting.get(signal) ?? listenTo(signal)
  // The same function may be registered twice.
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

/** One function for all signals: adding it twice has no effect. */
function callAll({ target }: Event): void {
  const signal = target as AbortSignal
  const listeners = waiting.get(signal)
  waiting.delete(signal)
  // A listener that removes another one prevents that call.
  for (const listener of listeners ?? []) listener()
}
