import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { SendCallback } from '../../lib/client/send-completion.ts'

beforeEach(() => {
  // The warning is emitted once per load of the module.
  vi.resetModules()
})

afterEach(() => {
  vi.restoreAllMocks()
})

it('emits a process warning only for the first send callback that throws or rejects', async () => {
  const { CallbackCompletion } = await import('../../lib/client/send-completion.ts')
  const warning = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
  const to = { topic: 't', index: 0 }
  const sound = new CallbackCompletion(() => undefined)
  sound.succeed(to, 0, 0)
  expect(warning).not.toHaveBeenCalled()

  const asynchronous = (() => Promise.reject(new Error('mine'))) as SendCallback
  new CallbackCompletion(asynchronous).succeed(to, 0, 0)
  await Promise.resolve()
  const throwing = new CallbackCompletion(() => {
    throw new Error('yours')
  })
  throwing.fail(new Error('the send failed'))

  expect(warning).toHaveBeenCalledOnce()
  expect(warning.mock.calls[0]?.[0]).toContain('the callback of a send threw an error')
  expect(warning.mock.calls[0]?.[1]).toMatchObject({
    detail: expect.stringContaining('mine') as string,
  })
})

const withoutText: object = Object.create(null) as object
const withoutTrace = Object.defineProperty(new Error('mine'), 'stack', {
  get: () => {
    throw new Error('no trace')
  },
})

it.each([withoutText, withoutTrace, { toString: () => withoutText }, Symbol('mine'), null])(
  'emits the warning whatever the callback throws, case %#',
  async (thrown) => {
    const { CallbackCompletion } = await import('../../lib/client/send-completion.ts')
    const warning = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
    new CallbackCompletion(() => {
      // eslint-disable-next-line @typescript-eslint/only-throw-error -- that is what it is about
      throw thrown
    }).fail(new Error('the send failed'))
    expect(warning).toHaveBeenCalledOnce()
  },
)
