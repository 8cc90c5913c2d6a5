import fc from 'fast-check'
import { anyShare } from '../helpers/any-share.ts'
import { ensure } from './model-broker.ts'
import { step, type Step } from './step.ts'
import { anyPlace } from './steps-produce.ts'

/**
 * Any deletion on purpose: raises `greatestStart` when it is requested, and is `deleted` when it is
 * done. A policy that deletes automatically would be one more such step.
 */
export const deleteRecords: fc.Arbitrary<Step> = step(
  'deleteRecords',
  fc.record({ at: anyPlace, share: anyShare }),
  async (session, { at, share }) => {
    const place = session.place(at)
    if (place === null) return
    const { model, real } = place
    const offset = Math.round(share * model.visible)
    model.greatestStart = Math.max(model.greatestStart, offset)
    await real.deleteRecords(offset)
    model.deleted(offset)
  },
)

/** Deletes the oldest segments while `retentionBytes` remain and all their records are visible. */
export const enforceRetention: fc.Arbitrary<Step> = step(
  'enforceRetention',
  fc.record({ at: anyPlace, retentionBytes: fc.constantFrom(0, 100, 1000) }),
  async (session, { at, retentionBytes }) => {
    const place = session.place(at)
    if (place === null) return
    const { model, real, name } = place
    // Records appended meanwhile may become visible, and be deleted, before this is done.
    model.greatestStart = Infinity
    real.log.config = { ...real.log.config, retentionBytes }
    try {
      await real.enforceRetention()
    } finally {
      real.log.config = { ...real.log.config, retentionBytes: -1 }
    }
    const { logStartOffset, highWatermark } = real
    ensure(logStartOffset <= highWatermark, () => `${name} starts behind what is shown`)
    const isKept = logStartOffset === model.start || real.log.size >= retentionBytes
    ensure(isKept, () => `${name} keeps ${real.log.size} bytes, not ${retentionBytes}`)
    model.deleted(logStartOffset)
    model.greatestStart = logStartOffset
  },
)
