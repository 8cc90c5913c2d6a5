import { randomInt } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { LockGuard } from '../../lib/platform/lock-guard.ts'
import { compiledUrl, startScript } from '../helpers/compiled-lib.ts'

/** A device number that no test and no machine has. */
const DEVICE = BigInt(randomInt(2 ** 40, 2 ** 41))

describe.runIf(process.platform === 'linux')('LockGuard', () => {
  it('is held only once, and can be taken again after it is closed', async () => {
    const guard = taken(await LockGuard.take(DEVICE, 1n))
    expect(guard.name).toBe(`varve-${DEVICE}-1`)
    expect(await LockGuard.take(DEVICE, 1n)).toBe('in-use')
    const other = taken(await LockGuard.take(DEVICE, 2n))
    await guard.close()
    await taken(await LockGuard.take(DEVICE, 1n)).close()
    await other.close()
  })

  it('distinguishes directories whose inode numbers begin with the same digits', async () => {
    const guard = taken(await LockGuard.take(DEVICE, 12n))
    await taken(await LockGuard.take(DEVICE, 1n)).close()
    await taken(await LockGuard.take(DEVICE, 123n)).close()
    await guard.close()
  })

  it('has a name of full length, which every version of Node.js handles alike', async () => {
    const guard = taken(await LockGuard.take(DEVICE, 3n))
    const sockets = (await readFile('/proc/net/unix', 'utf8')).split('\n')
    const names = sockets.map((line) => line.slice(line.indexOf('@')))
    const name = names.find((found) => found.startsWith(`@${guard.name}.`))
    expect(name).toBe(`@${guard.name}`.padEnd(108, '.'))
    await guard.close()
  })

  it('drops every connection, and can still be closed', async () => {
    const guard = taken(await LockGuard.take(DEVICE, 4n))
    const connection = connect(`\0${guard.name}`.padEnd(108, '.'))
    await new Promise<void>((resolve) => {
      connection.once('close', () => {
        resolve()
      })
      connection.once('error', () => null)
    })
    await guard.close()
  })

  it('is freed by the kernel when its process is killed', async () => {
    const script = startScript(`
      import { LockGuard } from '${compiledUrl('platform/lock-guard.ts')}'
      await LockGuard.take(${DEVICE}n, 5n)
      console.log('taken')
      process.stdin.resume()
    `)
    expect(await script.nextLine()).toBe('taken')
    expect(await LockGuard.take(DEVICE, 5n)).toBe('in-use')
    script.process.kill('SIGKILL')
    await script.ended
    await taken(await LockGuard.take(DEVICE, 5n)).close()
  })
})

function taken(guard: LockGuard | 'in-use' | null): LockGuard {
  if (guard instanceof LockGuard) return guard
  throw new Error(`the guard is ${String(guard)}`)
}
