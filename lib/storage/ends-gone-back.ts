/**
 * How often the end of a log has gone back, over all logs of the process: by a cut, by a sync that failed. It is
 * rare, and nobody who waits is told. Who remembers what there was at many ends looks again once this has changed.
 */
export const endsGoneBack: { count: number } = { count: 0 }
