import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

/** The error of a read as Node.js reports it: without the path. */
function unreadable(): NodeJS.ErrnoException {
  return Object.assign(new Error('EIO: i/o error, read'), {
    code: 'EIO',
    errno: -5,
    syscall: 'read',
  })
}

export interface BadSectorOptions {
  /** How many reads of the bytes succeed first. @defaultValue 0 */
  readonly readsBefore?: number
  /** Called for each read that fails. */
  readonly onFailure?: () => void
}

/** Makes every read that touches the bytes [`from`, `to`) of a file fail from now on. */
export function spoil(
  fs: SimulatedFileSystem,
  path: string,
  from = 0,
  to: number = Infinity,
  { readsBefore = 0, onFailure = () => undefined }: BadSectorOptions = {},
): void {
  const open = fs.open.bind(fs)
  let readsLeft = readsBefore
  fs.open = async (opened, mode) => {
    const file = await open(opened, mode)
    if (opened !== path) return file
    const read = file.read.bind(file)
    file.read = (buffer, position) => {
      const isIn = position < to && from < position + buffer.length
      if (!isIn || readsLeft > 0) {
        if (isIn) readsLeft -= 1
        return read(buffer, position)
      }
      onFailure()
      return Promise.reject(unreadable())
    }
    file.readNow = (): number => -1
    return file
  }
}
