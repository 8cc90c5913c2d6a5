import { onAbort } from './abort-listeners.ts'
import type { Clock } from './clock.ts'

/** Waits on a clock. @throws the reason of a signal that is aborted before the time is over. */
export async function pause(
  clock: Clock,
  delayMs: number,
  ...signals: readonly AbortSignal[]
): Promise<void> {
  for (const each of signals) each.throwIfAborted()
  let stops: readonly (() => void)[] = []
  try {
    await new Promise<void>((resolve) => {
      const timer = clock.startTimer(resolve, delayMs)
      const end = (): void => {
        timer.cancel()
        resolve()
      }
      stops = signals.map((each) => onAbort(each, end))
    })
  } finally {
    for (const stop of stops) stop()
  }
  for (const each of signals) each.throwIfAborted()
}
