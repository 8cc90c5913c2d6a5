import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

/** A disk whose syncs of content can be kept waiting. */
export interface HeldSyncs {
  readonly fileSystem: SimulatedFileSystem
  /** From now on no sync ends until the returned function is called. */
  readonly hold: () => () => void
}

/** A simulated disk on which every step is waited for, and the syncs of files for as long as a test likes. */
export function heldSyncs(): HeldSyncs {
  const fileSystem = new SimulatedFileSystem({ completion: 'awaited' })
  let gate = Promise.resolve()
  const open = fileSystem.open.bind(fileSystem)
  fileSystem.open = async (path, mode) => {
    const file = await open(path, mode)
    const datasync = file.datasync.bind(file)
    file.datasync = () => gate.then(datasync)
    return file
  }
  const hold = (): (() => void) => {
    let release: () => void = () => undefined
    gate = new Promise((resolve) => (release = resolve))
    return release
  }
  return { fileSystem, hold }
}
