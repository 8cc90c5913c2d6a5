import { bytesOf } from '../../storage/log-fixtures.ts'
import { newPartitionLedger } from '../ledger.ts'
import { brokerWorkload, type Workload } from '../workload.ts'

/** Opening and closing directories. */
export const OPENINGS: readonly Workload[] = [
  brokerWorkload({
    name: 'open an empty directory',
    files: () => undefined,
    run: async (session) => {
      await session.open()
      await session.createTopic('orders')
      await session.append()
    },
  }),
  brokerWorkload({
    name: 'close',
    run: async (session) => {
      await session.open()
      await session.append()
      await session.close()
    },
  }),
  brokerWorkload({
    name: 'open twice',
    run: async (session) => {
      await session.open()
      await session.close()
      await session.open()
      await session.append()
      await session.close()
    },
  }),
  brokerWorkload({
    name: 'open after a crash',
    isClean: false,
    prepare: async (session) => {
      for (let each = 0; each < 5; each += 1) await session.append()
      await session.append(2, { acks: 1 })
    },
    run: async (session) => {
      await session.open()
      await session.append()
    },
  }),
  brokerWorkload({
    name: 'adopt a directory that Kafka made',
    files: (disk, ledger) => {
      const { promise, path } = kafkaPartition()
      disk.writeFile(`${path}/00000000000000000000.log`, bytesOf({ values: ['k1', 'k2'] }))
      disk.writeFile(`${path}/00000000000000000002.log`, bytesOf({ baseOffset: 2, values: ['k3'] }))
      disk.writeFile(
        `${path}/partition.metadata`,
        Buffer.from('version: 0\ntopic_id: GJ0JWkFAQ4aSxtV6UqdwXw\n'),
      )
      disk.writeFile('/data/recovery-point-offset-checkpoint', Buffer.from('0\n1\nlegacy 0 2\n'))
      disk.writeFile('/data/log-start-offset-checkpoint', Buffer.from('0\n1\nlegacy 0 1\n'))
      ledger.topics['legacy'] = [{ segmentBytes: 1_073_741_824, partitions: [promise] }]
    },
    run: async (session) => {
      await session.open()
      await session.append(1, { topic: 'legacy' })
      await session.createTopic('orders')
    },
  }),
]

function kafkaPartition(): { path: string; promise: ReturnType<typeof newPartitionLedger> } {
  const history = ['k1', 'k2', 'k3']
  const ends = { written: 3, durable: 3, leastStart: 1, greatestStart: 1 }
  return { path: '/data/legacy-0', promise: { ...newPartitionLedger(), history, ...ends } }
}
