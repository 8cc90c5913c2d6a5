import { statSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { isSystemError } from './system-error.ts'

/**
 * Size of an abstract socket's name with its leading NUL. Some versions of Node.js pad a shorter
 * name with NULs and some do not, which makes two different names of one. Only a name of full
 * length is the same in all of them.
 */
const NAME_SIZE_BYTES = 108

/**
 * A claim on a directory or file that the kernel holds for this process and drops with it, however
 * the process ends.
 *
 * It is an abstract unix socket named after device and inode, on Linux only. Of all processes and
 * worker threads in one network namespace, one can have it. It does not keep the process alive.
 */
export class LockGuard {
  /** Identifies the guarded directory or file within one boot of one machine. */
  readonly name: string
  readonly #server: Server

  private constructor(name: string, server: Server) {
    this.name = name
    this.#server = server
  }

  /**
   * @returns `'in-use'` if another owner has the guard; `null` if there are no guards: on other
   * systems, and in a sandbox that forbids sockets.
   */
  static async take(device: bigint, inode: bigint): Promise<LockGuard | 'in-use' | null> {
    if (process.platform !== 'linux') return null
    const name = `varve-${device}-${inode}`
    // The socket is never used. Connections are dropped, and a failure to accept one must not end
    // the process.
    const server = createServer((connection) => connection.destroy())
    server.unref()
    try {
      await listen(server, `\0${name}`.padEnd(NAME_SIZE_BYTES, '.'))
    } catch (error) {
      return isSystemError(error, 'EADDRINUSE') ? 'in-use' : null
    }
    return new LockGuard(name, server)
  }

  /**
   * Like {@link LockGuard.take}, for the file that `path` leads to, whichever of its names that is.
   * The file must be kept open meanwhile, so that its inode number is not reused.
   */
  static async takeFile(path: string): Promise<LockGuard | 'in-use' | null> {
    const { dev, ino } = statSync(path, { bigint: true })
    return LockGuard.take(dev, ino)
  }

  /** Releases the claim. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve()
      })
    })
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    // Stays registered after the start, without effect, because an error event without a listener
    // would be thrown.
    server.on('error', reject)
    // Exclusive: a socket shared with other cluster workers would make all of them owners.
    server.listen({ path, exclusive: true }, resolve)
  })
}
