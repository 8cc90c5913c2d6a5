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

/** How many bytes further on bytes are added when they are removed. */
const SHIFTS = [130, 310, 340, 390, 418] as const
/** The last of {@link SHIFTS}. */
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
const REST_OF_INPUT = END - REST_BYTES
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
 * below, so nothing has to be compiled or trusted.
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
      const module = new WebAssembly.Module(moduleBytes())
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

const I32 = 0x7f
const EMPTY = 0x40
const LOCAL_GET = (local: number): number[] => [0x20, local]
const LOCAL_SET = (local: number): number[] => [0x21, local]
const LOCAL_TEE = (local: number): number[] => [0x22, local]
const I32_CONST = (value: number): number[] => [0x41, ...signedLeb(value)]
const I32_ADD = [0x6a]
const I32_SUB = [0x6b]
const I32_AND = [0x71]
const I32_LT_U = [0x49]
const LOOP_BLOCK = [0x03, EMPTY]
const BRANCH_IF = [0x0d, 0x00]
const BLOCK_END = [0x0b]
const MEMORY_COPY = [0xfc, 0x0a, 0x00, 0x00]
const MEMORY_FILL = [0xfc, 0x0b, 0x00]
const V128_LOAD = (offset: number): number[] => [0xfd, 0x00, 0x00, ...unsignedLeb(offset)]
const V128_STORE = (offset: number): number[] => [0xfd, 0x0b, 0x00, ...unsignedLeb(offset)]
const V128_XOR = [0xfd, 0x51]

const START = 0
/** Position of the loop less the longest shift, because an offset must not be negative. */
const AT = 1
const REST_AT = 2

/** `fold(start)`: folds the bytes from `start` to the end of the memory into the rest. */
function foldCode(): number[] {
  return [
    // at = the last position at or below start that is a number of whole vectors before the rest,
    ...[...I32_CONST(REST_OF_INPUT), ...I32_CONST(REST_OF_INPUT + STEP_BYTES - 1)],
    ...[...LOCAL_GET(START), ...I32_SUB, ...I32_CONST(-STEP_BYTES), ...I32_AND, ...I32_SUB],
    // less the longest shift; zeros from there to start.
    ...[...I32_CONST(LONGEST_SHIFT), ...I32_SUB, ...LOCAL_TEE(AT), ...I32_CONST(0)],
    ...[...LOCAL_GET(START), ...LOCAL_GET(AT), ...I32_SUB, ...MEMORY_FILL],
    // Move the rest to its place, leaving zeros.
    ...[...I32_CONST(REST_START), ...I32_CONST(REST_OF_INPUT), ...I32_CONST(REST_BYTES)],
    ...[...MEMORY_COPY, ...I32_CONST(REST_OF_INPUT), ...I32_CONST(0), ...I32_CONST(REST_BYTES)],
    ...MEMORY_FILL,
    // Each vector receives what those before it add to it.
    ...[...LOOP_BLOCK, ...LOCAL_GET(AT), ...LOCAL_GET(AT), ...V128_LOAD(LONGEST_SHIFT), ...taken()],
    ...[...V128_STORE(LONGEST_SHIFT), ...step(AT), ...LOCAL_TEE(AT)],
    ...[...I32_CONST(REST_OF_INPUT - LONGEST_SHIFT), ...I32_LT_U, ...BRANCH_IF, ...BLOCK_END],
    // So does each vector of the rest.
    ...[...LOOP_BLOCK, ...LOCAL_GET(REST_AT), ...LOCAL_GET(REST_AT), ...V128_LOAD(REST_START)],
    ...[...taken(), ...V128_STORE(REST_START), ...step(AT), ...LOCAL_SET(AT)],
    ...[...step(REST_AT), ...LOCAL_TEE(REST_AT), ...I32_CONST(REST_BYTES), ...I32_LT_U],
    ...[...BRANCH_IF, ...BLOCK_END, ...BLOCK_END],
  ]
}

/** Adds to the vector on the stack what is removed from those before it. */
function taken(): number[] {
  return SHIFTS.flatMap((shift) => [
    ...[...LOCAL_GET(AT), ...V128_LOAD(LONGEST_SHIFT - shift), ...V128_XOR],
  ])
}

function step(local: number): number[] {
  return [...LOCAL_GET(local), ...I32_CONST(STEP_BYTES), ...I32_ADD]
}

function moduleBytes(): Uint8Array<ArrayBuffer> {
  const body = [0x01, 0x02, I32, ...foldCode()]
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    // Type 0: a function of an i32, without a result.
    ...section(1, [0x01, 0x60, 0x01, I32, 0x00]),
    ...section(3, [0x01, 0x00]),
    ...section(5, [0x01, 0x01, PAGES, PAGES]),
    ...section(7, [0x02, ...exported('fold', 0x00), ...exported('memory', 0x02)]),
    ...section(10, [0x01, ...unsignedLeb(body.length), ...body]),
  ])
}

function section(id: number, content: readonly number[]): number[] {
  return [id, ...unsignedLeb(content.length), ...content]
}

/** @param kind 0 for the first function, 2 for the first memory */
function exported(name: string, kind: number): number[] {
  return [name.length, ...Buffer.from(name, 'latin1'), kind, 0x00]
}

function unsignedLeb(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsignedLeb(value >>> 7)]
}

function signedLeb(value: number): number[] {
  const isLast = value >= -64 && value < 64
  return isLast ? [value & 0x7f] : [(value & 0x7f) | 0x80, ...signedLeb(value >> 7)]
}
