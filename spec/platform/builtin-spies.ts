import { syncBuiltinESMExports } from 'node:module'
import { onTestFinished } from 'vitest'

/** Makes spies on Node's own modules visible to their importers, until the test ends. */
export function applyToBuiltins(...spies: readonly { mockRestore(): void }[]): void {
  syncBuiltinESMExports()
  onTestFinished(() => {
    for (const spy of spies) spy.mockRestore()
    syncBuiltinESMExports()
  })
}
