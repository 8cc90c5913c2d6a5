import { setMaxListeners } from 'node:events'
import { onAbort } from '../platform/abort-listeners.ts'

/** A signal that follows another one until it is stopped. */
export interface FollowedSignal {
  readonly signal: AbortSignal
  readonly stop: () => void
}

/**
 * A signal that aborts with another one, and that any number of calls may listen to. Node.js warns
 * of a leak if a signal has more than ten listeners, as one does that is passed to many concurrent
 * calls.
 */
export function followSignal(followed: AbortSignal): FollowedSignal {
  const controller = new AbortController()
  const { signal } = controller
  setMaxListeners(0, signal)
  const end = (): void => {
    controller.abort(followed.reason)
  }
  if (followed.aborted) end()
  return { signal, stop: onAbort(followed, end) }
}
