import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const pathOf = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

// Some test runners, and Vitest with `pool: 'vmThreads'`, run each file in a `vm` context with its
// own globals. What Node.js throws is not an `Error` of that context, and what it reads may not be
// its `Uint8Array`.
it('the library works in a vm context with its own globals', async () => {
  const vitest = pathOf('../node_modules/vitest/vitest.mjs')
  const args = [vitest, 'run', '--config', pathOf('realm/vitest.config.ts')]
  const { code, text } = await new Promise<{ code: unknown; text: string }>((resolve) => {
    execFile(process.execPath, args, (error, stdout, stderr) => {
      resolve({ code: error?.code ?? 0, text: stdout + stderr })
    })
  })
  expect(code, text).toBe(0)
})
