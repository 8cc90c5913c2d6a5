import { existsSync, promises } from 'node:fs'
import {
  link,
  mkdir,
  readdir,
  readFile,
  stat,
  symlink,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { encodeOwnerRecord } from '../../lib/platform/lock-owner.ts'
import {
  createLockFile,
  readLockFile,
  removeLeftovers,
  replaceAbandoned,
  type AbandonmentCheck,
} from '../../lib/platform/lock-takeover.ts'
import { systemError } from '../../lib/platform/system-error.ts'
import { applyToBuiltins } from './builtin-spies.ts'
import { foreignRecord } from './lock-record.ts'
import { temporaryDirectory } from './temporary-directory.ts'

interface Scene {
  readonly directory: string
  readonly path: string
  readonly replace: (isAbandoned: AbandonmentCheck) => Promise<boolean>
}

/** A directory with the lock file of a dead owner, and a process that takes it over. */
async function scene(): Promise<Scene> {
  const directory = await temporaryDirectory()
  const path = join(directory, 'lock')
  await writeFile(path, encodeOwnerRecord(foreignRecord({ host: 'dead' })))
  await utimes(path, 1000, 1000)
  const claimantPath = join(await temporaryDirectory(), 'claimant')
  await writeFile(claimantPath, encodeOwnerRecord(foreignRecord({ host: 'taker' })))
  return {
    directory,
    path,
    replace: (isAbandoned) => replaceAbandoned(path, claimantPath, isAbandoned),
  }
}

const isDead: AbandonmentCheck = ({ record }) => record?.host === 'dead'

/** The path of the claim for the file that is at `path` now. */
async function claimPathOf(path: string): Promise<string> {
  const { ino, mtimeNs } = await stat(path, { bigint: true })
  return `${path}.${ino}-${mtimeNs}`
}

describe('replaceAbandoned', () => {
  it('passes what it found to the check, and replaces the file if that returns true', async () => {
    const { directory, path, replace } = await scene()
    const { dev, ino } = await stat(path, { bigint: true })
    const isReplaced = await replace((found) => {
      const record = foreignRecord({ host: 'dead' })
      expect(found).toEqual({ path, record, modifiedMs: 1_000_000, file: { dev, ino } })
      expect(readLockFile(path)).toEqual(found)
      return true
    })
    expect(isReplaced).toBe(true)
    expect(await readdir(directory)).toEqual(['lock'])
    expect(readLockFile(path)?.record).toMatchObject({ host: 'taker' })
  })

  it('never leaves a moment without a lock file', async () => {
    const { path, replace } = await scene()
    const { unlink: remove, rename: move } = promises
    const seen: boolean[] = []
    const spies = [
      vi.spyOn(promises, 'unlink').mockImplementation(async (target) => {
        await remove(target)
        seen.push(existsSync(path))
      }),
      vi.spyOn(promises, 'rename').mockImplementation(async (from, to) => {
        await move(from, to)
        seen.push(existsSync(path))
      }),
    ]
    applyToBuiltins(...spies)
    expect(await replace(isDead)).toBe(true)
    expect(seen).toEqual([true])
  })

  it('replaces an open file on Windows, which keeps its name when it is removed', async () => {
    const { directory, path, replace } = await scene()
    const { unlink: remove, rename: move } = promises
    const spies = [
      vi.spyOn(process, 'platform', 'get').mockReturnValue('win32'),
      vi.spyOn(promises, 'unlink').mockImplementation(async (target) => {
        if (target !== path) await remove(target)
      }),
      vi.spyOn(promises, 'rename').mockImplementation(async (from, to) => {
        if (to === path) throw systemError('EPERM', 'rename', path, 'it is open')
        await move(from, to)
      }),
    ]
    applyToBuiltins(...spies)
    expect(await replace(isDead)).toBe(true)
    expect(await readdir(directory)).toEqual(['lock'])
    expect(readLockFile(path)?.record).toMatchObject({ host: 'taker' })
  })

  it('keeps a lock that is not abandoned', async () => {
    const { directory, replace } = await scene()
    expect(await replace(() => false)).toBe(false)
    expect(await readdir(directory)).toEqual(['lock'])
  })

  it('keeps a lock that was created between the check and the replacement', async () => {
    const { directory, path, replace } = await scene()
    const isReplaced = await replace(async () => {
      await unlink(path)
      await writeFile(path, 'the lock of a faster taker')
      await utimes(path, 1000, 1000)
      return true
    })
    expect(isReplaced).toBe(false)
    expect(await readdir(directory)).toEqual(['lock'])
    expect(await readFile(path, 'utf8')).toBe('the lock of a faster taker')
  })

  it('keeps a lock that its owner renewed during the check', async () => {
    const { directory, path, replace } = await scene()
    const isReplaced = await replace(async () => {
      await utimes(path, 2000, 2000)
      return true
    })
    expect(isReplaced).toBe(false)
    expect(await readdir(directory)).toEqual(['lock'])
  })

  it('leaves a lock to the taker that replaces it first', async () => {
    const { directory, replace } = await scene()
    expect(await replace(() => replace(isDead))).toBe(false)
    expect(await readdir(directory)).toEqual(['lock'])
  })

  it('leaves a lock to the taker that has a claim on it', async () => {
    const { directory, path, replace } = await scene()
    const claimPath = await claimPathOf(path)
    await writeFile(claimPath, encodeOwnerRecord(foreignRecord()))
    expect(await replace(isDead)).toBe(false)
    expect(await readFile(claimPath, 'utf8')).toContain('elsewhere')
    expect(await readdir(directory)).toHaveLength(2)
  })

  it('ignores the claim of a taker that died', async () => {
    const { directory, path, replace } = await scene()
    await writeFile(await claimPathOf(path), encodeOwnerRecord(foreignRecord({ host: 'dead' })))
    expect(await replace(isDead)).toBe(true)
    expect(await readdir(directory)).toEqual(['lock'])
  })

  it('succeeds for only one of several takers of one file', async () => {
    for (let round = 0; round < 20; round++) {
      const { directory, replace } = await scene()
      const results = await Promise.all([1, 2, 3, 4].map(() => replace(isDead)))
      expect(results.filter((isReplaced) => isReplaced)).toEqual([true])
      expect(await readdir(directory)).toEqual(['lock'])
    }
  })

  it.each(['absent', 'directory', 'link'])(
    'does not call the check for a path that is not a regular file: %s',
    async (name) => {
      const { directory, path } = await scene()
      await mkdir(join(directory, 'directory'))
      await symlink(path, join(directory, 'link'))
      const isReplaced = await replaceAbandoned(join(directory, name), path, () => {
        throw new Error('asked')
      })
      expect(isReplaced).toBe(false)
      expect(await readdir(directory)).toEqual(['directory', 'link', 'lock'])
    },
  )
})

describe('readLockFile', () => {
  it.each(['absent', 'directory', 'link'])(
    'returns null for a path that is not a regular file: %s',
    async (name) => {
      const { directory, path } = await scene()
      await mkdir(join(directory, 'directory'))
      await symlink(path, join(directory, 'link'))
      expect(readLockFile(join(directory, name))).toBeNull()
    },
  )

  it('returns a file that does not contain a record without one', async () => {
    const { path } = await scene()
    await writeFile(path, Buffer.alloc(100_000, 'x'))
    expect(readLockFile(path)).toMatchObject({ record: null })
  })
})

describe('removeLeftovers', () => {
  it('removes abandoned files beside the lock file, and nothing else', async () => {
    const { directory, path } = await scene()
    const dead = encodeOwnerRecord(foreignRecord({ host: 'dead' }))
    const token = 'ab'.repeat(16)
    const others = [`lock.${token}.bak`, 'lock.backup', 'locker', 'unrelated']
    for (const name of [`lock.${token}`, 'lock.12-345', ...others]) {
      await writeFile(join(directory, name), dead)
    }
    await writeFile(join(directory, 'lock.12-346'), encodeOwnerRecord(foreignRecord()))
    await mkdir(join(directory, 'lock.12-347'))
    await removeLeftovers(path, isDead)
    const kept = ['lock', 'lock.12-346', 'lock.12-347', ...others]
    expect(new Set(await readdir(directory))).toEqual(new Set(kept))
  })
})

describe('createLockFile', () => {
  const noLinks = (): Promise<void> =>
    Promise.reject(systemError('EPERM', 'link', '/', 'not permitted'))

  it.each([
    ['with hard links', link],
    ['without hard links', noLinks],
  ])('creates a complete file, or rejects if it already exists, %s', async (_where, hardLink) => {
    const directory = await temporaryDirectory()
    const [path, temporaryPath] = [join(directory, 'a'), join(directory, 'a.tmp')]
    await writeFile(temporaryPath, 'content')
    await createLockFile(path, temporaryPath, hardLink)
    expect(await readFile(path, 'utf8')).toBe('content')
    await expect(createLockFile(path, temporaryPath, hardLink)).rejects.toMatchObject({
      code: 'EEXIST',
    })
  })
})
