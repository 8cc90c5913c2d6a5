import type { Clock } from '../index.ts'

/** Waits on a clock. @throws the signal's reason when it is aborted before the time is over. */
export async function pause(
  clock: Clock,
  delayMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  signal?.throwIfAborted()
  let onAbort = (): void => undefined
  try {
    await new Promise<void>((resolve) => {
      const timer = clock.startTimer(resolve, delayMs)
      onAbort = () => {
        timer.cancel()
        resolve()
      }
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
  signal?.throwIfAborted()
}
