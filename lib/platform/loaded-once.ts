/**
 * Returns a function that calls `load` when it is first called, and returns the same result from
 * then on. After a failure, for example for lack of a descriptor, the next call tries again.
 */
export function loadedOnce<T>(load: () => Promise<T>): () => Promise<T> {
  let loading: Promise<T> | null = null
  return () => {
    loading ??= load().catch((error: unknown) => {
      loading = null
      throw error
    })
    return loading
  }
}
