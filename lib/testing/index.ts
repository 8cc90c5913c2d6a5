/**
 * Tools for tests of an application or of the library: a broker in a temporary directory, a disk
 * that fails and crashes on demand, and a clock that is advanced manually.
 *
 * @module
 */
export type { CrashMoment, CrashPlan, FaultOptions, OperationKind } from './fault-plan.ts'
export type { Persona, UnsyncedFate } from './crash-model.ts'
export { ManualClock } from './manual-clock.ts'
export type {
  ForkOptions,
  RestartOptions,
  SimulatedFileSystemOptions,
} from './simulation-options.ts'
export { SeededRandom } from './seeded-random.ts'
export { SimulatedCrash, SimulatedFileSystem } from './simulated-file-system.ts'
export { tempBroker } from './temp-broker.ts'
