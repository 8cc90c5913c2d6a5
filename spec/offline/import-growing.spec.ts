import { expect, it } from 'vitest'
import { importFile } from '../../lib/offline/index.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'

it.each(['', 'id,us', '\ufeffid'])(
  'waits for the header of a CSV file that is still being written: "%s"',
  async (begun) => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await tempBroker({ fileSystem })
    await broker.createTopic('t')
    const run = (): Promise<unknown> =>
      importFile(broker, '/f.csv', { topic: 't', keyField: 'user', growing: true, fileSystem })
    fileSystem.writeFile('/f.csv', Buffer.from(begun))
    expect(await run()).toMatchObject({ rows: 0 })
    fileSystem.writeFile(
      '/f.csv',
      Buffer.from(`${begun.startsWith('\ufeff') ? '\ufeff' : ''}id,user\n1,ann\n`),
    )
    expect(await run()).toMatchObject({ imported: 1 })
    await broker.close()
  },
)
