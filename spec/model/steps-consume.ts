import fc from 'fast-check'
import { anyShare } from '../helpers/any-share.ts'
import type { TopicPartition } from '../../lib/broker/topic-partition.ts'
import { topicPartitionKey } from '../../lib/broker/topic-partition.ts'
import { CommitFailedError, OffsetOutOfRangeError } from '../../lib/errors.ts'
import { ensure, type ModelPartition } from './model-broker.ts'
import { GROUP_OF_SLOT, type Member, type Session } from './session.ts'
import { step, type Step } from './step.ts'
import { anyPlace } from './steps-produce.ts'

const SETTLE_ROUNDS = 8
/** Far more polls than any record needs to arrive. */
const DRAIN_ROUNDS = 200
const anySlot = fc.nat(GROUP_OF_SLOT.length - 1)

function modelOf(session: Session, { topic, partition }: TopicPartition): ModelPartition | null {
  return session.model.topics.get(topic)?.partitions[partition] ?? null
}

/**
 * Waits for the groups to settle: each member has to join before any receives its partitions.
 * Afterwards no rebalance is left pending.
 */
export async function settle(session: Session): Promise<void> {
  if (session.members.every((member) => member === null)) return
  for (let round = 0; round < SETTLE_ROUNDS; round += 1) {
    for (const member of session.members) if (member !== null) await pollMember(session, member)
  }
  const places = session.places().map(({ name }) => name)
  for (const groupId of new Set(GROUP_OF_SLOT)) {
    const members = session.members.filter((each) => each?.groupId === groupId)
    const owned = members.flatMap((member) => [...(member?.positions.keys() ?? [])]).sort()
    const isShared = members.length === 0 || owned.join() === [...places].sort().join()
    ensure(isShared, () => `${groupId} has ${owned.join()} of ${places.join()}`)
  }
}

export async function pollMember(session: Session, member: Member): Promise<void> {
  for (const record of await member.consumer.poll({ maxWaitMs: 0 })) {
    const name = topicPartitionKey(record)
    const partition = modelOf(session, record)
    const position = member.positions.get(name)
    if (partition === null || position === undefined) {
      ensure(false, () => `${member.groupId} gets ${name}, which it does not own`)
      return
    }
    ensure(!member.paused.has(name), () => `${member.groupId} gets ${name}, which is paused`)
    // Records before it that were deleted are skipped, or had already been read ahead.
    const isNext = record.offset === position
    const expected = isNext ? position : Math.max(position, partition.start)
    session.checkRecord(name, partition, record, expected)
    partition.seen(record.offset + 1)
    member.positions.set(name, record.offset + 1)
  }
}

/** Where a group begins: at the committed offset, or the start of the log. */
function beginOf(session: Session, groupId: string, at: TopicPartition): number {
  const commits = session.model.commitsOf(`${groupId} ${topicPartitionKey(at)}`)
  return Math.max(commits.at(-1)?.offset ?? 0, modelOf(session, at)?.start ?? 0)
}

/** Adds a consumer to the group of its slot. */
export function join(session: Session, slot: number): void {
  const groupId = GROUP_OF_SLOT[slot] ?? 'billing'
  const consumer = session.broker.consumer<string, string>({
    groupId,
    enableAutoCommit: false,
    maxPollRecords: 3,
    partitionAssignmentStrategy: session.setup.strategy,
    valueDeserializer: { deserialize: (_topic, bytes) => bytes.toString() },
  })
  const member: Member = { groupId, consumer, positions: new Map(), paused: new Set() }
  const drop = (partitions: readonly TopicPartition[]): void => {
    for (const each of partitions) {
      member.positions.delete(topicPartitionKey(each))
      member.paused.delete(topicPartitionKey(each))
    }
  }
  consumer.subscribe(['orders', 'events'], {
    onPartitionsAssigned: (partitions) => {
      for (const each of partitions) {
        const name = topicPartitionKey(each)
        const isTaken = session.members.some(
          (other) => other?.groupId === groupId && other.positions.has(name),
        )
        ensure(!isTaken, () => `${name} has two owners in ${groupId}`)
        member.positions.set(name, beginOf(session, groupId, each))
      }
    },
    onPartitionsRevoked: drop,
    onPartitionsLost: drop,
  })
  session.members[slot] = member
}

export const joinOrLeave: fc.Arbitrary<Step> = step(
  'joinOrLeave',
  anySlot,
  async (session, slot) => {
    const member = session.members[slot] ?? null
    if (member === null) join(session, slot)
    else {
      session.members[slot] = null
      await member.consumer.close()
    }
    await settle(session)
  },
)

export const poll: fc.Arbitrary<Step> = step('poll', anySlot, async (session, slot) => {
  const member = session.members[slot] ?? null
  if (member !== null) await pollMember(session, member)
})

