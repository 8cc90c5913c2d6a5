import { CorruptRecordError } from '../errors.ts'

/**
 * A partition of the committed offsets is not here and, as far as is known, never was: one broker
 * of several has only its own partitions. The positions of its groups are unknown, but nothing is
 * damaged.
 */
export class LeftBehindError extends CorruptRecordError {
  constructor(path: string) {
    super(
      'the directory is missing: where groups stand that have committed there is not known. Copy it from ' +
        'the broker that has it, before topics are created or deleted, or make an empty one of that name, ' +
        'so that they begin anew; in either case while nobody has the data directory open',
      { path, position: 0, firstOffset: 0, lastOffset: null },
    )
  }
}
