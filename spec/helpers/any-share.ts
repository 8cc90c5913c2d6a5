import fc from 'fast-check'

const STEPS = 1000

/**
 * How far into something, in [0, 1], anywhere alike, and at the ends more often. `fc.double` draws its
 * exponent as often as any other part of it, so nearly all it gives is next to 0.
 */
export const anyShare: fc.Arbitrary<number> = fc
  .integer({ min: 0, max: STEPS })
  .map((count) => count / STEPS)
