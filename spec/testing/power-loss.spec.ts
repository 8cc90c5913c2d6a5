import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Persona } from '../../lib/testing/crash-model.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

/** The other two keep less: `spec/testing/personas.spec.ts`. */
const PERSONAS: readonly Persona[] = ['strict-posix', 'ext4', 'xfs']

/** What a reader finds after a power loss, once for each of many seeds, as text by path. */
function outcomes(fs: SimulatedFileSystem, count = 60): Record<string, string>[] {
  return Array.from({ length: count }, (_, seed) => {
    const files = fs.restart('power', { seed }).snapshot()
    return Object.fromEntries([...files].map(([path, bytes]) => [path, bytes.toString('latin1')]))
  })
}

function distinct(values: readonly unknown[]): string[] {
  return [...new Set(values.map((value) => JSON.stringify(value)))].sort()
}

/** Writes `text` from the start of the file at `path`, which is created when absent. */
async function put(fs: SimulatedFileSystem, path: string, text: string, sync: boolean) {
  const file = await fs.open(path, 'create')
  await file.write([Buffer.from(text)], 0)
  if (sync) {
    await file.datasync()
  }
  await file.close()
}

describe('a power loss while no call is in progress', () => {
  it('stops the machine, and can be repeated with different outcomes for the same moment', async () => {
    const fs = new SimulatedFileSystem()
    fs.writeFile('/x', Buffer.alloc(0))
    await put(fs, '/x', 'unsynced', false)
    const found = outcomes(fs)
    expect(distinct(found).length).toBeGreaterThan(3)
    await expect(fs.stat('/x')).rejects.toThrow('restarted')
    expect(fs.readFile('/x').toString()).toBe('unsynced')
  })

  it('has the same outcome for the same seed', async () => {
    const outcome = async () => {
      const fs = new SimulatedFileSystem({ seed: 7 })
      await put(fs, '/x', 'unsynced'.repeat(300), false)
      await put(fs, '/y', 'unsynced'.repeat(300), false)
      return [1, 2, 3, 4].map(() => [...fs.restart('power').snapshot()])
    }
    expect(await outcome()).toEqual(await outcome())
  })

  it('changes no byte that was overwritten with an equal one', async () => {
    for (const persona of PERSONAS) {
      const fs = new SimulatedFileSystem({ persona, sectorBytes: 4 })
      fs.writeFile('/x', Buffer.from('durable'))
      await put(fs, '/x', 'durable, and more', false)
      for (const files of outcomes(fs)) expect(files['/x']?.slice(0, 7), persona).toBe('durable')
    }
  })

  it('leaves a machine on which everything found is durable', async () => {
    const fs = new SimulatedFileSystem()
    await put(fs, '/x', 'unsynced'.repeat(300), false)
    for (let seed = 0; seed < 20; seed += 1) {
      const next = fs.restart('power', { seed })
      const found = next.snapshot()
      expect(next.restart('power').snapshot()).toEqual(found)
    }
  })

  it('leaves at most the completed part of a torn write', async () => {
    const fs = new SimulatedFileSystem({ persona: 'xfs' })
    fs.writeFile('/x', Buffer.alloc(0))
    const file = await fs.open('/x', 'update')
    fs.crashAt(1, { when: 'torn', parts: 3 })
    await expect(file.write([Buffer.from('abcdef')], 0)).rejects.toThrow()
    const found = outcomes(fs).map((files) => files['/x'] ?? '')
    expect(found).toContain('abc')
    expect(found.filter((text) => text.length > 3)).toEqual([])
  })

  it('keeps what was written back without a sync because too much was unsynced', async () => {
    const fs = new SimulatedFileSystem()
    fs.writeFile('/x', Buffer.alloc(0))
    const file = await fs.open('/x', 'update')
    const chunk = Buffer.alloc(1024 * 1024, 1)
    for (let i = 0; i < 17; i += 1) {
      await file.write([chunk], i * chunk.length)
    }
    const left = fs.restart('power', { unsynced: 'lost' }).readFile('/x')
    expect(left.equals(Buffer.alloc(17 * chunk.length, 1))).toBe(true)
  })
})

