import fc from 'fast-check'
import { step, type Step } from './step.ts'
import { anyPlace, share } from './steps-produce.ts'

/**
 * Whatever takes records away on purpose. It raises `greatestStart` when it is asked for and is
 * `deleted` when it is done; a policy that deletes or compacts by itself is one more such step, and
 * compaction the first for which the model needs to know keys.
 */
export const deleteRecords: fc.Arbitrary<Step> = step(
  'deleteRecords',
  fc.record({ at: anyPlace, share }),
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
