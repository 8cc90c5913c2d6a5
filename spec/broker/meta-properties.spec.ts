import { describe, expect, it } from 'vitest'
import { createMetaProperties, readMetaProperties } from '../../lib/broker/meta-properties.ts'
import { CorruptRecordError } from '../../lib/errors.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

async function directory(): Promise<SimulatedFileSystem> {
  const fileSystem = new SimulatedFileSystem()
  await fileSystem.createDirectory('/data')
  return fileSystem
}

describe('meta.properties', () => {
  it('is written in the format of Kafka and can be read back', async () => {
    const fileSystem = await directory()
    const clusterId = await createMetaProperties(fileSystem, '/data', new SeededRandom(1))
    expect(clusterId).toMatch(/^[A-Za-z0-9_][A-Za-z0-9_-]{21}$/)
    expect(fileSystem.readFile('/data/meta.properties').toString()).toMatch(
      /^version=1\ncluster\.id=[\w-]{22}\nnode\.id=1\ndirectory\.id=[\w-]{22}\n$/,
    )
    expect(await readMetaProperties(fileSystem, '/data')).toBe(clusterId)
  })

  it('is read with comments, blanks and the property names of older brokers', async () => {
    const fileSystem = await directory()
    const text = '#\n#Mon Jan 01 00:00:00 UTC 2024\nversion = 0\r\nbroker.id: 7\ncluster.id=abc\n'
    fileSystem.writeFile('/data/meta.properties', Buffer.from(text))
    expect(await readMetaProperties(fileSystem, '/data')).toBe('abc')
  })

  it('reads as null in a new directory', async () => {
    expect(await readMetaProperties(await directory(), '/data')).toBeNull()
  })

  it.each(['', 'version=2\ncluster.id=abc\n', 'version=1\nnode.id=1\n'])(
    'is rejected as damaged when it contains %j',
    async (text) => {
      const fileSystem = await directory()
      fileSystem.writeFile('/data/meta.properties', Buffer.from(text))
      await expect(readMetaProperties(fileSystem, '/data')).rejects.toThrow(CorruptRecordError)
    },
  )
})
