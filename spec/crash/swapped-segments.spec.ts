import { describe, expect, it } from 'vitest'
import { completeSwaps, swapIn } from '../../lib/storage/swap-files.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf, DIR, openLog, pathOf, readAll, upTo } from '../storage/log-fixtures.ts'

/** The base offsets of segments, and the end of the last one. */
interface Layout {
  readonly name: string
  readonly originals: readonly number[]
  readonly replacements: readonly number[]
  readonly end: number
}

const LAYOUTS: readonly Layout[] = [
  { name: 'two by one', originals: [0, 3], replacements: [0], end: 5 },
  { name: 'three by one', originals: [0, 2, 5], replacements: [0], end: 7 },
  { name: 'two by two that share one', originals: [0, 3], replacements: [0, 2], end: 5 },
  { name: 'one by two', originals: [0], replacements: [0, 2], end: 4 },
  { name: 'three by three', originals: [0, 2, 5], replacements: [0, 3, 4], end: 7 },
  {
    name: 'three by three with a base in common',
    originals: [0, 2, 4],
    replacements: [0, 1, 4],
    end: 6,
  },
  { name: 'each by one of its own', originals: [0, 2], replacements: [0, 2], end: 4 },
]

const KINDS = ['index', 'log'] as const

/** Creates a log of which a part is about to be replaced, followed by a segment that is not. */
function diskWith(
  { originals, replacements, end }: Layout,
  kinds: readonly string[] = KINDS,
): SimulatedFileSystem {
  const disk = new SimulatedFileSystem()
  const put = (bases: readonly number[], source: string, suffix: string): void => {
    for (const [slot, base] of bases.entries()) {
      const count = (bases[slot + 1] ?? end) - base
      const batches = upTo(count).map((each) =>
        bytesOf({ baseOffset: base + each, values: [`${source}${base + each}`] }),
      )
      for (const kind of kinds) {
        const bytes = kind === 'log' ? Buffer.concat(batches) : Buffer.alloc(0)
        disk.writeFile(pathOf(base, `${kind}${suffix}`), bytes)
      }
    }
  }
  put(originals, 'old', '')
  put(replacements, 'new', '.cleaned')
  disk.writeFile(pathOf(end), bytesOf({ baseOffset: end, values: [`old${end}`] }))
  return disk
}

/** A change of a name, as a line of a disk's operation log. */
const NAMING = /^#\d+ (rename|unlink) (\S+)(?: -> (\S+))?/
const SYNC = /^#\d+ syncDirectory /

/** Returns the changes of names that `run` makes, in groups that are separated by syncs. */
async function namingsOf(
  disk: SimulatedFileSystem,
  run: (disk: SimulatedFileSystem) => Promise<void>,
): Promise<string[][]> {
  const dry = disk.fork()
  await run(dry)
  const groups: string[][] = [[]]
  for (const line of dry.operations) {
    if (SYNC.test(line)) groups.push([])
    else if (NAMING.test(line)) groups.at(-1)?.push(line)
  }
  return groups.filter((group) => group.length > 0)
}

async function apply(disk: SimulatedFileSystem, lines: readonly string[]): Promise<void> {
  for (const line of lines) {
    const [, kind, path = '', to = ''] = NAMING.exec(line) ?? []
    await (kind === 'rename' ? disk.rename(path, to) : disk.unlink(path))
  }
  await disk.syncDirectory(DIR)
}

/** Returns every subset, including the empty and the full one. */
function subsetsOf<T>(all: readonly T[]): T[][] {
  return upTo(2 ** all.length).map((bits) => all.filter((_, slot) => (bits >> slot) % 2 === 1))
}

async function verify(disk: SimulatedFileSystem, { end }: Layout, trace: string): Promise<void> {
  const records = await readAll(await openLog(disk))
  expect(
    records.map(({ offset, value }) => `${offset} ${String(value).slice(3)}`),
    trace,
  ).toEqual(upTo(end + 1).map((offset) => `${offset} ${offset}`))
}

/** Checks what a power loss leaves if it keeps any subset of the names not yet synced. */
async function verifySubsets(
  layout: Layout,
  groups: readonly (readonly string[])[],
): Promise<number> {
  const disk = diskWith(layout)
  let count = 0
  for (const group of groups) {
    for (const subset of subsetsOf(group)) {
      const left = disk.fork()
      await apply(left, subset)
      await verify(left.fork(), layout, `kept of\n${group.join('\n')}\nare\n${subset.join('\n')}`)
      count += 1
    }
    await apply(disk, group)
  }
  await verify(disk, layout, 'at the end')
  return count
}

describe.each(LAYOUTS)('a replacement of segments: $name', (layout) => {
  it('loses no record, whichever renames a power loss keeps', async () => {
    const groups = await namingsOf(diskWith(layout), (disk) => swapIn(disk, DIR))
    expect(groups.length).toBeGreaterThan(1)
    expect(await verifySubsets(layout, groups)).toBeGreaterThan(10)
  })

  it('is decided by one rename of its own, after all other renames are durable', async () => {
    const groups = await namingsOf(diskWith(layout), (disk) => swapIn(disk, DIR))
    const lowest = pathOf(layout.replacements[0] ?? 0)
    expect(groups[1]).toEqual([expect.stringContaining(`${lowest}.cleaned -> ${lowest}.swap`)])
    expect(groups[0]).toHaveLength(layout.replacements.length * KINDS.length - 1)
  })

  it('loses no record even if all files were renamed without a sync, as Kafka does', async () => {
    const groups = await namingsOf(diskWith(layout), (disk) => swapIn(disk, DIR))
    const renames = groups.flat().filter((line) => line.endsWith('.swap'))
    expect(renames).toHaveLength(layout.replacements.length * KINDS.length)
    await verifySubsets(layout, [renames])
  })

  it('is finished or undone even if its recovery is interrupted', async () => {
    // Three segments with their indexes would have too many subsets to try.
    const kinds = layout.replacements.length < 3 ? KINDS : ['log']
    const groups = await namingsOf(diskWith(layout, kinds), (disk) => swapIn(disk, DIR))
    const renames = groups.flat().filter((line) => line.endsWith('.swap'))
    for (const subset of subsetsOf(renames)) {
      const left = diskWith(layout, kinds)
      await apply(left, subset)
      const recovery = await namingsOf(left, (disk) => completeSwaps(disk, DIR))
      for (const group of recovery) {
        for (const kept of subsetsOf(group)) {
          const again = left.fork()
          await apply(again, kept)
          const trace = `renamed\n${subset.join('\n')}\nthen of\n${group.join('\n')}\n${kept.join('\n')}`
          await verify(again, layout, trace)
        }
        await apply(left, group)
      }
    }
  })
})
