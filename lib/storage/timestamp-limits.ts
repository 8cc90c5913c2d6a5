import type { ResolvedTopicConfig } from '../config.ts'
import { InvalidTimestampError } from '../errors.ts'
import type { Clock } from '../platform/clock.ts'

/**
 * Refuses a timestamp that is further from the time of the append than the topic allows. If the log
 * stamps the records itself, their own timestamps do not matter.
 *
 * @param clock tells the time of the append; it is read only if there is a limit.
 * @throws {@link InvalidTimestampError} naming the timestamp and the range.
 */
export function checkTimestampLimits(
  timestamp: number,
  config: Readonly<ResolvedTopicConfig>,
  clock: Pick<Clock, 'now'>,
): void {
  const { messageTimestampBeforeMaxMs: before, messageTimestampAfterMaxMs: after } = config
  const isUnlimited = before === Number.MAX_SAFE_INTEGER && after === Number.MAX_SAFE_INTEGER
  if (isUnlimited || config.messageTimestampType === 'LogAppendTime') return
  const nowMs = clock.now()
  const [lowest, highest] = [Math.max(0, nowMs - before), nowMs + after]
  if (timestamp >= lowest && timestamp <= highest) return
  throw new InvalidTimestampError(
    `timestamp ${timestamp} is out of range: the topic accepts ${lowest} to ${highest}, ` +
      `with messageTimestampBeforeMaxMs ${before} and messageTimestampAfterMaxMs ${after}`,
  )
}
