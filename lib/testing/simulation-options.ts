import {
  boolean,
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
/** Maximum number of turns by which a call is delayed, before its effect and again after it. */
const MAX_DELAY_TURNS = 8

/** Options of a `SimulatedFileSystem`. Without options it is a plain file system in memory. */
export interface SimulatedFileSystemOptions {
  /**
   * The file system on which a power loss is modelled.
   *
   * @defaultValue `'strict-posix'`, which guarantees the least
   */
  readonly persona?: Persona | undefined
  /** Source of all randomness. Takes precedence over `seed`. */
  readonly random?: Random | undefined
  /** @defaultValue 1 */
  readonly seed?: number | undefined
  /**
   * Unit in which a power loss keeps or loses unsynced bytes, at least 1.
   *
   * @defaultValue 512
   */
  readonly sectorBytes?: number | undefined
  /**
   * Total size of all files above which writes are cut short and then fail with `ENOSPC`.
   *
   * @defaultValue no limit
   */
  readonly capacityBytes?: number | undefined
  /**
   * Whether overwriting bytes needs space too, as on btrfs, on ZFS and wherever files share blocks,
   * because nothing is overwritten in place there.
   *
   * @defaultValue false
   */
  readonly copyOnWrite?: boolean | undefined
  /**
   * When calls take effect and complete.
   *
   * - `in-order`: in the order in which they start, as soon as possible. If the caller requests it,
   *   even within the call.
   * - `awaited`: the same, but never within a call.
   * - `random`: delayed by a random number of microtask turns before and after their effect, so
   *   overlapping calls take effect and complete in any order.
   *
   * @defaultValue `'in-order'`
   */
  readonly completion?: 'in-order' | 'awaited' | 'random' | undefined
  /**
   * Clock for the times of modifications and locks. A broker with a clock of its own needs the same
   * clock here: retention uses a file's modification time if a record's timestamp is in the future
   * or missing.
   *
   * @defaultValue the real one, which is also a broker's default
   */
  readonly clock?: Pick<Clock, 'now'> | undefined
}

/** What a restart of a `SimulatedFileSystem` keeps of unsynced changes. */
export interface RestartOptions {
  /**
   * Applies only to a power loss.
   *
   * @defaultValue `'random'`
   */
  readonly unsynced?: UnsyncedFate | undefined
  /** Decides what survives, instead of the file system's own random source. */
  readonly seed?: number | undefined
}

/** Random source of a copy of a `SimulatedFileSystem`. */
export interface ForkOptions {
  /** Decides everything random in the copy, instead of the file system's own random source. */
  readonly seed?: number | undefined
}

const seed: Check = (name, value) => {
  checkWholeNumber(name, value, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
}

/** Checks a capacity in bytes. `Infinity` means no limit. */
export const checkCapacity: Check = (name, value) => {
  if (value !== Infinity) checkWholeNumber(name, value, 0, Number.MAX_SAFE_INTEGER)
}

/** The check for each option of {@link SimulatedFileSystemOptions}. */
export const SIMULATION_OPTIONS: Checks<SimulatedFileSystemOptions> = {
  persona: oneOf(...PERSONAS),
  random: objectWith('integer', 'bytes'),
  seed,
  sectorBytes: wholeNumber(1),
  capacityBytes: checkCapacity,
  copyOnWrite: boolean,
  completion: oneOf('in-order', 'awaited', 'random'),
  clock: objectWith('now'),
}

/** The check for each option of {@link RestartOptions}. */
export const RESTART_OPTIONS: Checks<RestartOptions> = { unsynced: oneOf(...UNSYNCED_FATES), seed }

/** The check for each option of {@link ForkOptions}. */
export const FORK_OPTIONS: Checks<ForkOptions> = { seed }

/** The disk that `options` describes. */
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

/** The machine that `options` describes. */
export function machineOptions(
  options: SimulatedFileSystemOptions,
  random: Random,
): MachineOptions {
  const { completion = 'in-order' } = options
  const maxDelayTurns = completion === 'random' ? MAX_DELAY_TURNS : 0
  return { random, maxDelayTurns, isAwaited: completion === 'awaited' }
}

/**
 * Checks an argument that is a count.
 *
 * @throws RangeError if `value` is not a whole number of at least `least`
 */
export function requireAtLeast(name: string, value: number, least: number): void {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new RangeError(`${name} must be a whole number of at least ${least}, got ${value}`)
  }
}