/** Every visible record is eventually delivered. */
export const drain: fc.Arbitrary<Step> = step('drain', anySlot, async (session, slot) => {
  const member = session.members[slot] ?? null
  if (member === null) return
  const isBehind = (): boolean =>
    [...member.positions].some(([name, position]) => {
      const place = session.places().find((each) => each.name === name)
      const { start = 0, visible = 0 } = place?.model ?? {}
      return !member.paused.has(name) && Math.max(position, start) < visible
    })
  for (let round = 0; round < DRAIN_ROUNDS && isBehind(); round += 1) {
    await pollMember(session, member)
    // Fetched records arrive between two turns of the event loop.
    await new Promise((resolve) => setImmediate(resolve))
  }
  ensure(!isBehind(), () => `${member.groupId} does not get to the end`)
})

export const seek: fc.Arbitrary<Step> = step(
  'seek',
  fc.record({ slot: anySlot, share: anyShare }),
  (session, { slot, share }) => {
    const member = session.members[slot]
    const at = member?.consumer.assignment()[0]
    const model = at === undefined ? null : modelOf(session, at)
    if (member != null && at !== undefined && model !== null) {
      const offset = model.start + Math.round(share * (model.visible - model.start))
      member.consumer.seek(at, offset)
      member.positions.set(topicPartitionKey(at), offset)
    }
    return Promise.resolve()
  },
)

export const pauseOrResume: fc.Arbitrary<Step> = step('pauseOrResume', anySlot, (session, slot) => {
  const member = session.members[slot]
  const at = member?.consumer.assignment()[0]
  if (member != null && at !== undefined) {
    const name = topicPartitionKey(at)
    if (member.paused.delete(name)) member.consumer.resume([at])
    else {
      member.consumer.pause([at])
      member.paused.add(name)
    }
  }
  return Promise.resolve()
})

/** Commits everything that a member has consumed. */
export const commit: fc.Arbitrary<Step> = step('commit', anySlot, async (session, slot) => {
  const member = session.members[slot]
  if (member == null) return
  const isTaken = await commitOf(session, member)
  ensure(isTaken, () => `a commit of ${member.groupId} is refused`)
})

/** @returns whether it succeeded; `false` if the member is no longer in the group */
export async function commitOf(session: Session, member: Member): Promise<boolean> {
  const commits = [...member.positions].flatMap(([name, position]) => {
    const place = session.places().find((each) => each.name === name)
    if (place === undefined) return []
    const key = `${member.groupId} ${name}`
    // If records at its position were deleted, the member may or may not have noticed.
    const offsets = new Set([position, Math.max(position, place.model.start)])
    const each = [...offsets].map((offset) => session.model.mayCommit(key, place.model, offset))
    return [{ key, place, each }]
  })
  try {
    await member.consumer.commit()
  } catch (error) {
    if (!(error instanceof CommitFailedError)) throw error
    for (const { key, each } of commits) {
      for (const refused of each) session.model.refusedCommit(key, refused)
    }
    return false
  }
  for (const { key, place, each } of commits) {
    const [first] = each
    if (first !== undefined) session.model.committed(key, place.model, first)
  }
  return true
}

/** Commits an offset of the application's own choice. One beyond the end is refused. */
export const commitAt: fc.Arbitrary<Step> = step(
  'commitAt',
  fc.record({ slot: anySlot, at: anyPlace, share: anyShare }),
  async (session, { slot, at, share }) => {
    const place = session.place(at)
    if (place === null) return
    const { topic, index: partition, model, real, name } = place
    const offset = Math.round(share * (model.records.length + 1))
    const member = session.members[slot] ?? null
    // A member that is not subscribed commits for a group without members.
    const consumer = member?.consumer ?? session.broker.consumer({ groupId: 'solo' })
    const key = `${member?.groupId ?? 'solo'} ${name}`
    const isThere = offset <= real.logEndOffset
    // Records of a concurrent append may be there before the commit checks the end.
    const mayBeThere = offset <= model.records.length
    const commit = mayBeThere ? session.model.mayCommit(key, model, offset) : null
    try {
      await consumer.commit([{ topic, partition, offset }])
      // So may records whose append began after the commit did.
      const isThereNow = offset <= model.records.length
      ensure(isThereNow, () => `${key} is committed at ${offset}, beyond the end`)
      session.model.committed(key, model, commit ?? session.model.mayCommit(key, model, offset))
    } catch (error) {
      const isRefused = !isThere && error instanceof OffsetOutOfRangeError
      if (!isRefused) throw error
      if (commit !== null) session.model.refusedCommit(key, commit)
    }
    if (member === null) await consumer.close()
  },
)