/** Calls on one file whose name is durable. */
type FileStep =
  | { readonly kind: 'write'; readonly position: number; readonly bytes: Uint8Array }
  | { readonly kind: 'truncate'; readonly sizeBytes: number }
  | { readonly kind: 'sync' }

const fileSteps: fc.Arbitrary<FileStep[]> = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('write' as const),
        position: fc.nat(60),
        bytes: fc.uint8Array({ minLength: 1, maxLength: 40, min: 1 }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant('truncate' as const), sizeBytes: fc.nat(90) }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('sync' as const) }) },
  ),
  { maxLength: 12 },
)

interface Ran {
  readonly fs: SimulatedFileSystem
  readonly memory: readonly number[]
  readonly durable: readonly number[]
  readonly unsynced: readonly FileStep[]
}

/** Runs `steps` on `/x` and on a plain array of bytes. */
async function run(steps: readonly FileStep[], persona: Persona): Promise<Ran> {
  const fs = new SimulatedFileSystem({ persona, sectorBytes: 8 })
  fs.writeFile('/x', Buffer.alloc(0))
  const file = await fs.open('/x', 'update')
  let memory: number[] = []
  let durable: number[] = []
  let unsynced: FileStep[] = []
  for (const step of steps) {
    if (step.kind === 'sync') {
      await file.datasync()
      durable = [...memory]
      unsynced = []
      continue
    }
    unsynced.push(step)
    if (step.kind === 'write') {
      await file.write([step.bytes], step.position)
      memory = resized(memory, Math.max(memory.length, step.position + step.bytes.length))
      memory.splice(step.position, step.bytes.length, ...step.bytes)
    } else {
      await file.truncate(step.sizeBytes)
      memory = resized(memory, step.sizeBytes)
    }
  }
  return { fs, memory, durable, unsynced }
}

function resized(bytes: readonly number[], sizeBytes: number): number[] {
  return Array.from({ length: sizeBytes }, (_, i) => bytes[i] ?? 0)
}

/** Every value that the byte at `position` may have, `null` for any. */
function allowedAt(position: number, ran: Ran, persona: Persona): Set<number> | null {
  const allowed = new Set([ran.durable[position] ?? 0])
  for (const step of ran.unsynced) {
    if (step.kind === 'truncate' && position >= step.sizeBytes) {
      allowed.add(0)
    }
    if (step.kind === 'write') {
      const byte = step.bytes[position - step.position]
      if (byte !== undefined) {
        if (persona === 'strict-posix') {
          return null
        }
        allowed.add(byte).add(0)
      }
    }
  }
  return allowed
}

