import { expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf, NOW } from '../storage/log-fixtures.ts'

const DAY_MS = 86_400_000

it('keeps records older than the default retention in a directory taken over from a Kafka broker', async () => {
  const clock = new ManualClock(NOW)
  const fs = new SimulatedFileSystem({ clock, seed: 1 })
  const batches = [0, 1, 2].map((baseOffset) =>
    bytesOf({ baseOffset, timestamp: NOW - 30 * DAY_MS }),
  )
  fs.writeFile('/data/customers-0/00000000000000000000.log', Buffer.concat(batches))
  const broker = await Broker.open('/data', { fileSystem: fs, clock })
  const partition = broker.topic('customers').partition(0)
  expect([partition.logStartOffset, partition.logEndOffset]).toEqual([0, 3])
  await clock.advance(6 * 60_000)
  expect([partition.logStartOffset, partition.logEndOffset]).toEqual([0, 3])
  await broker.close()
})
