import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

/** A disk whose syncs of file content can be held. */
export interface HeldSyncs {
  readonly fileSystem: SimulatedFileSystem
  /** Holds all syncs from now on, until the returned function is called. */
  readonly hold: () => () => void
}

/** Creates a simulated disk with asynchronous operations, whose datasyncs a test can hold. */
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