describe.each(PERSONAS)('file content after a power loss (%s)', (persona) => {
  it('equals the synced bytes if all unsynced changes are lost, and all written bytes if they are kept', async () => {
    await fc.assert(
      fc.asyncProperty(fileSteps, async (steps) => {
        const { fs, memory, durable } = await run(steps, persona)
        expect([...fs.restart('power', { unsynced: 'lost' }).readFile('/x')]).toEqual(durable)
        expect([...fs.restart('power', { unsynced: 'kept' }).readFile('/x')]).toEqual(memory)
        expect([...fs.restart('process').readFile('/x')]).toEqual(memory)
      }),
      { numRuns: 100 },
    )
  })

  it('has at every position the synced byte or one that an unsynced change allows', async () => {
    await fc.assert(
      fc.asyncProperty(fileSteps, fc.nat(), async (steps, seed) => {
        const ran = await run(steps, persona)
        const found = [...ran.fs.restart('power', { seed }).readFile('/x')]
        const sizes = ran.unsynced.map((step) =>
          step.kind === 'write'
            ? step.position + step.bytes.length
            : step.kind === 'truncate'
              ? step.sizeBytes
              : 0,
        )
        const cuts = ran.unsynced.map((it) => (it.kind === 'truncate' ? it.sizeBytes : Infinity))
        expect(found.length).toBeLessThanOrEqual(Math.max(ran.durable.length, ...sizes))
        expect(found.length).toBeGreaterThanOrEqual(Math.min(ran.durable.length, ...cuts))
        for (const [position, byte] of found.entries()) {
          const allowed = allowedAt(position, ran, persona)
          expect(allowed === null || allowed.has(byte), `position ${position}`).toBe(true)
        }
      }),
      { numRuns: 300 },
    )
  })

  it('keeps bytes that were synced and not written again', async () => {
    const fs = new SimulatedFileSystem({ persona })
    fs.writeFile('/x', Buffer.alloc(0))
    const file = await fs.open('/x', 'update')
    await file.write([Buffer.from('synced')], 0)
    await file.datasync()
    await file.write([Buffer.from('U'.repeat(2000))], 6)
    for (const { '/x': text = '' } of outcomes(fs, 100)) {
      expect(text.slice(0, 6)).toBe('synced')
    }
  })

  it('has each sector of a write entirely old, new or zeroed, or as garbage on strict-posix only', async () => {
    const fs = new SimulatedFileSystem({ persona, sectorBytes: 4 })
    fs.writeFile('/x', Buffer.from('old!'.repeat(6)))
    const file = await fs.open('/x', 'update')
    await file.write([Buffer.from('NEW?'.repeat(6).slice(2, 22))], 2)
    const units = Array.from({ length: 6 }, () => new Set<string>())
    for (const { '/x': text = '' } of outcomes(fs, 300)) {
      expect([text.length, text.slice(0, 2), text.slice(22)]).toEqual([24, 'ol', 'd!'])
      for (const [i, seen] of units.entries()) {
        seen.add(text.slice(Math.max(2, i * 4), Math.min(22, i * 4 + 4)))
      }
    }
    for (const [i, seen] of units.entries()) {
      const part = (text: string) => (i === 0 ? text.slice(2) : i === 5 ? text.slice(0, 2) : text)
      const clean = ['old!', 'NEW?', '\0\0\0\0'].map(part)
      expect(clean.filter((text) => !seen.has(text))).toEqual([])
      const garbage = [...seen].filter((text) => !clean.includes(text))
      expect(garbage.length > 0).toBe(persona === 'strict-posix')
    }
  })

  it('may have a prefix, a suffix, or all but a hole of a long write, at any size', async () => {
    const fs = new SimulatedFileSystem({ persona, sectorBytes: 1 })
    fs.writeFile('/x', Buffer.from('-'.repeat(24)))
    const file = await fs.open('/x', 'update')
    await file.write([Buffer.from('+'.repeat(30))], 0)
    const found = outcomes(fs, 600).map(({ '/x': text = '' }) => text)
    const shapes = found.map((text) =>
      text.slice(0, 24).replaceAll(/[^+]+/g, '-').replaceAll(/\++/g, '+'),
    )
    const countOf = (shape: string) => shapes.filter((it) => it === shape).length
    for (const shape of ['+', '-', '+-', '-+', '+-+']) {
      expect(countOf(shape), shape).toBeGreaterThan(20)
    }
    expect(new Set(found.map((text) => text.length))).toEqual(new Set([24, 25, 26, 27, 28, 29, 30]))
  })

  it('has zeros if a truncate and a later extension were both kept', async () => {
    const fs = new SimulatedFileSystem({ persona })
    fs.writeFile('/x', Buffer.from('0123456789'))
    const file = await fs.open('/x', 'update')
    await file.truncate(8)
    await file.truncate(10)
    expect(distinct(outcomes(fs))).toEqual(
      distinct([{ '/x': '0123456789' }, { '/x': '01234567' }, { '/x': '01234567\0\0' }]),
    )
  })

  it('may lose an unsynced truncate, but never a synced one', async () => {
    const fs = new SimulatedFileSystem({ persona })
    fs.writeFile('/x', Buffer.from('0123456789'))
    const file = await fs.open('/x', 'update')
    await file.truncate(4)
    expect(distinct(outcomes(fs.fork()))).toEqual(
      distinct([{ '/x': '0123' }, { '/x': '0123456789' }]),
    )
    await file.sync()
    expect(distinct(outcomes(fs))).toEqual(distinct([{ '/x': '0123' }]))
  })
})

