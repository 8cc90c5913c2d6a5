import { createHook } from 'node:async_hooks'
import { onTestFinished } from 'vitest'

/** What Node.js creates for each call that a thread of the pool makes on a file or a directory. */
const REQUESTS: ReadonlySet<string> = new Set([
  'FSREQCALLBACK',
  'FSREQPROMISE',
  'FILEHANDLECLOSEREQ',
])

/** Returns how many calls `work` leaves to the thread pool until it has ended. */
export async function poolCallsOf(work: () => Promise<unknown>): Promise<number> {
  let calls = 0
  const hook = createHook({
    init: (_id, type) => {
      if (REQUESTS.has(type)) calls += 1
    },
  })
  onTestFinished(() => {
    hook.disable()
  })
  hook.enable()
  await work()
  hook.disable()
  return calls
}
