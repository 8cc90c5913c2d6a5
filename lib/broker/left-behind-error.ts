import { CorruptRecordError } from '../errors.ts'

/**
 * A partition of the committed offsets is not here and, as far as is known, never was: one broker
 * of several has only its own partitions. The positions of its groups are unknown, but nothing is
 * damaged.
 */
export class LeftBehindError extends CorruptRecordError {
  constructor(path: string) {
    super(
      'the directory is missing, so the committed offsets of its groups are unknown. Copy it from ' +
        'the broker that has it, before topics are created or deleted, or create an empty directory ' +
        'of that name to make its groups start over. Do either while no process has the data ' +
        'directory open',
      { path, position: 0, firstOffset: 0, lastOffset: null },
    )
  }
}
