import { describe, expect, it } from 'vitest'
import { CheckpointFile } from '../../lib/storage/checkpoint-file.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

async function fixture(): Promise<{ fs: SimulatedFileSystem; file: CheckpointFile }> {
  const fs = new SimulatedFileSystem()
  await fs.createDirectory('/d')
  return { fs, file: new CheckpointFile(fs, '/d/c', 3) }
}

it('writes a version, a count and the lines, and reads them back', async () => {
  const { fs, file } = await fixture()
  await file.write([
    ['orders', 0, 120],
    ['a-b.c_d', 11, 9007199254740991],
  ])
  expect(fs.readFile('/d/c').toString()).toBe('0\n2\norders 0 120\na-b.c_d 11 9007199254740991\n')
  expect(await file.read()).toEqual([
    ['orders', '0', '120'],
    ['a-b.c_d', '11', '9007199254740991'],
  ])
})

it('reads no lines if the file is missing, empty or has a count of 0', async () => {
  const { fs, file } = await fixture()
  expect(await file.read()).toEqual([])
  fs.writeFile('/d/c', Buffer.alloc(0))
  expect(await file.read()).toEqual([])
  fs.writeFile('/d/c', Buffer.from('0\n0\n'))
  expect(await file.read()).toEqual([])
})

it.each([
  ['another version', '1\n0\n', "version is '1', not 0"],
  ['no count', '0\n', "announces '' lines, but has"],
  ['fewer lines than it counts', '0\n2\na 0 1\n', "announces '2' lines, but has 1"],
  ['more lines than it counts', '0\n0\na 0 1\n', "announces '0' lines, but has 1"],
  ['a line with a field too many', '0\n1\na b 0 1\n', 'does not have 3 fields'],
  ['a count that is no number', '0\n-1\n', "announces '-1' lines"],
])('rejects a file with %s', async (_, text, message) => {
  const { fs, file } = await fixture()
  fs.writeFile('/d/c', Buffer.from(text))
  await expect(file.read()).rejects.toThrow(message)
})

it.each([undefined, '', '-1', '1.5', '1e3', '99999999999999999', '9007199254740992'])(
  'throws for %j, which is not a whole number',
  async (field) => {
    const { file } = await fixture()
    expect(() => file.wholeNumber(field)).toThrow('is not a whole number')
  },
)

describe('a write', () => {
  it('is durable when it resolves', async () => {
    const { fs, file } = await fixture()
    await fs.syncDirectory('/')
    await file.write([['a', 0, 1]])
    const after = fs.restart('power', { unsynced: 'lost' })
    expect(after.readFile('/d/c').toString()).toBe('0\n1\na 0 1\n')
  })

  it('does nothing if the content is what it wrote last', async () => {
    const { fs, file } = await fixture()
    await file.write([['a', 0, 1]])
    const { operationCount } = fs
    await file.write([['a', 0, 1]])
    expect(fs.operationCount).toBe(operationCount)
  })

  it('is done after a failed write even if the content is what was written before it', async () => {
    const { fs, file } = await fixture()
    await file.write([['a', 0, 1]])
    fs.failNext('sync', 'EIO')
    await expect(file.write([['a', 0, 2]])).rejects.toMatchObject({ code: 'EIO' })
    await file.write([['a', 0, 1]])
    expect(fs.operations.at(-1)).toContain('syncDirectory')
  })
})
