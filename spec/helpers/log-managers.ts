import { LogManager } from '../../lib/broker/log-manager.ts'
import { LogStates } from '../../lib/broker/log-states.ts'
import { DEFAULT_TOPIC_CONFIG } from '../../lib/config.ts'
import { ClosedError } from '../../lib/errors.ts'
import { createDurably } from '../../lib/storage/log-options.ts'
import { LogStateFiles } from '../../lib/storage/log-state.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { partitionContext } from './partitions.ts'

/** Opens the topics of `/data`, without clients and groups. */
export async function openLogManager(
  fileSystem: SimulatedFileSystem,
  setup: {
    isClean?: boolean
    onTopicsChanged?: () => void
    seed?: number
    forgetTopic?: () => Promise<void>
  } = {},
): Promise<LogManager> {
  await createDurably(fileSystem, '/data')
  const files = new LogStateFiles(fileSystem, '/data')
  const manager = new LogManager({
    dir: '/data',
    fileSystem,
    random: new SeededRandom(setup.seed ?? 1),
    states: new LogStates(files, await files.read()),
    defaults: DEFAULT_TOPIC_CONFIG,
    isClean: setup.isClean ?? false,
    partitionContext: partitionContext(),
    onTopicsChanged: setup.onTopicsChanged ?? (() => undefined),
    forgetTopic: setup.forgetTopic ?? (() => Promise.resolve()),
    followOffsets: () => Promise.resolve(),
  })
  await manager.load()
  await manager.finishDeletions()
  return manager
}

/** Closes a manager the way its broker does. */
export function closeLogManager(manager: LogManager): Promise<boolean> {
  return manager.close(new ClosedError('the test is over'))
}
