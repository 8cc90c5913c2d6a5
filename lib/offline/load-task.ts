/** The offsets [`startOffset`, `endOffset`) of one partition. */
export interface OffsetRange {
  readonly startOffset: number
  /** Exclusive. */
  readonly endOffset: number
}

/**
 * One piece of a load: the records of one partition from `startOffset` up to `endOffset`. A task is
 * plain data, so it can be sent to another process as JSON. It may contain fewer records than
 * offsets.
 */
export interface LoadTask extends OffsetRange {
  readonly topic: string
  readonly partition: number
}
