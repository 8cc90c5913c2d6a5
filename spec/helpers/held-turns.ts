import { vi } from 'vitest'
import { promptIo } from '../../lib/platform/prompt-io.ts'

/** What {@link holdTurns} has taken over. */
export interface HeldTurns {
  /** How often somebody has asked. */
  readonly asked: () => number
  /** Lets the event loop turn, now and from now on. */
  readonly release: () => void
}

/**
 * The event loop is to turn whenever somebody asks whether it is; it does when it is let.
 *
 * @param soundCalls how many ask before and hear that it is not. @defaultValue none
 */
export function holdTurns({ soundCalls = 0 }: { readonly soundCalls?: number } = {}): HeldTurns {
  let release = (): void => undefined
  const turn = new Promise<void>((resolve) => {
    release = resolve
  })
  const asking = vi.spyOn(promptIo, 'turnIfDue').mockReturnValue(turn)
  for (let call = 0; call < soundCalls; call += 1) asking.mockReturnValueOnce(null)
  return {
    asked: () => asking.mock.calls.length,
    release() {
      release()
    },
  }
}

/** No turn is due, however busy the machine is: for what happens in a certain order of steps. */
export function withoutTurns(): void {
  vi.spyOn(promptIo, 'turnIfDue').mockReturnValue(null)
}
