import lz4js from 'lz4js'
import { describe, expect, it } from 'vitest'
import { CorruptRecordError } from '../../../lib/errors.ts'
import { LZ4 } from '../../../lib/record/codecs/lz4.ts'
import { xxh32 } from '../../../lib/record/codecs/xxh32.ts'
import { COMPRESSED_BATCHES, GOLDEN_RECORDS } from '../golden-vectors.ts'
import { CONTENTS, records } from './codec-cases.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

/** A frame with a valid header checksum. */
function frame(flags: number, blockSize: number, rest: string, contentSize = ''): Buffer {
  const descriptor = Buffer.concat([Buffer.from([flags, blockSize]), hex(contentSize)])
  const checksum = (xxh32(descriptor) >> 8) & 0xff
  return Buffer.concat([hex('04224d18'), descriptor, Buffer.from([checksum]), hex(rest)])
}

const STORED_AB = '02000080 6162'
const END = '00000000'

describe('codec lz4', () => {
  it('writes the same bytes as Kafka if they cannot be compressed', async () => {
    expect(await LZ4.compress(GOLDEN_RECORDS)).toEqual(COMPRESSED_BATCHES.lz4.subarray(61))
  })

  it.each(CONTENTS.filter(([, bytes]) => bytes.length > 0))(
    'writes what another decoder reads: %s',
    async (_name, bytes) => {
      for (const level of [9, 1, 17]) {
        const compressed = await LZ4.compress(bytes, level)
        expect(Buffer.from(lz4js.decompress(compressed)).equals(bytes)).toBe(true)
      }
    },
  )

  it('compresses better at other levels than at the default, and better at higher ones', async () => {
    const bytes = records(3000)
    const sizes = []
    for (const level of [9, 1, 4, 17]) sizes.push((await LZ4.compress(bytes, level)).length)
    expect(sizes).toEqual([...new Set(sizes)].sort((a, b) => b - a))
  })

  it.each([
    ['content size, which is passed over', frame(0x68, 0x40, STORED_AB + END, '0900000000000000')],
    ['blocks of up to 4 MiB', frame(0x60, 0x70, STORED_AB + END)],
    ['a content checksum, which is not looked at', frame(0x64, 0x40, STORED_AB + END + '12345678')],
    ['checksums of blocks', frame(0x70, 0x40, `${STORED_AB} ${checksumOf('ab')} ${END}`)],
  ])('reads a frame with %s', async (_name, bytes) => {
    expect(await LZ4.decompress(bytes, 2)).toEqual(Buffer.from('ab'))
  })

  it.each([
    ['is shorter than a header', hex('04224d18 60'), 'ends within its header'],
    ['ends in its content size', frame(0x68, 0x40, '', '09'), 'ends within its header'],
    ['has another name', hex('04224d19 60 40 82 00000000'), 'does not begin with the magic number'],
    ['has another version', frame(0xa0, 0x40, END), 'its version is 2'],
    ['has linked blocks', frame(0x40, 0x40, END), 'depend on each other'],
    ['sets a reserved flag', frame(0x61, 0x40, END), 'reserved bits'],
    ['sets a reserved bit', frame(0x60, 0x41, END), 'reserved bits'],
    ['has an unknown block size', frame(0x60, 0x30, END), 'block size code is 3'],
    ['has a wrong header checksum', hex('04224d18 60 40 83 00000000'), 'checksum is 131'],
    [
      'has a block that is too large',
      frame(0x60, 0x40, '01000180'),
      '65537 bytes, but at most 65536 are allowed',
    ],
    ['has a block that is cut off', frame(0x60, 0x40, '0300008061'), 'it is truncated'],
    ['has a wrong block checksum', frame(0x70, 0x40, STORED_AB + '00000000' + END), 'of a block'],
    ['has no end', frame(0x60, 0x40, STORED_AB), 'it is truncated'],
    ['has no content checksum', frame(0x64, 0x40, STORED_AB + END), 'it is truncated'],
    ['is followed by something', frame(0x60, 0x40, STORED_AB + END + '00'), '1 bytes follow it'],
  ])('rejects a frame as corrupt if it %s', async (_name, bytes, reason) => {
    const result = LZ4.decompress(bytes, 100_000)
    await expect(result).rejects.toThrow(CorruptRecordError)
    await expect(result).rejects.toThrow(reason)
  })

  it.each([
    ['ends in a length of literals', 'f0ff'],
    ['ends in its literals', '3061'],
    ['ends in a distance', '106101'],
    ['ends behind a match', '10610100'],
    ['goes back by nothing', '10610000 1061'],
    ['goes back before its beginning', '10610200 1061'],
    ['ends in a length of a match', '1f610100ff'],
  ])('rejects a block as corrupt if it %s', async (_name, block) => {
    const length = Buffer.from([hex(block).length, 0, 0, 0]).toString('hex')
    const result = LZ4.decompress(frame(0x60, 0x40, length + block + END), 100_000)
    await expect(result).rejects.toThrow('a block cannot be decompressed')
  })

  it('rejects a block as corrupt if it becomes larger than the frame allows, whatever the limit', async () => {
    // 263 bytes that expand to slightly more than 64 KiB.
    const block = '1f610100' + 'ff'.repeat(258) + '00' + '1061'
    const length = Buffer.alloc(4)
    length.writeUInt32LE(hex(block).length)
    const bytes = frame(0x60, 0x40, length.toString('hex') + block + END)
    await expect(LZ4.decompress(bytes, 1_000_000)).rejects.toThrow('cannot be decompressed')
    await expect(LZ4.decompress(bytes, 100)).rejects.toThrow('more than the allowed 100 bytes')
  })
})

it.each([
  ['', 0x02cc5d05],
  ['a', 0x550d7456],
  ['abc', 0x32d153ff],
  ['Nobody inspects the spammish repetition', 0xe2293b2f],
])('XXH32 of %j is the value that its authors give', (text, hash) => {
  expect(xxh32(Buffer.from(text))).toBe(hash)
})

function checksumOf(text: string): string {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(xxh32(Buffer.from(text)))
  return bytes.toString('hex')
}
