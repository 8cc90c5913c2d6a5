import {
  boolean,
  checkOptions,
  checkWholeNumber,
  objectWith,
  oneOf,
  wholeNumber,
  type Check,
  type Checks,
} from '../checks.ts'
import type { Clock } from '../platform/clock.ts'
import type { Random } from '../platform/random.ts'
import { systemClock } from '../platform/system-clock.ts'
import { PERSONAS, UNSYNCED_FATES, type Persona, type UnsyncedFate } from './crash-model.ts'
import type { DiskModel } from './simulated-disk.ts'
import type { MachineOptions } from './simulated-machine.ts'

const DEFAULT_SECTOR_BYTES = 512
/** Most turns by which a call is held up, before its effect and again after it. */
const MAX_DELAY_TURNS = 8

/** How a `SimulatedFileSystem` behaves. Without options it is a plain file system in memory. */
export interface SimulatedFileSystemOptions {
  /**
   * Which file system a power loss is modelled on.
   *
   * @defaultValue `'strict-posix'`, which promises least
   */
  readonly persona?: Persona
  /** Decides everything random. Wins over `seed`. */
  readonly random?: Random
  /** @defaultValue 1 */
  readonly seed?: number
  /**
   * Unit in which a power loss keeps or loses unsynced bytes, at least 1.
   *
   * @defaultValue 512
   */
  readonly sectorBytes?: number
  /**
   * Sum of the sizes of all files beyond which writes come out short and then fail with `ENOSPC`.
   *
   * @defaultValue no limit
   */
  readonly capacityBytes?: number
  /**
   * Whether bytes that are written over others need room as well, as on btrfs, ZFS and wherever
   * files share what they hold: nothing is written in place there.
   *
   * @defaultValue false
   */
  readonly copyOnWrite?: boolean
  /**
   * When calls take effect and complete.
   *
   * - `in-order`: in the order of their start, as soon as possible: where a caller asks for that,
   *   inside of the call.
   * - `awaited`: the same, but never inside of a call.
   * - `random`: held up by a random number of microtask turns before and after their effect, so
   *   that calls which overlap take effect and complete in any order.
   *
   * @defaultValue `'in-order'`
   */
  readonly completion?: 'in-order' | 'awaited' | 'random'
  /**
   * Gives the times of modifications and locks. A broker with a clock of its own needs the same
   * one here: retention takes a file's time where a record's lies in the future or is missing.
   *
   * @defaultValue the real one, which a broker has as well
   */
  readonly clock?: Pick<Clock, 'now'>
}

/** What a restart of a `SimulatedFileSystem` leaves of unsynced changes. */
export interface RestartOptions {
  /**
   * Only of a power loss.
   *
   * @defaultValue `'random'`
   */
  readonly unsynced?: UnsyncedFate
  /** Decides what survives, instead of the file system's own source of chance. */
  readonly seed?: number
}

/** Which chance a copy of a `SimulatedFileSystem` has. */
export interface ForkOptions {
  /** Decides everything random in it, instead of the file system's own source of chance. */
  readonly seed?: number
}

const seed: Check = (name, value) => {
  checkWholeNumber(name, value, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
}

/** What a size has to be beyond which nothing is taken: none is `Infinity`. */
export const checkCapacity: Check = (name, value) => {
  if (value !== Infinity) checkWholeNumber(name, value, 0, Number.MAX_SAFE_INTEGER)
}

const OPTIONS: Checks<SimulatedFileSystemOptions> = {
  persona: oneOf(...PERSONAS),
  random: objectWith('integer', 'bytes'),
  seed,
  sectorBytes: wholeNumber(1),
  capacityBytes: checkCapacity,
  copyOnWrite: boolean,
  completion: oneOf('in-order', 'awaited', 'random'),
  clock: objectWith('now'),
}

const RESTART_OPTIONS: Checks<RestartOptions> = { unsynced: oneOf(...UNSYNCED_FATES), seed }

const FORK_OPTIONS: Checks<ForkOptions> = { seed }

/** @throws TypeError or RangeError for options that are not legal */
export function checkSimulation(options: SimulatedFileSystemOptions): SimulatedFileSystemOptions {
  return checkOptions('simulation options', options, OPTIONS)
}

/** @throws TypeError or RangeError for options that are not legal */
export function checkRestart(options: RestartOptions): RestartOptions {
  return checkOptions('restart options', options, RESTART_OPTIONS)
}

/** @throws TypeError or RangeError for options that are not legal */
export function checkFork(options: ForkOptions): ForkOptions {
  return checkOptions('fork options', options, FORK_OPTIONS)
}

/** The disk that `options` describe. */
export function diskModel(options: SimulatedFileSystemOptions, random: Random): DiskModel {
  const {
    persona = 'strict-posix',
    sectorBytes = DEFAULT_SECTOR_BYTES,
    clock = systemClock,
  } = options
  return {
    persona,
    random,
    sectorBytes,
    capacityBytes: options.capacityBytes ?? Infinity,
    copyOnWrite: options.copyOnWrite ?? false,
    nowMs: () => clock.now(),
  }
}

/** The machine that `options` describe. */
export function machineOptions(
  options: SimulatedFileSystemOptions,
  random: Random,
): MachineOptions {
  const { completion = 'in-order' } = options
  const maxDelayTurns = completion === 'random' ? MAX_DELAY_TURNS : 0
  return { random, maxDelayTurns, isAwaited: completion === 'awaited' }
}

/**
 * Checks an argument that counts something.
 *
 * @throws RangeError when `value` is not a whole number of at least `least`
 */
export function requireAtLeast(name: string, value: number, least: number): void {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new RangeError(`${name} must be a whole number of at least ${least}, got ${value}`)
  }
}
