import { constants } from 'node:fs'

/**
 * Flags for opening a file that lies in a directory others can write to: a symbolic link is
 * refused, and a FIFO does not wait for its other end. Such an open would keep a thread of the pool
 * for ever, and with it the exit of the process.
 */
export const CAUTIOUS_OPEN_FLAGS: number = flag('O_NOFOLLOW') | flag('O_NONBLOCK')

/** Windows has neither of the two. */
function flag(name: string): number {
  return new Map(Object.entries(constants)).get(name) ?? 0
}
