import { describe, expect, it } from 'vitest'
import { LockedError } from '../../lib/errors.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

async function withDirectory(): Promise<SimulatedFileSystem> {
  const fs = new SimulatedFileSystem()
  await fs.createDirectory('/d')
  return fs
}

describe('lock of a SimulatedFileSystem', () => {
  it('excludes a second owner of the directory by any path, and leaves other directories free', async () => {
    const fs = await withDirectory()
    await fs.createDirectory('/other')
    const lock = await fs.lock('/d')
    expect(lock.held).toBe(true)
    await expect(fs.lock('/other/../d/')).rejects.toThrow(LockedError)
    await fs.rename('/d', '/renamed')
    await expect(fs.lock('/renamed')).rejects.toThrow(LockedError)
    expect((await fs.lock('/other')).held).toBe(true)
  })

  it('rejects a missing directory and a file', async () => {
    const fs = await withDirectory()
    fs.writeFile('/x', Buffer.alloc(0))
    await expect(fs.lock('/missing')).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(fs.lock('/x')).rejects.toMatchObject({ code: 'ENOTDIR' })
  })

  it('is free after its release, and a second release does not affect the next owner', async () => {
    const fs = await withDirectory()
    const first = await fs.lock('/d')
    await first.release()
    expect(first.held).toBe(false)
    const second = await fs.lock('/d')
    await first.release()
    expect(second.held).toBe(true)
  })

  it('reports its loss to its owner once, and can be taken by another', async () => {
    const fs = await withDirectory()
    const lock = await fs.lock('/d')
    const reasons: string[] = []
    lock.onLost = (reason) => reasons.push(`${reason.message}, held ${String(lock.held)}`)
    fs.loseLock('/d', 'taken over')
    fs.loseLock('/d')
    expect(reasons).toEqual(['taken over, held false'])
    const next = await fs.lock('/d')
    await lock.release()
    expect(next.held).toBe(true)
  })

  it('is lost even if the listener throws', async () => {
    const fs = await withDirectory()
    const lock = await fs.lock('/d')
    lock.onLost = () => {
      throw new Error('from the listener')
    }
    fs.loseLock('/d')
    expect(lock.held).toBe(false)
  })

  it('is lost when the directory is removed or replaced', async () => {
    const fs = await withDirectory()
    await fs.createDirectory('/from')
    const [removed, replaced] = [await fs.lock('/d'), await fs.lock('/from')]
    await fs.removeDirectory('/d')
    expect([removed.held, replaced.held]).toEqual([false, true])
    await fs.createDirectory('/new')
    await fs.rename('/new', '/from')
    expect(replaced.held).toBe(false)
  })

  it('is freed by a crash, which is reported to its owner as a stop, not as a loss', async () => {
    const fs = await withDirectory()
    const lock = await fs.lock('/d')
    const heard: string[] = []
    lock.onLost = () => heard.push('lost')
    lock.onStopped = ({ message }) => heard.push(message)
    const next = fs.restart('process')
    fs.restart('process')
    expect((await next.lock('/d')).held).toBe(true)
    expect([lock.held, lock.stopReason?.message]).toEqual([false, 'the machine was restarted'])
    expect(heard).toEqual(['the machine was restarted'])
    await expect(lock.release()).rejects.toThrow('restarted')
  })
})
