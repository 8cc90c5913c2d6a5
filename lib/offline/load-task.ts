/** Offsets [`startOffset`, `endOffset`) of one partition. */
export interface OffsetRange {
  readonly startOffset: number
  /** Exclusive. */
  readonly endOffset: number
}

/**
 * One piece of a load: the records of one partition from `startOffset` up to `endOffset`. Plain data,
 * so that it can be sent to another process as JSON. There may be fewer records in it than offsets.
 */
export interface LoadTask extends OffsetRange {
  readonly topic: string
  readonly partition: number
}
