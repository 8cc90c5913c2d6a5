import fc from 'fast-check'

const STEPS = 1000

/**
 * A fraction in [0, 1]: evenly distributed, with the ends drawn more often. `fc.double` draws the
 * exponent evenly, so nearly all of its numbers are close to 0.
 */
export const anyShare: fc.Arbitrary<number> = fc
  .integer({ min: 0, max: STEPS })
  .map((count) => count / STEPS)
