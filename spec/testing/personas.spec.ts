import { describe, expect, it } from 'vitest'
import { PERSONAS, type Persona } from '../../lib/testing/crash-model.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

/** A file of 100 durable and 1400 unsynced bytes, in two writes, after many power losses. */
async function outcomes(persona: Persona): Promise<Buffer[]> {
  const fileSystem = new SimulatedFileSystem({ persona })
  fileSystem.writeFile('/x', Buffer.alloc(100, 'd'))
  const file = await fileSystem.open('/x', 'update')
  await file.write([Buffer.alloc(700, 'a')], 100)
  await file.write([Buffer.alloc(700, 'b')], 800)
  return Array.from({ length: 200 }, (_, seed) =>
    fileSystem.restart('power', { unsynced: 'random', seed }).readFile('/x'),
  )
}

describe.each(PERSONAS)('a power loss on %s', (persona) => {
  it('keeps the bytes that a sync covered, and may keep or lose each of the others', async () => {
    const found = await outcomes(persona)
    for (const content of found) {
      expect(content.subarray(0, 100).equals(Buffer.alloc(100, 'd'))).toBe(true)
    }
    expect(found.some((content) => content[150] === 0x61 && content[1400] === 0x62)).toBe(true)
    expect(found.some((content) => content[150] !== 0x61 && content[1400] === 0x62)).toBe(true)
    expect(found.some((content) => content[150] === 0x61 && content[1400] !== 0x62)).toBe(true)
  })
})

describe('a power loss on zero-hole', () => {
  it('keeps the size of written files, with zeros for lost bytes', async () => {
    for (const content of await outcomes('zero-hole')) {
      expect(content.length).toBe(1500)
      const lost = content.subarray(100).filter((byte) => byte !== 0x61 && byte !== 0x62)
      expect(lost.every((byte) => byte === 0)).toBe(true)
    }
  })
})

describe('a power loss on preallocated', () => {
  it('leaves zeros after the end of a file that was growing, up to a whole 4 KiB', async () => {
    for (const content of await outcomes('preallocated')) {
      expect(content.length).toBe(4096)
      expect(content.subarray(1500).every((byte) => byte === 0)).toBe(true)
    }
  })

  it('keeps the size of a file that was only overwritten', async () => {
    const fileSystem = new SimulatedFileSystem({ persona: 'preallocated' })
    fileSystem.writeFile('/x', Buffer.alloc(100, 'd'))
    const file = await fileSystem.open('/x', 'update')
    await file.write([Buffer.from('over')], 10)
    for (let seed = 0; seed < 20; seed += 1) {
      expect(fileSystem.restart('power', { seed }).readFile('/x').length).toBe(100)
    }
  })
})
