import type { BrokerSession } from './broker-session.ts'

/**
 * Makes a change that may move the start of a partition anywhere up to `greatest`, and then notes
 * where it is.
 */
export async function whileStartMoves(
  session: BrokerSession,
  topic: string,
  greatest: number,
  change: () => Promise<unknown>,
): Promise<void> {
  const noted = session.partition(topic, 0)
  noted.greatestStart = Math.max(noted.greatestStart, greatest)
  await change()
  const { logStartOffset } = session.broker.topic(topic).partition(0)
  if (logStartOffset < noted.leastStart) throw new Error(`the start went to ${logStartOffset}`)
  noted.leastStart = logStartOffset
  noted.greatestStart = logStartOffset
  // Deleted records need not survive, but their offsets must not be reused.
  noted.durable = Math.max(noted.durable, logStartOffset)
}
