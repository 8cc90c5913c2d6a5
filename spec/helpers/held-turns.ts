import { vi } from 'vitest'
import { promptIo } from '../../lib/platform/prompt-io.ts'

/** What {@link holdTurns} has taken over. */
export interface HeldTurns {
  /** How often code has asked whether a turn is due. */
  readonly asked: () => number
  /** Lets all callers continue, now and from now on. */
  readonly release: () => void
}

/**
 * Makes a turn of the event loop due at every check. The turn happens when it is released.
 *
 * @param soundCalls how many checks find no turn due first. @defaultValue none
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

/** Makes no turn due, however busy the machine is: for tests that need a fixed order of steps. */
export function withoutTurns(): void {
  vi.spyOn(promptIo, 'turnIfDue').mockReturnValue(null)
}
