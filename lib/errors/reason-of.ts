import { describeValue } from '../checks.ts'

/** What a failure says, for another message. Anything can be thrown, so this never throws, whatever it is. */
export function reasonOf(failure: unknown): string {
  if (typeof failure === 'string') return failure
  try {
    const message: unknown = failure instanceof Error ? failure.message : null
    if (typeof message === 'string') return message
  } catch {
    // What says nothing is described.
  }
  return describeValue(failure)
}
