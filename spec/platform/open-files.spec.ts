import { expect, it } from 'vitest'
import {
  OpenFiles,
  openFilesOf,
  shareOpenFiles,
  type ParkableFile,
} from '../../lib/platform/open-files.ts'
import { systemError } from '../../lib/platform/system-error.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

class FakeFile implements ParkableFile {
  isOpen = true
  isBusy = false
  wasUsed = false
  /** How often it was asked whether it may be closed. */
  looks = 0
  readonly #files: OpenFiles

  constructor(files: OpenFiles) {
    this.#files = files
  }

  get isIdle(): boolean {
    this.looks += 1
    return this.isOpen && !this.isBusy
  }

  takeUse(): boolean {
    const { wasUsed } = this
    this.wasUsed = false
    return wasUsed
  }

  park(): Promise<void> {
    this.isOpen = false
    this.#files.closed(this)
    return Promise.resolve()
  }
}

async function opened(files: OpenFiles, count: number): Promise<FakeFile[]> {
  const all = Array.from({ length: count }, () => new FakeFile(files))
  for (const file of all) await files.opened(file)
  return all
}

function openOf(all: readonly FakeFile[]): boolean[] {
  return all.map(({ isOpen }) => isOpen)
}

/** An open that fails this many times before it succeeds. */
function failing(
  code: string,
  times: number,
): { calls: () => number; open: () => Promise<string> } {
  let calls = 0
  const open = (): Promise<string> => {
    calls += 1
    return calls > times
      ? Promise.resolve('opened')
      : Promise.reject(systemError(code, 'open', '/f', 'no more descriptors'))
  }
  return { calls: () => calls, open }
}

it('closes the files that were opened first when there are too many', async () => {
  expect(openOf(await opened(new OpenFiles(2), 4))).toEqual([false, false, true, true])
})

it('spares a file that was used since it was last examined, but only once', async () => {
  const files = new OpenFiles(3)
  const all = await opened(files, 3)
  const [first] = all as [FakeFile]
  first.wasUsed = true
  await opened(files, 1)
  expect(openOf(all)).toEqual([true, false, true])
  await opened(files, 3)
  expect(openOf(all)).toEqual([false, false, false])
})

it('closes a file even if all of them were used', async () => {
  const files = new OpenFiles(3)
  const all = await opened(files, 3)
  for (const file of all) file.wasUsed = true
  await opened(files, 1)
  expect(openOf(all).filter(Boolean)).toHaveLength(3)
})

it('leaves files open while they are in use, and closes them later', async () => {
  const files = new OpenFiles(2)
  const all = await opened(files, 2)
  for (const file of all) file.isBusy = true
  const more = new FakeFile(files)
  more.isBusy = true
  await files.opened(more)
  await opened(files, 1)
  expect([...openOf(all), more.isOpen]).toEqual([true, true, true])
  for (const file of all) file.isBusy = false
  await opened(files, 1)
  expect(openOf(all)).toEqual([false, false])
})

it('examines only a few of many files that cannot be closed, but all of them in the end', async () => {
  const files = new OpenFiles(2)
  const all = Array.from({ length: 1000 }, () => new FakeFile(files))
  for (const file of all) {
    file.isBusy = true
    await files.opened(file)
  }
  const looks = (): number => all.reduce((sum, file) => sum + file.looks, 0)
  const before = looks()
  await opened(files, 1)
  expect(looks() - before).toBeLessThan(100)
  for (const file of all) file.isBusy = false
  await opened(files, 100)
  expect(openOf(all)).not.toContain(true)
})

it('does not count files that others have closed', async () => {
  const files = new OpenFiles(2)
  const [first, second] = (await opened(files, 2)) as [FakeFile, FakeFile]
  await first.park()
  await opened(files, 1)
  expect(second.isOpen).toBe(true)
  // Without notice.
  second.isOpen = false
  const last = await opened(files, 1)
  expect(openOf(last)).toEqual([true])
})

it.each(['EMFILE', 'ENFILE'])(
  'closes half of the files after %s, lowers the limit for good, and tries once more',
  async (code) => {
    const files = new OpenFiles(100)
    const all = await opened(files, 40)
    const { calls, open } = failing(code, 1)
    expect(await files.withRoom(open)).toBe('opened')
    expect([calls(), openOf(all).filter(Boolean).length, files.maxFiles]).toEqual([2, 20, 20])
    await opened(files, 10)
    expect(openOf(all).filter(Boolean)).toHaveLength(10)
  },
)

it('makes room only once for several opens that fail at the same time', async () => {
  const files = new OpenFiles(100)
  const all = await opened(files, 40)
  const opens = Array.from({ length: 5 }, () => files.withRoom(failing('EMFILE', 1).open))
  expect(await Promise.all(opens)).toEqual(Array.from({ length: 5 }, () => 'opened'))
  expect(openOf(all).filter(Boolean)).toHaveLength(20)
})

it('keeps a limit of a few open files, however little room there is', async () => {
  const files = new OpenFiles(100)
  for (let round = 0; round < 5; round += 1) {
    await opened(files, 4)
    await files.withRoom(failing('EMFILE', 1).open)
  }
  expect(files.maxFiles).toBe(8)
})

it('rejects with the error if nothing can be closed, or if that does not help', async () => {
  const files = new OpenFiles(100)
  const alone = failing('EMFILE', 1)
  await expect(files.withRoom(alone.open)).rejects.toMatchObject({ code: 'EMFILE' })
  expect(alone.calls()).toBe(1)
  await opened(files, 2)
  const hopeless = failing('EMFILE', 9)
  await expect(files.withRoom(hopeless.open)).rejects.toMatchObject({ code: 'EMFILE' })
  expect(hopeless.calls()).toBe(2)
})

it('closes nothing after other errors', async () => {
  const files = new OpenFiles(100)
  const all = await opened(files, 2)
  await expect(files.withRoom(failing('EIO', 1).open)).rejects.toMatchObject({ code: 'EIO' })
  expect(openOf(all)).toEqual([true, true])
})

it('returns one object per file system, unless that shares the one of another', () => {
  const [first, second] = [new SimulatedFileSystem(), new SimulatedFileSystem()]
  expect(openFilesOf(first)).toBe(openFilesOf(first))
  expect(openFilesOf(first)).not.toBe(openFilesOf(second))
  shareOpenFiles(second, openFilesOf(first))
  expect(openFilesOf(second)).toBe(openFilesOf(first))
})
