import { describe, expect, it } from 'vitest'
import { BufferView, viewConstructor } from '../../lib/record/buffer-view.ts'

describe('BufferView', () => {
  const bytes = Buffer.from('a record of bytes')
  const { buffer: memory, byteOffset } = bytes

  it('creates a buffer like any other, over the same memory', () => {
    const view = new BufferView(memory, byteOffset + 2, 6)

    expect(view.toString()).toBe('record')
    expect(Object.getPrototypeOf(view)).toBe(Buffer.prototype)
    expect(view).toStrictEqual(Buffer.from('record'))
    view[0] = 'R'.charCodeAt(0)
    expect(bytes.toString()).toBe('a Record of bytes')
  })

  it('throws a RangeError for bytes outside the memory', () => {
    expect(() => new BufferView(new ArrayBuffer(8), 4, 5)).toThrow(RangeError)
  })

  it.each([
    ['there is none', undefined],
    ['it makes plain arrays', Uint8Array],
  ])('creates buffers even if the species of Buffer cannot be used: %s', (_, species) => {
    const View = viewConstructor(species)
    const view = new View(memory, byteOffset + 12, 5)

    expect(view).toStrictEqual(Buffer.from('bytes'))
    expect(view.buffer).toBe(memory)
  })
})