describe.each(PERSONAS)('file names after a power loss (%s)', (persona) => {
  it('may include an unlinked file until the directory is synced', async () => {
    const fs = new SimulatedFileSystem({ persona })
    fs.writeFile('/d/x', Buffer.from('x'))
    await fs.unlink('/d/x')
    expect(distinct(outcomes(fs.fork()))).toEqual(distinct([{}, { '/d/x': 'x' }]))
    await fs.syncDirectory('/d')
    expect(distinct(outcomes(fs))).toEqual(distinct([{}]))
  })

  it('are all old or all new after a rename, and new once the directory is synced', async () => {
    const fs = new SimulatedFileSystem({ persona })
    fs.writeFile('/d/x', Buffer.from('old'))
    fs.writeFile('/d/x.tmp', Buffer.from('new'))
    await fs.rename('/d/x.tmp', '/d/x')
    const [reverted, renamed] = [{ '/d/x': 'old', '/d/x.tmp': 'new' }, { '/d/x': 'new' }]
    expect(distinct(outcomes(fs.fork()))).toEqual(distinct([reverted, renamed]))
    await fs.syncDirectory('/d')
    expect(distinct(outcomes(fs))).toEqual(distinct([renamed]))
  })

  it('include nothing in a new directory whose own name is lost', async () => {
    const fs = new SimulatedFileSystem({ persona })
    await fs.createDirectory('/a/b')
    await fs.syncDirectory('/a')
    await put(fs, '/a/b/x', 'x', false)
    const top = fs.fork()
    expect([...top.restart('power', { unsynced: 'lost' }).snapshot()]).toEqual([])
    expect(await top.restart('power', { unsynced: 'lost' }).stat('/a')).toEqual(
      persona === 'strict-posix' ? null : expect.objectContaining({ kind: 'directory' }),
    )
    await put(fs, '/a/b/x', 'x', true)
    await fs.syncDirectory('/a/b')
    await fs.syncDirectory('/')
    expect(distinct(outcomes(fs))).toEqual(distinct([{ '/a/b/x': 'x' }]))
  })

  it('may include a removed directory, which is empty', async () => {
    const fs = new SimulatedFileSystem({ persona })
    fs.writeFile('/d/x', Buffer.from('x'))
    await fs.unlink('/d/x')
    await fs.syncDirectory('/d')
    await fs.removeDirectory('/d')
    const found = await Promise.all(
      Array.from({ length: 20 }, async (_, seed) =>
        (await fs.restart('power', { seed }).list('/')).map(({ name }) => name).join(),
      ),
    )
    expect(new Set(found)).toEqual(new Set(['', 'd']))
  })

  it('include a new file after its sync only if the file system guarantees that', async () => {
    const fs = new SimulatedFileSystem({ persona })
    await fs.createDirectory('/a/b')
    await put(fs, '/a/b/x', 'x', true)
    await put(fs, '/a/b/y', 'y', false)
    const found = fs.restart('power', { unsynced: 'lost' }).snapshot()
    expect([...found.keys()]).toEqual(persona === 'strict-posix' ? [] : ['/a/b/x'])
  })

  it('each refer to content that they had at some time', async () => {
    const history: Record<string, Set<string>> = {}
    const fs = new SimulatedFileSystem({ persona })
    const note = () => {
      for (const name of ['/d/a', '/d/b', '/d/c']) {
        const content = fs.snapshot().get(name)?.toString() ?? 'nothing'
        history[name] = (history[name] ?? new Set<string>()).add(content)
      }
    }
    fs.writeFile('/d/a', Buffer.from('1'))
    note()
    for (const [from, to] of [
      ['a', 'b'],
      ['b', 'c'],
    ] as const) {
      await fs.rename(`/d/${from}`, `/d/${to}`)
      note()
      await put(fs, `/d/${from}`, from, true)
      note()
    }
    await fs.unlink('/d/b')
    note()
    const found = outcomes(fs, 200)
    for (const files of found) {
      for (const [name, contents] of Object.entries(history)) {
        const content = files[name] ?? 'nothing'
        expect(contents.has(content), `${name} is ${content}`).toBe(true)
      }
    }
    expect(found.some((files) => !Object.values(files).includes('1'))).toBe(false)
    expect(distinct(found).length).toBeGreaterThan(1)
  })
})

