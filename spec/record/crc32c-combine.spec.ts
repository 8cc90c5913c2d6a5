import { expect, it } from 'vitest'
import { combineCrc32c } from '../../lib/record/crc32c-combine.ts'
import { continueCrc32c, crc32c } from '../../lib/record/crc32c.ts'

const bytes = Buffer.from(Array.from({ length: 3000 }, (_, each) => (each * 7919) & 0xff))

it.each([0, 1, 2, 3, 20, 21, 64, 255, 256, 1000, 2999, 3000])(
  'combines the checksums of the first %i bytes and of the rest into that of all bytes',
  (length) => {
    const first = crc32c(bytes, 0, length)
    const rest = bytes.subarray(length)
    expect(combineCrc32c(first, crc32c(rest), rest.length)).toBe(crc32c(bytes))
    expect(continueCrc32c(first, rest)).toBe(crc32c(bytes))
  },
)

it('combines checksums for lengths that replace each other in the cache', () => {
  for (const length of [1024, 0, 2048, 0, 40, 1064, 40, 2088]) {
    const split = bytes.length - length
    const first = crc32c(bytes, 0, split)
    expect(combineCrc32c(first, crc32c(bytes, split), length)).toBe(crc32c(bytes))
  }
})

it('combines checksums of more than 2^32 bytes', () => {
  const zeros = { sum: crc32c(Buffer.alloc(1)), length: 1 }
  while (zeros.length < 2 ** 33) {
    zeros.sum = combineCrc32c(zeros.sum, zeros.sum, zeros.length)
    zeros.length *= 2
  }
  const twice = combineCrc32c(zeros.sum, zeros.sum, zeros.length)
  const oneByOne = combineCrc32c(
    combineCrc32c(crc32c(bytes), zeros.sum, zeros.length),
    zeros.sum,
    zeros.length,
  )
  expect(combineCrc32c(crc32c(bytes), twice, 2 ** 34)).toBe(oneByOne)
})
