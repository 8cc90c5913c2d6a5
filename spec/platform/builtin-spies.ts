import { syncBuiltinESMExports } from 'node:module'
import { onTestFinished } from 'vitest'

/** Lets what spies on Node's own modules be seen by those who have imported them, until the test ends. */
export function applyToBuiltins(...spies: readonly { mockRestore(): void }[]): void {
  syncBuiltinESMExports()
  onTestFinished(() => {
    for (const spy of spies) spy.mockRestore()
    syncBuiltinESMExports()
  })
}
