import snappyjs from 'snappyjs'
import { describe, expect, it } from 'vitest'
import { CorruptRecordError } from '../../../lib/errors.ts'
import { SNAPPY } from '../../../lib/record/codecs/snappy.ts'
import { CONTENTS, records } from './codec-cases.ts'

const HEADER = '82534e4150505900 00000001 00000001'
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

/** A stream of blocks. */
function stream(...blocks: readonly Buffer[]): Buffer {
  const parts = blocks.flatMap((block) => {
    const length = Buffer.alloc(4)
    length.writeInt32BE(block.length)
    return [length, block]
  })
  return Buffer.concat([hex(HEADER), ...parts])
}

/** The blocks of a stream. */
function blocksOf(bytes: Buffer): Buffer[] {
  const blocks = []
  for (let at = 16; at < bytes.length; at += 4 + bytes.readInt32BE(at)) {
    blocks.push(bytes.subarray(at + 4, at + 4 + bytes.readInt32BE(at)))
  }
  return blocks
}

describe('codec snappy', () => {
  it('writes blocks of 32 KiB in the stream format of snappy-java', async () => {
    const compressed = await SNAPPY.compress(Buffer.alloc(100_000))
    expect(compressed.subarray(0, 16)).toEqual(hex(HEADER))
    const sizes = blocksOf(compressed).map((block) => snappyjs.uncompress(block).length)
    expect(sizes).toEqual([32768, 32768, 32768, 1696])
  })

  it.each(CONTENTS)('writes blocks that another decoder can read: %s', async (_name, bytes) => {
    const blocks = blocksOf(await SNAPPY.compress(bytes))
    const back = Buffer.concat(blocks.map((block) => snappyjs.uncompress(block)))
    expect(back.equals(bytes)).toBe(true)
  })

  it('reads blocks of any size that another encoder has written', async () => {
    const bytes = records(8000)
    const compressed = stream(snappyjs.compress(bytes), snappyjs.compress(Buffer.from('end')))
    const back = await SNAPPY.decompress(compressed, bytes.length + 3)
    expect(back.equals(Buffer.concat([bytes, Buffer.from('end')]))).toBe(true)
  })

  it('reads a single block without stream framing, as clients built on the C library write it', async () => {
    for (const bytes of [records(8000), Buffer.from('short'), Buffer.alloc(1), Buffer.alloc(0)]) {
      const compressed = Buffer.from(snappyjs.compress(bytes))
      expect((await SNAPPY.decompress(compressed, bytes.length)).equals(bytes)).toBe(true)
      if (bytes.length === 0) continue
      const cut = SNAPPY.decompress(compressed, bytes.length - 1)
      await expect(cut).rejects.toThrow('more than the allowed')
    }
  })

  it('reads copies with four-byte distances, and literals with a separate length', async () => {
    const literal = 'f4030061626364'
    expect(await SNAPPY.decompress(stream(hex(`08 ${literal} 0f04000000`)), 8)).toEqual(
      Buffer.from('abcdabcd'),
    )
  })

  it.each([
    ['is shorter than a header', hex('82534e4150505900 000000'), 'ends within its header'],
    ['is empty', Buffer.alloc(0), 'begins neither'],
    ['begins neither like a stream nor like a block', Buffer.alloc(40, 0xff), 'begins neither'],
    ['is a plain block with more than it says', hex('01 046162'), 'a block cannot be decompressed'],
    ['is for later readers', hex('82534e4150505900 00000002 00000002'), 'readers of version 2'],
    ['ends in a length', Buffer.concat([stream(), hex('0000')]), 'it is truncated'],
    [
      'ends in a block',
      Buffer.concat([stream(), hex('00000005 00')]),
      'claims 5 bytes, but 1 remain',
    ],
    ['has a negative length', Buffer.concat([stream(), hex('ffffffff 00')]), 'claims -1 bytes'],
    ['has a block without a length', stream(hex('')), 'length of a block is invalid'],
    ['has a block with an endless length', stream(hex('ffffffffff01')), 'is invalid'],
    ['has a block that says too much of itself', stream(hex('ffffff7f 0061')), 'is invalid'],
  ])('rejects as corrupt a stream that %s', async (_name, bytes, reason) => {
    const result = SNAPPY.decompress(bytes, 2 ** 40)
    await expect(result).rejects.toThrow(CorruptRecordError)
    await expect(result).rejects.toThrow(reason)
  })

  it.each([
    ['ends in the length of a literal', '01 f400'],
    ['ends in a literal', '03 0861'],
    ['has a literal of two billion bytes', '01 fc00000080 000000'],
    ['has more than it says', '01 046162'],
    ['has less than it says', '03 0061'],
    ['ends in a distance', '05 0061 02'],
    ['goes back by nothing', '05 0061 0100'],
    ['goes back before its beginning', '05 0061 0102'],
    ['repeats more than it says', '04 0061 0101'],
  ])('rejects as corrupt a block that %s', async (_name, block) => {
    const result = SNAPPY.decompress(stream(hex(block)), 1000)
    await expect(result).rejects.toThrow('a block cannot be decompressed')
  })
})
