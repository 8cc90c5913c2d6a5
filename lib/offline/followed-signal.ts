import { setMaxListeners } from 'node:events'
import { onAbort } from '../platform/abort-listeners.ts'

/** A signal that follows another until it is told to stop. */
export interface FollowedSignal {
  readonly signal: AbortSignal
  readonly stop: () => void
}

/**
 * A signal that ends with another one, and to which any number may listen: of what is given to many
 * calls at a time Node.js warns when more than ten do, as if they had been forgotten.
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
