import type { Clock } from '../index.ts'

/** Waits on a clock. @throws the reason of the signal that is aborted before the time is over. */
export async function pause(
  clock: Clock,
  delayMs: number,
  ...signals: readonly AbortSignal[]
): Promise<void> {
  for (const each of signals) each.throwIfAborted()
  let onAbort = (): void => undefined
  try {
    await new Promise<void>((resolve) => {
      const timer = clock.startTimer(resolve, delayMs)
      onAbort = () => {
        timer.cancel()
        resolve()
      }
      for (const each of signals) each.addEventListener('abort', onAbort, { once: true })
    })
  } finally {
    for (const each of signals) each.removeEventListener('abort', onAbort)
  }
  for (const each of signals) each.throwIfAborted()
}
