import { Broker, type BrokerOptions } from '../broker.ts'
import { createTemporaryDirectory, removeDirectoryTree } from '../platform/temporary-directory.ts'

/**
 * Opens a broker for one test, in a fresh temporary directory that is removed with it:
 *
 * ```ts
 * await using broker = await tempBroker()
 * ```
 *
 * Disposing closes the broker and then removes the directory. Closing keeps the directory, so that
 * a test can open `broker.dir` again.
 *
 * @param options as for `Broker.open`. With a `fileSystem` of your own nothing touches the disk: the
 * directory is always `/varve` there, and disposing leaves it, so that it can be opened again.
 */
export async function tempBroker(options: BrokerOptions = {}): Promise<Broker> {
  // The broker refuses a value that is not an object.
  if ((options as BrokerOptions | null)?.fileSystem !== undefined) {
    return Broker.open('/varve', options)
  }
  const dir = await createTemporaryDirectory('varve-')
  try {
    const broker = await Broker.open(dir, options)
    Object.defineProperty(broker, Symbol.asyncDispose, {
      value: async () => {
        try {
          await broker.close()
        } finally {
          await removeDirectoryTree(dir)
        }
      },
    })
    return broker
  } catch (error) {
    await removeDirectoryTree(dir)
    throw error
  }
}
