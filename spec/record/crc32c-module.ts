// The module of lib/record/crc32c-folder.ts, written out as instructions. Its bytes are a constant
// there, because putting them together takes a new process as long as compiling them.

const SHIFTS = [130, 310, 340, 390, 418]
const LONGEST_SHIFT = 418
const STEP_BYTES = 16
const REST_BYTES = 432
const PAGES = 2
const REST_START = 0
/** The rest of the input is at the end of the memory. */
const REST_OF_INPUT = PAGES * 65_536 - REST_BYTES

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

/** The bytes of the module. */
export function crc32cModule(): Uint8Array<ArrayBuffer> {
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
