import { constants } from 'node:fs'

/**
 * Flags for opening a file in a directory that others can write to. A symbolic link is refused. A
 * FIFO does not wait for its other end, which would block a thread of the pool, and with it the
 * exit of the process, forever.
 */
export const CAUTIOUS_OPEN_FLAGS: number = flag('O_NOFOLLOW') | flag('O_NONBLOCK')

/** Flags for opening a directory. Anything else is refused, without waiting for it. */
export const DIRECTORY_OPEN_FLAGS: number = flag('O_DIRECTORY') | flag('O_NONBLOCK')

/** Windows has none of these flags. */
function flag(name: string): number {
  return new Map(Object.entries(constants)).get(name) ?? 0
}
