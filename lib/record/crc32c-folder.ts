import CRC32C from 'crc-32/crc32c.js'

// Folding instead of table lookups. Bytes are a polynomial over GF(2), and the CRC is its remainder
// modulo x^32 + x^28 + x^27 + ... Adding a multiple of that divisor does not change the CRC. One of
// its multiples of fewest terms and lowest degree is
//
//   x^209 + x^144 + x^54 + x^39 + x^14 + 1
//
// Over GF(2), its 16th power has the same six terms with 16 times their exponents, and is also a
// multiple. So two bytes may be removed if they are added (XOR) 2 * 65, 2 * 155, 2 * 170, 2 * 195
// and 2 * 209 bytes further on. This folds 16 bytes at a time into those after them, with five XORs
// and no table, until only the last 432 are left for the tables. The eighth power would leave half
// as many, but would add to bytes that the processor has yet to store.

/** How many bytes further on bytes are added at most when they are removed. */
const LONGEST_SHIFT = 418
/** Bytes folded at a time: one vector. */
const STEP_BYTES = 16
/** Bytes that are left at the end: the longest shift in whole vectors. */
const REST_BYTES = 432

const PAGE_BYTES = 65_536
const PAGES = 2
/** Position of the remaining bytes after folding: the start of the memory. */
const REST_START = 0
/** The input ends where the memory does, so that its last bytes are always in one place. */
const END = PAGES * PAGE_BYTES
/** There are zeros before the input, because nothing is added to its beginning. */
const INPUT_START = REST_START + REST_BYTES + LONGEST_SHIFT + STEP_BYTES

/** For fewer bytes, tables are as fast. */
export const FEWEST_FOLDED_BYTES: number = 2 * REST_BYTES
/** More bytes are folded piece by piece. */
const MOST_FOLDED_BYTES = END - INPUT_START

/** A seed that leaves the remaining bytes as they are. */
const NO_STATE = -1

/**
 * CRC-32C of many bytes, several times as fast as with tables.
 *
 * It is a few instructions of WebAssembly, because JavaScript has no vectors. They are written out
 * in `spec/record/crc32c-module.ts`, so nothing has to be trusted.
 */
export class Crc32cFolder {
  readonly #memory: Uint8Array
  readonly #rest: Uint8Array
  readonly #fold: (start: number) => void

  private constructor(memory: Uint8Array, fold: (start: number) => void) {
    this.#memory = memory
    this.#rest = memory.subarray(REST_START, REST_START + REST_BYTES)
    this.#fold = fold
  }

  /** `null` if there is no WebAssembly, or none with vectors. */
  static create(): Crc32cFolder | null {
    try {
      const module = new WebAssembly.Module(Buffer.from(MODULE, 'hex'))
      const { exports } = new WebAssembly.Instance(module)
      const memory = exports.memory as WebAssembly.Memory
      const fold = exports.fold as (start: number) => void
      return new Crc32cFolder(new Uint8Array(memory.buffer), fold)
    } catch {
      return null
    }
  }

  /**
   * Continues a checksum.
   *
   * @param before the checksum of the preceding bytes, signed; 0 if there are none
   * @returns the checksum, signed
   */
  continue(before: number, bytes: Uint8Array): number {
    if (bytes.length < FEWEST_FOLDED_BYTES) return CRC32C.buf(bytes, before)
    if (bytes.length <= MOST_FOLDED_BYTES) return this.#continueWith(before, bytes)
    let crc = before
    for (let start = 0; start < bytes.length; start += MOST_FOLDED_BYTES) {
      crc = this.continue(crc, bytes.subarray(start, start + MOST_FOLDED_BYTES))
    }
    return crc
  }

  #continueWith(before: number, bytes: Uint8Array): number {
    const memory = this.#memory
    const start = END - bytes.length
    memory.set(bytes, start)
    // The state after the preceding bytes is added to the first four bytes.
    const state = ~before
    for (let slot = 0; slot < 4; slot += 1) {
      memory[start + slot] = (memory[start + slot] as number) ^ ((state >>> (8 * slot)) & 0xff)
    }
    this.#fold(start)
    return CRC32C.buf(this.#rest, NO_STATE)
  }
}

/**
 * The module, with the function `fold(start)`: it folds the bytes from `start` to the end of the
 * memory into the rest. Putting it together here would take a new process as long as compiling it.
 */
const MODULE =
  '0061736d0100000001050160017f000302010005040101020207110204666f6c640000066d656d6f727902000ad3' +
  '0101d00101027f41d0fc0741dffc0720006b4170716b41a2036b22014100200020016bfc0b00410041d0fc0741b0' +
  '03fc0a000041d0fc07410041b003fc0b00034020012001fd0000a2032001fd0000a002fd512001fd00006cfd5120' +
  '01fd00004efd512001fd00001cfd512001fd000000fd51fd0b00a203200141106a220141aef907490d000b034020' +
  '022002fd0000002001fd0000a002fd512001fd00006cfd512001fd00004efd512001fd00001cfd512001fd000000' +
  'fd51fd0b0000200141106a2101200241106a220241b003490d000b0b'
