import { LOG_OVERHEAD } from '../../lib/record/record-batch.ts'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

/** One way in which a file can differ from what was written. */
export interface Rot {
  readonly name: string
  /** The content of the file; `null` if the file is missing. */
  readonly bytes: Buffer | null
  /** The first byte that differs. */
  readonly position: number
  /** Whether the file only ends early, and holds nothing wrong. */
  readonly isCut: boolean
}

/** Sizes of the blocks that are lost as a whole: a small one, and a sector. */
const BLOCK_BYTES = [64, 512]

/**
 * All damage to one bit, one byte, one block or the end of a file: each bit inverted, each byte all
 * zeros or all ones, each block zeros, each length, no file. Damage that changes nothing is left
 * out.
 */
export function* rotOf(bytes: Buffer): Generator<Rot> {
  const changed = (name: string, position: number, change: (copy: Buffer) => void): Rot | null => {
    const copy = Buffer.from(bytes)
    change(copy)
    return copy.equals(bytes) ? null : { name, bytes: copy, position, isCut: false }
  }
  for (let at = 0; at < bytes.length; at += 1) {
    for (let bit = 0; bit < 8; bit += 1) {
      const old = bytes.readUInt8(at)
      const rot = changed(`bit ${bit} of byte ${at}`, at, (copy) => {
        copy.writeUInt8(old ^ (1 << bit), at)
      })
      if (rot !== null) yield rot
    }
    for (const value of [0x00, 0xff]) {
      const rot = changed(`byte ${at} set to ${value}`, at, (copy) => copy.writeUInt8(value, at))
      if (rot !== null) yield rot
    }
    yield { name: `cut to ${at} bytes`, bytes: bytes.subarray(0, at), position: at, isCut: true }
  }
  for (const size of BLOCK_BYTES) {
    for (let at = 0; at < bytes.length; at += size) {
      const rot = changed(`${size} zeros at ${at}`, at, (copy) =>
        copy.fill(0, at, Math.min(at + size, copy.length)),
      )
      if (rot !== null) yield rot
    }
  }
  yield { name: 'gone', bytes: null, position: 0, isCut: true }
}

/** Where the batches of a log file begin, and where the file ends. */
export function batchBounds(bytes: Buffer): number[] {
  const bounds = [0]
  for (let at = 0; at < bytes.length; bounds.push(at))
    at += bytes.readInt32BE(at + 8) + LOG_OVERHEAD
  return bounds
}

/** Whole batches in the wrong place: any two of a log file swapped, each one doubled or missing. */
export function* rotOfBatches(bytes: Buffer): Generator<Rot> {
  const bounds = batchBounds(bytes)
  const batches = bounds.slice(1).map((end, slot) => bytes.subarray(bounds[slot], end))
  for (const [slot, batch] of batches.entries()) {
    const position = bounds[slot] ?? 0
    const rot = (name: string, parts: readonly Buffer[]): Rot => {
      return { name, bytes: Buffer.concat(parts), position, isCut: false }
    }
    yield rot(`batch ${slot} twice`, batches.toSpliced(slot, 0, batch))
    if (slot < batches.length - 1) yield rot(`batch ${slot} gone`, batches.toSpliced(slot, 1))
    for (let other = slot + 1; other < batches.length; other += 1) {
      const swapped = [...batches]
      swapped[slot] = batches[other] ?? batch
      swapped[other] = batch
      yield rot(`batches ${slot} and ${other} swapped`, swapped)
    }
  }
}

/** What a sweep has tried, and what was wrong. */
export interface Sweep {
  /** By the last part of the file names. */
  readonly tried: ReadonlyMap<string, number>
  readonly problems: readonly string[]
}

/**
 * Tries each file of `sound` in every damaged state, one at a time.
 *
 * @param judge returns what is wrong with such a copy; `null` if nothing is.
 * @param take selects the states to try, by their number.
 */
export async function tryRot(
  sound: SimulatedFileSystem,
  judge: (fs: SimulatedFileSystem, path: string, rot: Rot) => Promise<string | null>,
  take: (number: number) => boolean,
): Promise<Sweep> {
  const tried = new Map<string, number>()
  const problems: string[] = []
  let number = 0
  for (const [path, bytes] of sound.snapshot()) {
    const kind = path.replace(/.*?([^/.]+)$/, '$1')
    for (const rot of path.endsWith('.log')
      ? [...rotOf(bytes), ...rotOfBatches(bytes)]
      : rotOf(bytes)) {
      number += 1
      if (!take(number)) continue
      tried.set(kind, (tried.get(kind) ?? 0) + 1)
      const fs = sound.fork({ seed: 1 })
      if (rot.bytes === null) await fs.unlink(path)
      else fs.writeFile(path, rot.bytes)
      const problem = await judge(fs, path, rot)
      if (problem !== null) problems.push(`${rot.name} of ${path}: ${problem}`)
    }
  }
  return { tried, problems }
}
