import { constants } from 'node:fs'

/**
 * Flags for opening a file that lies in a directory others can write to: a symbolic link is
 * refused, and a FIFO does not wait for its other end. Such an open would keep a thread of the pool
 * for ever, and with it the exit of the process.
 */
export const CAUTIOUS_OPEN_FLAGS: number = flag('O_NOFOLLOW') | flag('O_NONBLOCK')

/** Flags for opening a directory: what is none is refused, and is not waited for. */
export const DIRECTORY_OPEN_FLAGS: number = flag('O_DIRECTORY') | flag('O_NONBLOCK')

/** Windows has none of them. */
function flag(name: string): number {
  return new Map(Object.entries(constants)).get(name) ?? 0
}
