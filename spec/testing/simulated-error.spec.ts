import { mkdtemp, open, rename, rm, rmdir, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { simulatedError } from '../../lib/testing/simulated-error.ts'

async function rejection(call: Promise<unknown>): Promise<Error> {
  try {
    await call
  } catch (error) {
    return error as Error
  }
  throw new Error('the call did not reject')
}

function propertiesOf(error: Error): Record<string, unknown> {
  return Object.fromEntries([['message', error.message], ...Object.entries(error)])
}

describe('simulatedError', () => {
  it.runIf(process.platform === 'linux')(
    'has the same properties as the error of Node.js',
    async () => {
      const dir = await mkdtemp(join(tmpdir(), 'simulated-error-'))
      try {
        const path = join(dir, 'missing')
        const cases: [Promise<unknown>, Error][] = [
          [open(path, 'r'), simulatedError('ENOENT', 'open', path)],
          [unlink(path), simulatedError('ENOENT', 'unlink', path)],
          [unlink(dir), simulatedError('EISDIR', 'unlink', dir)],
          [rename(path, dir), simulatedError('ENOENT', 'rename', path, dir)],
          [rmdir(path), simulatedError('ENOENT', 'rmdir', path)],
        ]
        // All calls are in progress: none may be rejected without a handler.
        for (const [call] of cases) call.catch(() => undefined)
        for (const [call, simulated] of cases) {
          const real = await rejection(call)
          expect(propertiesOf(simulated)).toEqual(propertiesOf(real))
        }
      } finally {
        await rm(dir, { recursive: true })
      }
    },
  )

  it('reports EDQUOT as Node.js does, with code UNKNOWN and its number', () => {
    const error = simulatedError('EDQUOT', 'write', '/x')
    expect([error.code, error.errno]).toEqual(['UNKNOWN', -122])
  })

  it('throws for a code that no system error has', () => {
    expect(() => simulatedError('EOOPS', 'write', '/x')).toThrow(RangeError)
  })
})
