import { onAbort } from '../platform/abort-listeners.ts'
import type { OffsetRange } from './load-task.ts'
import type { Sink } from './sink.ts'

/** A sink as one run uses it: its calls receive the signal of the run. */
export function sinkOfRun(sink: Sink, signal: AbortSignal): Sink {
  return {
    published: async (partition, fromOffset) => {
      signal.throwIfAborted()
      let stop = (): void => undefined
      try {
        const ranges = await new Promise<readonly OffsetRange[]>((resolve, reject) => {
          // This call commits nothing, so a run that ends early need not wait for it.
          stop = onAbort(signal, () => {
            resolve([])
          })
          Promise.resolve(sink.published(partition, fromOffset, { signal })).then(resolve, reject)
        })
        signal.throwIfAborted()
        return ranges
      } finally {
        stop()
      }
    },
    open: (task) => sink.open(task, { signal }),
  }
}