describe('a file that was renamed over another before it was synced', () => {
  const renameOver = async (persona: Persona) => {
    const fs = new SimulatedFileSystem({ persona })
    fs.writeFile('/d/x', Buffer.from('old'))
    await put(fs, '/d/x.tmp', 'new', false)
    await fs.rename('/d/x.tmp', '/d/x')
    await fs.syncDirectory('/d')
    return new Set(outcomes(fs).map((files) => files['/d/x']))
  }

  it('may be empty on xfs and strict-posix', async () => {
    expect(await renameOver('xfs')).toContain('')
    expect(await renameOver('strict-posix')).toContain('')
  })

  it('has its content on ext4', async () => {
    expect(await renameOver('ext4')).toEqual(new Set(['new']))
  })
})

describe('unsynced names in several directories', () => {
  const create = async (persona: Persona) => {
    const fs = new SimulatedFileSystem({ persona })
    for (const directory of ['/a', '/b']) {
      fs.writeFile(`${directory}/keep`, Buffer.alloc(0))
    }
    for (const path of ['/a/1', '/b/2', '/a/3']) {
      await fs.open(path, 'create')
    }
    return distinct(
      outcomes(fs).map((files) =>
        Object.keys(files)
          .filter((path) => !path.endsWith('keep'))
          .map((path) => Number(path.at(-1)))
          .sort(),
      ),
    )
  }

  it('survive in any combination on strict-posix', async () => {
    expect(await create('strict-posix')).toEqual(
      distinct([[], [1], [2], [3], [1, 2], [1, 3], [2, 3], [1, 2, 3]]),
    )
  })

  it('survive as a prefix in the order of their creation on ext4 and xfs', async () => {
    expect(await create('ext4')).toEqual(distinct([[], [1], [1, 2], [1, 2, 3]]))
    expect(await create('xfs')).toEqual(distinct([[], [1], [1, 2], [1, 2, 3]]))
  })
})

describe('a move between directories', () => {
  const move = async (persona: Persona, synced: string) => {
    const fs = new SimulatedFileSystem({ persona })
    fs.writeFile('/a/x', Buffer.from('x'))
    fs.writeFile('/b/y', Buffer.from('y'))
    await fs.rename('/a/x', '/b/x')
    if (synced !== '') {
      await fs.syncDirectory(synced)
    }
    return distinct(outcomes(fs).map((files) => Object.keys(files)))
  }
  const [before, after] = [
    ['/a/x', '/b/y'],
    ['/b/x', '/b/y'],
  ]

  it.each(PERSONAS)('is kept or lost as a whole without a sync (%s)', async (persona) => {
    expect(await move(persona, '')).toEqual(distinct([before, after]))
  })

  it('becomes durable on ext4 and xfs with a sync of either directory', async () => {
    expect(await move('ext4', '/a')).toEqual(distinct([after]))
    expect(await move('xfs', '/b')).toEqual(distinct([after]))
  })

  it('can lose the file on strict-posix when only the old directory is synced', async () => {
    expect(await move('strict-posix', '/a')).toEqual(distinct([['/b/y'], after]))
  })

  it('can leave the file in both directories on strict-posix when only the new one is synced', async () => {
    expect(await move('strict-posix', '/b')).toEqual(distinct([['/a/x', '/b/x', '/b/y'], after]))
  })
})
