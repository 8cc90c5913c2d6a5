import { KeyedSession } from '../keyed-session.ts'
import { brokerWorkload, type Workload } from '../workload.ts'

/** Records that are stored in each codec in turn. */
export const CODECS: readonly Workload[] = [
  brokerWorkload({
    name: 'append in each codec',
    prepare: (session) => session.createTopic('coded', { compressionType: 'gzip' }),
    run: async (session) => {
      await session.open()
      for (const compressionType of ['gzip', 'snappy', 'lz4', 'zstd'] as const) {
        await session.broker.topic('coded').alter({ compressionType })
        await session.append(3, { topic: 'coded', sizeBytes: 40 })
      }
    },
  }),
  brokerWorkload({
    name: 'compact what is stored in several codecs',
    run: async (session) => {
      await session.open()
      const table = new KeyedSession(session)
      await table.create({ compressionType: 'lz4' })
      await table.put('a', 'b', 'c')
      await session.broker.topic('table').alter({ compressionType: 'zstd' })
      await table.put('b', '-a', 'd')
      await session.broker.topic('table').alter({ compressionType: 'snappy' })
      await table.put('d')
      await table.compact()
      await table.put('e')
    },
  }),
]
