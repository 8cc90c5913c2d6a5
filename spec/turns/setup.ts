import { beforeEach, inject, vi } from 'vitest'
import { murmur2 } from '../../lib/client/murmur2.ts'
import { DrawnSystem } from '../helpers/drawn-system.ts'
import { CLOCKS } from './clocks.ts'

const { clock, seed } = inject('turns')
const system = new DrawnSystem(CLOCKS[clock])

vi.mock(import('../../lib/platform/prompt-io.ts'), async (importOriginal) => {
  const original = await importOriginal()
  return { ...original, promptIo: new original.PromptIo(system) }
})

// If Vitest ever mocks modules differently, all tests would otherwise pass and check nothing.
const looking = vi.spyOn(system, 'now')
const { promptIo } = await import('../../lib/platform/prompt-io.ts')
promptIo.begin('read')
if (looking.mock.calls.length === 0) throw new Error('the library looks at another clock')
looking.mockRestore()
await system.draw(seed)

beforeEach(async ({ task, onTestFailed }) => {
  // Each test draws different times, and the same ones whether or not other tests run before it.
  await system.draw(seed + murmur2(Buffer.from(task.name)))
  onTestFailed(() => {
    const replay = `VARVE_SEED=${seed} VARVE_TURNS=${clock} npm run test:turns -- ${task.file.name}`
    for (const error of task.result?.errors ?? []) error.message += `\n\n${replay} replays it`
  })
})
