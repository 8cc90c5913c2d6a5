import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { GrowableBytes } from '../../lib/testing/growable-bytes.ts'

function contentOf(text: string): GrowableBytes {
  const bytes = new GrowableBytes()
  bytes.write(Buffer.from(text), 0)
  return bytes
}

describe('GrowableBytes', () => {
  it('starts empty', () => {
    const bytes = new GrowableBytes()
    expect(bytes.sizeBytes).toBe(0)
    expect(bytes.toBuffer()).toEqual(Buffer.alloc(0))
    expect(bytes.read(Buffer.alloc(1), 0)).toBe(0)
  })

  it('reads the available bytes and returns a short count at the end', () => {
    const bytes = contentOf('abcdef')
    const target = Buffer.alloc(4, '.')
    expect(bytes.read(target, 4)).toBe(2)
    expect(target.toString()).toBe('ef..')
    expect(bytes.read(target, 6)).toBe(0)
    expect(bytes.read(target, 60)).toBe(0)
  })

  it('fills a gap with zeros, even where longer content was before', () => {
    const bytes = contentOf('abcdef')
    bytes.resize(1)
    bytes.write(Buffer.from('z'), 4)
    expect(bytes.toBuffer()).toEqual(Buffer.from('a\0\0\0z'))
    bytes.resize(1)
    bytes.resize(3)
    expect(bytes.toBuffer()).toEqual(Buffer.from('a\0\0'))
  })

  it('ignores an empty write at any position', () => {
    const bytes = contentOf('ab')
    bytes.write(Buffer.alloc(0), 1000)
    expect(bytes.toBuffer().toString()).toBe('ab')
  })

  it('flips one bit', () => {
    const bytes = contentOf('aaa')
    bytes.flipBit(1, 1)
    expect(bytes.toBuffer().toString()).toBe('aca')
  })

  it('returns a copy of its bytes', () => {
    const bytes = contentOf('abc')
    bytes.toBuffer().fill('x')
    expect(bytes.toBuffer().toString()).toBe('abc')
  })

  it('behaves like a plain array of bytes, and clones never affect each other', () => {
    const command = fc.oneof(
      fc.record({
        kind: fc.constant('write' as const),
        position: fc.nat(600),
        bytes: fc.uint8Array({ maxLength: 300 }),
      }),
      fc.record({ kind: fc.constant('resize' as const), sizeBytes: fc.nat(900) }),
      fc.record({ kind: fc.constant('zero' as const), start: fc.nat(900), length: fc.nat(300) }),
      fc.record({ kind: fc.constant('clone' as const) }),
    )
    const commands = fc.array(fc.tuple(fc.nat(3), command), { maxLength: 40 })
    fc.assert(
      fc.property(commands, (steps) => {
        const pairs: { real: GrowableBytes; model: number[] }[] = [
          { real: new GrowableBytes(), model: [] },
        ]
        for (const [pick, step] of steps) {
          const pair = pairs[pick % pairs.length]
          if (pair === undefined) {
            continue
          }
          const { real, model } = pair
          if (step.kind === 'write') {
            real.write(step.bytes, step.position)
            while (step.bytes.length > 0 && model.length < step.position) model.push(0)
            model.splice(step.position, step.bytes.length, ...step.bytes)
          } else if (step.kind === 'resize') {
            real.resize(step.sizeBytes)
            while (model.length < step.sizeBytes) model.push(0)
            model.length = step.sizeBytes
          } else if (step.kind === 'zero') {
            real.zero(step.start, step.start + step.length)
            const end = Math.min(model.length, step.start + step.length)
            for (let i = step.start; i < end; i += 1) model[i] = 0
          } else {
            pairs.push({ real: real.clone(), model: [...model] })
          }
          for (const { real: bytes, model: expected } of pairs) {
            expect(bytes.toBuffer().equals(Buffer.from(expected))).toBe(true)
          }
        }
      }),
    )
  })

  it('changes its digest with every change, and a clone has the same digest until one of the two changes', () => {
    const bytes = new GrowableBytes()
    bytes.write(Buffer.from('abc'), 0)
    const before = bytes.digest()
    const copy = bytes.clone()
    const changes: ((of: GrowableBytes) => void)[] = [
      (of) => {
        of.write(Buffer.from('x'), 1)
      },
      (of) => {
        of.zero(0, 1)
      },
      (of) => {
        of.resize(2)
      },
      (of) => {
        of.resize(5)
      },
      (of) => {
        of.flipBit(0, 0)
      },
    ]
    for (const change of changes) {
      const digest = bytes.digest()
      change(bytes)
      expect(bytes.digest()).not.toBe(digest)
    }
    expect(copy.digest()).toBe(before)
    copy.write(Buffer.from('z'), 0)
    copy.write(Buffer.from('a'), 0)
    expect(copy.digest()).toBe(before)
  })
})
