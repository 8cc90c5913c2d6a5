import { describe, expect, it } from 'vitest'
import { isSystemError, systemError } from '../../lib/platform/system-error.ts'
import { simulatedError } from '../../lib/testing/simulated-error.ts'

describe('isSystemError', () => {
  it('recognizes a system error by its code, or by its syscall if no code is given', () => {
    const error = systemError('EIO', 'write', '/x', 'it failed')
    expect(isSystemError(error)).toBe(true)
    expect(isSystemError(error, 'ENOENT', 'EIO')).toBe(true)
    expect(isSystemError(error, 'ENOENT')).toBe(false)
    expect(isSystemError(Object.assign(new Error('x'), { code: 'EIO' }))).toBe(false)
    expect(isSystemError(new Error('EIO'), 'EIO')).toBe(false)
    expect(isSystemError({ code: 'EIO', syscall: 'write' }, 'EIO')).toBe(false)
  })

  it('recognizes an error by its number if Node.js has no name for it, as for a quota', () => {
    const inPool = simulatedError('EDQUOT', 'write', '/x')
    expect(inPool.code).toBe('UNKNOWN')
    const atOnce = Object.assign(new Error('x'), { ...inPool, code: 'Unknown system error -122' })
    for (const error of [inPool, atOnce]) {
      expect(isSystemError(error, 'ENOSPC', 'EDQUOT')).toBe(true)
      expect(isSystemError(error, 'ENOSPC', 'EIO', 'NO_SUCH_NAME')).toBe(false)
    }
  })
})
