import { execFileSync } from 'node:child_process'
import {
  chmod,
  link,
  mkdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { CorruptRecordError, StorageError, VarveError } from '../../lib/errors.ts'
import { NodeFileSystem } from '../../lib/platform/node-file-system.ts'
import { Log } from '../../lib/storage/log.ts'
import { temporaryDirectory } from '../platform/temporary-directory.ts'
import { RecordingFileSystem } from './recording-file-system.ts'

const FIRST_SEGMENT = '00000000000000000000.log'

/** What may be in place of a file of the log. `aside` is a directory outside. */
const IMPOSTORS: [string, (path: string, aside: string) => Promise<void>][] = [
  ['a directory', (path) => mkdir(path).then(() => undefined)],
  [
    'a link to a file outside',
    async (path, aside) => {
      await writeFile(join(aside, 'target'), 'precious')
      await symlink(join(aside, 'target'), path)
    },
  ],
  ['a link to nothing', (path, aside) => symlink(join(aside, 'target'), path)],
  [
    'another name of a file outside',
    async (path, aside) => {
      await writeFile(join(aside, 'target'), 'precious')
      await link(join(aside, 'target'), path)
    },
  ],
  [
    'a FIFO',
    (path) => {
      execFileSync('mkfifo', [path])
      return Promise.resolve()
    },
  ],
  [
    'a socket',
    async (path) => {
      const server = createServer()
      await new Promise<void>((listening) => server.listen(path, listening))
      onTestFinished(() => void server.close())
    },
  ],
]

/** Why no device can be created here, `null` if one can: it takes the superuser, and Linux. */
function whyNoDevice(): string | null {
  const root = mkdtempSync(join(tmpdir(), 'varve-device-'))
  try {
    makeDevice(join(root, 'zero'))
    return null
  } catch (error) {
    return `no device node can be made here: ${String(error)}`
  } finally {
    rmSync(root, { recursive: true })
  }
}

/** A device that can be read endlessly: that of /dev/zero on Linux. */
function makeDevice(path: string): void {
  execFileSync('mknod', [path, 'c', '1', '5'], { stdio: 'pipe' })
}

const NO_DEVICE = whyNoDevice()
const DEVICE: (typeof IMPOSTORS)[number] = [
  'a device',
  (path) => {
    makeDevice(path)
    return Promise.resolve()
  },
]

const PRESENT = NO_DEVICE === null ? [...IMPOSTORS, DEVICE] : IMPOSTORS

it('includes a device among the tested file types if one can be created', ({ skip }) => {
  // Whether a device is among the tested cases depends on the user and the machine.
  if (NO_DEVICE !== null) skip(NO_DEVICE)
  expect(PRESENT.map(([name]) => name)).toContain('a device')
})

/** A directory with two topics of one record each, closed cleanly, and another beside it. */
async function dataDirectory(): Promise<{ dir: string; aside: string }> {
  const root = await temporaryDirectory()
  const [dir, aside] = [join(root, 'data'), join(root, 'aside')]
  await mkdir(aside)
  const broker = await Broker.open(dir)
  for (const name of ['orders', 'users']) {
    const topic = await broker.createTopic(name)
    await topic.partition(0).append({ value: name })
  }
  await broker.close()
  return { dir, aside }
}

async function targetIn(aside: string): Promise<string | null> {
  return readFile(join(aside, 'target'), 'utf8').catch(() => null)
}

describe.each(PRESENT)('%s', (_, put) => {
  it.each([
    ...[FIRST_SEGMENT, '00000000000000000000.index', '00000000000000000000.timeindex'],
    ...['leader-epoch-checkpoint', '00000000000000000001.log', '00000000000000000000.log.swap'],
    ...['00000000000000000001.snapshot'],
  ])('is reported as damage of that partition only when it is in place of %s', async (name) => {
    const { dir, aside } = await dataDirectory()
    const path = join(dir, 'orders-0', name)
    await rm(path, { force: true })
    await put(path, aside)
    const before = await targetIn(aside)
    const fileSystem = new RecordingFileSystem(new NodeFileSystem())
    const broker = await Broker.open(dir, { fileSystem })
    const damaged = broker.topic('orders').partition(0)
    await expect(damaged.append({ value: 'x' })).rejects.toThrow(CorruptRecordError)
    const users = broker.topic('users').partition(0)
    await users.append({ value: 'more' })
    expect(await users.read(0)).toHaveLength(2)
    await broker.close()
    expect(fileSystem.openCount).toBe(0)
    expect(await targetIn(aside)).toBe(before)
    for (const changed of fileSystem.changed) expect(changed.startsWith(dir)).toBe(true)
  })

  it.each([
    ...['meta.properties', 'varve-topics', 'recovery-point-offset-checkpoint'],
    ...['log-start-offset-checkpoint'],
  ])('prevents the directory from opening when it is in place of %s', async (name) => {
    const { dir, aside } = await dataDirectory()
    await rm(join(dir, name), { force: true })
    await put(join(dir, name), aside)
    const before = await targetIn(aside)
    await expect(Broker.open(dir)).rejects.toThrow(VarveError)
    expect(await targetIn(aside)).toBe(before)
  })

  it('is not written to when it has the name of a temporary file', async () => {
    const { dir, aside } = await dataDirectory()
    await put(join(dir, 'varve-topics.tmp'), aside)
    const before = await targetIn(aside)
    const broker = await Broker.open(dir)
    await expect(broker.createTopic('more')).rejects.toThrow(StorageError)
    await broker.close()
    expect(await targetIn(aside)).toBe(before)
  })

  it('is not followed when it is in place of a partition directory', async () => {
    const { dir, aside } = await dataDirectory()
    await rm(join(dir, 'orders-0'), { recursive: true })
    await put(join(dir, 'orders-0'), aside)
    const before = await targetIn(aside)
    const broker = await Broker.open(dir)
    await expect(broker.topic('orders').partition(0).append({ value: 'x' })).rejects.toThrow(
      CorruptRecordError,
    )
    await broker.deleteTopic('orders')
    await broker.close()
    expect(await targetIn(aside)).toBe(before)
  })
})

describe('a link to a directory in place of a partition', () => {
  it('is not followed by reads or appends, nor by deleting the topic or creating it again', async () => {
    const { dir, aside } = await dataDirectory()
    await rename(join(dir, 'orders-0'), join(aside, 'moved'))
    await symlink(join(aside, 'moved'), join(dir, 'orders-0'))
    const broker = await Broker.open(dir)
    const damaged = broker.topic('orders').partition(0)
    await expect(damaged.read(0)).rejects.toThrow('it is not a directory')
    await expect(damaged.append({ value: 'x' })).rejects.toThrow('it is not a directory')
    await broker.deleteTopic('orders')
    await expect(broker.createTopic('orders')).rejects.toThrow('exists and is not a directory')
    await broker.close()
    const log = await Log.open(join(aside, 'moved'), { readOnly: true })
    expect(await log.read(0)).toHaveLength(1)
    await log.close()
  })

  it('is not followed when a deletion that a crash interrupted is finished', async () => {
    const { dir, aside } = await dataDirectory()
    await rename(join(dir, 'orders-0'), join(aside, 'moved'))
    await symlink(join(aside, 'moved'), join(dir, `orders-0.${'a'.repeat(32)}-delete`))
    await (await Broker.open(dir)).close()
    expect((await stat(join(aside, 'moved', FIRST_SEGMENT))).isFile()).toBe(true)
  })
})

describe('file modes', () => {
  it.each([0o000, 0o022, 0o077, 0o277, 0o777])(
    'are 0700 for directories and 0600 for files with umask %i',
    async (umask) => {
      const dir = join(await temporaryDirectory(), 'a', 'data')
      const before = process.umask(umask)
      try {
        const broker = await Broker.open(dir)
        const topic = await broker.createTopic('orders')
        await topic.partition(0).append({ value: 'v' })
        await broker.close()
      } finally {
        process.umask(before)
      }
      const modes = execFileSync('find', [join(dir, '..'), '-printf', '%y %m\n']).toString()
      expect(new Set(modes.trim().split('\n'))).toEqual(new Set(['d 700', 'f 600']))
    },
  )

  it.each([0o777, 0o1777, 0o702])(
    'are rejected at open if they let every user write to the directory: %i',
    async (mode) => {
      const { dir } = await dataDirectory()
      await chmod(dir, mode)
      for (const readOnly of [false, true]) {
        const refusal: unknown = await Broker.open(dir, { readOnly }).catch(
          (error: unknown) => error,
        )
        expect(refusal).toBeInstanceOf(StorageError)
        expect(String(refusal)).toMatch(/every user may write to .* allowSharedDirectory/)
      }
      await expect(Log.open(dir)).rejects.toThrow(StorageError)
      const broker = await Broker.open(dir, { allowSharedDirectory: true })
      expect(await broker.topic('orders').partition(0).read(0)).toHaveLength(1)
      await broker.close()
    },
  )

  it('are checked at the target if the data directory is a link', async () => {
    const { dir, aside } = await dataDirectory()
    await symlink(dir, join(aside, 'link'))
    const broker = await Broker.open(join(aside, 'link'))
    await broker.close()
    await chmod(dir, 0o777)
    await expect(Broker.open(join(aside, 'link'))).rejects.toThrow(StorageError)
  })

  it('are not checked for the parent of the data directory', async () => {
    const { aside } = await dataDirectory()
    await chmod(aside, 0o777)
    await (await Broker.open(join(aside, 'varve'))).close()
    expect((await stat(join(aside, 'varve'))).mode & 0o777).toBe(0o700)
  })
})

describe('a file of another user', () => {
  it.skipIf(process.getuid?.() !== 0)(
    'is written to only if sharing is allowed or its user owns the directory (needs root)',
    async () => {
      const { dir } = await dataDirectory()
      const path = join(dir, 'orders-0', FIRST_SEGMENT)
      execFileSync('chown', ['12345', path])
      const refused = await Broker.open(dir)
      await expect(refused.topic('orders').partition(0).append({ value: 'x' })).rejects.toThrow(
        'belongs to user 12345',
      )
      await refused.close()
      const broker = await Broker.open(dir, { allowSharedDirectory: true })
      await broker.topic('orders').partition(0).append({ value: 'x' })
      await broker.close()
      // The owner of the directory could replace the file anyway.
      execFileSync('chown', ['12345', join(dir, 'orders-0')])
      const owned = await Broker.open(dir)
      await owned.topic('orders').partition(0).append({ value: 'x' })
      await owned.close()
    },
  )
})
