import { expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf, NOW } from '../storage/log-fixtures.ts'

const SIZE = bytesOf().length
const LOG = '/data/orders-0/00000000000000000000.log'

it('opens the other topics if one topic taken over from a Kafka broker has a damaged batch', async () => {
  const clock = new ManualClock(NOW)
  const fs = new SimulatedFileSystem({ clock, seed: 1 })
  const batches = [0, 1, 2, 3, 4, 5].map((each) =>
    bytesOf({ baseOffset: each, producerId: 9, producerEpoch: 0, baseSequence: each }),
  )
  // As a killed broker leaves it: a checkpoint of the last minute, and no snapshot since the roll.
  fs.writeFile(LOG, Buffer.concat(batches))
  fs.writeFile('/data/orders-0/00000000000000000000.index', Buffer.from('0000000400000118', 'hex'))
  fs.writeFile('/data/orders-0/00000000000000000000.timeindex', Buffer.alloc(0))
  fs.writeFile('/data/recovery-point-offset-checkpoint', Buffer.from('0\n1\norders 0 5\n'))
  fs.writeFile('/data/healthy-0/00000000000000000000.log', bytesOf())
  fs.flipBit(LOG, SIZE + 66, 1)
  const opening = Broker.open('/data', { fileSystem: fs, clock })
  await expect(opening).resolves.toBeInstanceOf(Broker)
  const broker = await opening
  expect(await broker.topic('healthy').partition(0).read(0)).toHaveLength(1)
  await broker.close()
})
