import fc from 'fast-check'
import type { RecordHeader } from '../../lib/record/record-batch-builder.ts'

/** The content that a user puts into a record. */
export interface Content {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly RecordHeader[]
}

const bytes = fc.oneof(
  fc.constant(null),
  fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array)),
)

/** Arbitrary content, with names that are not ASCII and names that repeat. */
export const content: fc.Arbitrary<Content> = fc.record({
  key: bytes,
  value: bytes,
  headers: fc.array(
    fc.record({
      key: fc.oneof(fc.string({ unit: 'grapheme' }), fc.constant('same')),
      value: bytes,
    }),
    { maxLength: 4 },
  ),
})

/** A timestamp that any record may have, including {@link NO_TIMESTAMP}. */
export const timestamp: fc.Arbitrary<number> = fc.oneof(
  fc.constant(-1),
  fc.integer({ min: 1_600_000_000_000, max: 1_800_000_000_000 }),
  fc.maxSafeNat().map((value) => Math.min(value, 2 ** 53 - 3)),
)
