import { expect, it } from 'vitest'
import {
  newTopicId,
  readPartitionMetadata,
  topicIdFromName,
  writePartitionMetadata,
} from '../../lib/storage/partition-metadata.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const PATH = '/d/partition.metadata'
const ID = 'abcdefghijklmnopqrstuv'

async function fixture(): Promise<SimulatedFileSystem> {
  const fs = new SimulatedFileSystem()
  await fs.createDirectory('/d')
  return fs
}

it('writes two lines without a trailing newline', async () => {
  const fs = await fixture()
  expect(await readPartitionMetadata(fs, '/d')).toBeNull()
  await writePartitionMetadata(fs, '/d', ID)
  expect(fs.readFile(PATH).toString()).toBe(`version: 0\ntopic_id: ${ID}`)
  expect(await readPartitionMetadata(fs, '/d')).toEqual({ topicId: ID })
})

it('accepts a trailing newline', async () => {
  const fs = await fixture()
  fs.writeFile(PATH, Buffer.from(`version: 0\ntopic_id: ${ID}\n`))
  expect(await readPartitionMetadata(fs, '/d')).toEqual({ topicId: ID })
})

it.each([
  '',
  `version: 1\ntopic_id: ${ID}`,
  'version: 0\ntopic_id: short',
  `version: 0\ntopic_id: ${ID}x`,
  'version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA',
])('rejects a file with the content %j', async (text) => {
  const fs = await fixture()
  fs.writeFile(PATH, Buffer.from(text))
  await expect(readPartitionMetadata(fs, '/d')).rejects.toThrow('it has no valid topic id')
})

it('creates version 4 topic ids that do not start with a dash', () => {
  const random = new SeededRandom(7)
  const ids = Array.from({ length: 500 }, () => newTopicId(random))
  expect(new Set(ids).size).toBe(500)
  for (const id of ids) {
    expect(id).toMatch(/^[A-Za-z0-9_][A-Za-z0-9_-]{21}$/)
    const bytes = Buffer.from(id, 'base64url')
    expect((bytes[6] ?? 0) >> 4).toBe(4)
    expect((bytes[8] ?? 0) >> 6).toBe(2)
  }
})

it('derives a distinct and stable id from the name of a topic without an id', () => {
  const names = Array.from({ length: 500 }, (_, each) => `topic-${each}`)
  const ids = names.map(topicIdFromName)
  expect(names.map(topicIdFromName)).toEqual(ids)
  expect(new Set(ids).size).toBe(names.length)
  for (const id of ids) {
    const bytes = Buffer.from(id, 'base64url')
    expect([bytes.length, bytes.readUInt8(6) >> 4, bytes.readUInt8(8) >> 6]).toEqual([16, 8, 2])
    expect(id).toMatch(/^[A-Za-z0-9_]/)
  }
})
