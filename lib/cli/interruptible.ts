/** Exit code of a process that was ended by Ctrl-C. */
export const INTERRUPTED = 130

/** Lets Ctrl-C abort the work. A second Ctrl-C ends the process at once. */
export async function interruptible<T>(stop: AbortController, work: () => Promise<T>): Promise<T> {
  const onInterrupt = (): void => {
    stop.abort()
  }
  process.once('SIGINT', onInterrupt)
  try {
    return await work()
  } finally {
    process.removeListener('SIGINT', onInterrupt)
  }
}
