import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

/** The error of a read as Node.js has it: it does not say of which file. */
function unreadable(): NodeJS.ErrnoException {
  return Object.assign(new Error('EIO: i/o error, read'), {
    code: 'EIO',
    errno: -5,
    syscall: 'read',
  })
}

/**
 * Lets every read of the bytes [`from`, `to`) of a file fail from now on, and no other.
 *
 * @param onFailure is called for each.
 */
export function spoil(
  fs: SimulatedFileSystem,
  path: string,
  from = 0,
  to: number = Infinity,
  onFailure: () => void = () => undefined,
): void {
  const open = fs.open.bind(fs)
  fs.open = async (opened, mode) => {
    const file = await open(opened, mode)
    if (opened !== path) return file
    const read = file.read.bind(file)
    file.read = (buffer, position) => {
      const isBad = position < to && from < position + buffer.length
      if (!isBad) return read(buffer, position)
      onFailure()
      return Promise.reject(unreadable())
    }
    file.readNow = (): number => -1
    return file
  }
}
