import fc from 'fast-check'
import { describe, it, vi } from 'vitest'
import { PERSONAS } from '../../lib/testing/crash-model.ts'
import { drawnSystem } from './drawn-turns.ts'
import { modelRuns } from './model-runs.ts'
import { Session, type Setup } from './session.ts'
import { join, settle } from './steps-consume.ts'
import { openReader } from './steps-reader.ts'
import { commandOf } from './step.ts'
import { STEPS } from './steps.ts'

vi.mock(import('../../lib/platform/prompt-io.ts'), async (importOriginal) => {
  const original = await importOriginal()
  const { drawnSystem } = await import('./drawn-turns.ts')
  return { ...original, promptIo: new original.PromptIo(drawnSystem) }
})

/**
 * To replay one failure: `VARVE_MODEL_REPLAY='{"seed":1,"path":"2:0","replayPath":"G:B"}'`, with
 * the values that the failure printed.
 */
const { replayPath, ...replay } = JSON.parse(process.env['VARVE_MODEL_REPLAY'] ?? '{}') as {
  seed?: number
  path?: string
  replayPath?: string
}

const setups = fc.record({
  slots: fc.subarray([0, 1, 2]),
  hasReader: fc.boolean(),
  seed: fc.nat(1000),
  persona: fc.constantFrom(...PERSONAS),
  completion: fc.constantFrom<Setup['completion'][]>('in-order', 'random'),
  segmentBytes: fc.constantFrom(400, 1_500, 10_000),
  preallocate: fc.boolean(),
  flushMessages: fc.constantFrom(1, 4, 100),
  strategy: fc.constantFrom<Setup['strategy'][]>(
    'range',
    'cooperative-sticky',
    'sticky',
    'roundrobin',
  ),
})

/** How many of the last disk operations are reported. */
const TOLD_OPERATIONS = 40

/** Adds the last disk operations to the message of an error. */
function withTrace(error: unknown, { fileSystem }: Session): Error {
  const trace = fileSystem.operations.slice(-TOLD_OPERATIONS).join('\n')
  return new Error(`${String(error)}\n${trace}`, { cause: error })
}

describe('a broker', () => {
  it('keeps its guarantees under random sequences of operations and faults', async () => {
    const sequences = fc.commands(STEPS.map(commandOf), {
      maxCommands: 25,
      // With the default size most sequences are too short to get anywhere.
      size: '+1',
      ...(replayPath === undefined ? {} : { replayPath }),
    })
    const property = fc.asyncProperty(setups, sequences, async (setup, sequence) => {
      const session = new Session(setup)
      await drawnSystem.draw(setup.seed)
      try {
        await session.begin()
        if (setup.hasReader) await openReader(session)
        for (const slot of setup.slots) join(session, slot)
        await settle(session)
        await fc.asyncModelRun(() => ({ model: {}, real: session }), sequence)
        await session.end()
      } catch (error) {
        throw withTrace(error, session)
      }
    })
    // A call that never settles is reported with its steps, too.
    await fc.assert(property, { ...modelRuns(1500), timeout: 60_000, ...replay })
  }, 0)
})
