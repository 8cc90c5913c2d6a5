import { expect, it } from 'vitest'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf, openLog, pathOf, valuesOf } from './log-fixtures.ts'

/** Segments without a record of them: the first one holds the offsets 0 to 5. */
function overlapping(start: number): SimulatedFileSystem {
  const fs = new SimulatedFileSystem()
  const segment = (from: number, until: number, epoch: number): Buffer => {
    const batches: Buffer[] = []
    for (let baseOffset = from; baseOffset < until; baseOffset += 1)
      batches.push(bytesOf({ baseOffset, epoch, values: [`${epoch}:${baseOffset}`] }))
    return Buffer.concat(batches)
  }
  fs.writeFile(pathOf(0), segment(0, 6, 1))
  fs.writeFile(pathOf(start), segment(start, start + 3, 0))
  return fs
}

it.each([1, 3, 5])(
  'a segment that begins inside the one before it, at offset %d, is damage and hides none of its records',
  async (start) => {
    for (const readOnly of [false, true]) {
      const fs = overlapping(start)
      const log = await openLog(fs, { readOnly })
      const reason = `it begins at offset ${start}, but the segment before it extends to 6`
      expect(log.damage).toMatchObject({ path: pathOf(start), reason, firstOffset: 6 })
      expect(await valuesOf(log).catch(() => 'rejects')).toEqual('rejects')
      const values = (await log.read(0)).map(({ value }) => String(value))
      expect(values).toEqual(['1:0', '1:1', '1:2', '1:3', '1:4', '1:5'])
      expect(log.logEndOffset).toBe(6)
      await log.close()
      expect(fs.readFile(pathOf(start))).toEqual(overlapping(start).readFile(pathOf(start)))
    }
  },
)

it('a segment that begins at the end of the one before it is none of those', async () => {
  const log = await openLog(overlapping(6))
  expect(log.damage).toBeNull()
  expect(log.logEndOffset).toBe(9)
})
