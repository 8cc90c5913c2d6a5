import fc from 'fast-check'
import { step, type Step } from './step.ts'
import { readLast, reverse } from './steps-backwards.ts'
import { compact, put } from './steps-compaction.ts'
import { commit, commitAt, drain, joinOrLeave, pauseOrResume, poll, seek } from './steps-consume.ts'
import { deleteRecords, enforceRetention } from './steps-deletion.ts'
import { append, flush, maintain, send, verify } from './steps-produce.ts'
import { fetchAtEnd, findTime, read } from './steps-read.ts'
import { follow, lookAtReader, openOrCloseReader } from './steps-reader.ts'
import { crash, crashDuring, loseTail, reopen, takeover } from './steps-restart.ts'
import { advance, setClock, stall } from './steps-time.ts'
import { addPartition, createTopic, deleteTopic } from './steps-topics.ts'

/** Overlapping calls: the result must not depend on which of them completes first. */
const together: fc.Arbitrary<Step> = step(
  'together',
  fc.array(
    fc.oneof(
      { weight: 4, arbitrary: append },
      ...[flush, maintain, read, readLast, reverse, deleteRecords, commit, commitAt, verify, put],
    ),
    { minLength: 2, maxLength: 6 },
  ),
  async (session, steps) => {
    const outcomes = await Promise.allSettled(steps.map((each) => each.perform(session)))
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  },
)

const interruptible: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: together },
  ...[
    append,
    send,
    flush,
    maintain,
    deleteRecords,
    commit,
    commitAt,
    joinOrLeave,
    reopen,
    enforceRetention,
  ],
  ...[createTopic, deleteTopic, addPartition, fetchAtEnd, put, compact],
)

/** Everything that can be done to a broker. A step that is listed twice is done more often. */
export const STEPS: readonly fc.Arbitrary<Step>[] = [
  ...[append, append, append, append, send, send, flush, maintain, verify],
  ...[together, together, together],
  ...[read, fetchAtEnd, findTime, readLast, reverse],
  ...[put, put, compact],
  ...[createTopic, createTopic, deleteTopic, addPartition, deleteRecords, enforceRetention],
  ...[joinOrLeave, joinOrLeave, poll, poll, poll, drain, seek, pauseOrResume],
  ...[commit, commit, commitAt, commitAt],
  ...[openOrCloseReader, lookAtReader, follow],
  ...[advance, setClock, stall],
  ...[reopen, crash, takeover, loseTail],
  ...[crashDuring(interruptible), crashDuring(interruptible), crashDuring(interruptible)],
]
