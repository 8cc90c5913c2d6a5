/** The polynomial of CRC-32C with its bits reversed; the highest bit stands for x^0. */
const POLYNOMIAL = 0x82f6_3b78

const ONE = 0x8000_0000

/** x^(2^k) modulo the polynomial, for lengths of up to 2^53 bytes. */
const POWERS = powersOfX(57)

/** Number of cached shifts. Each is kept until a length with the same last bits is requested. */
const KEPT_SHIFTS = 1024
const keptBytes = new Float64Array(KEPT_SHIFTS)
/** Every slot starts with the shift of length 0. */
const keptShifts = new Int32Array(KEPT_SHIFTS).fill(ONE)

/**
 * Checksum of two adjacent byte ranges, from the checksums of both, without their bytes (Mark
 * Adler's method in zlib).
 *
 * @param secondBytes length of the second range.
 */
export function combineCrc32c(first: number, second: number, secondBytes: number): number {
  return (multiply(keptShift(secondBytes), first) ^ second) >>> 0
}

/** Batches usually have few lengths: one in bulk, otherwise one for each number of records. */
function keptShift(bytes: number): number {
  const slot = bytes % KEPT_SHIFTS
  if (keptBytes[slot] !== bytes) {
    keptShifts[slot] = shiftOf(bytes)
    keptBytes[slot] = bytes
  }
  return keptShifts[slot] as number
}

/** x to the power of the number of bits in `bytes` bytes, modulo the polynomial. */
function shiftOf(bytes: number): number {
  let shift = ONE
  // A byte has eight bits, so the length counts from x^(2^3) on.
  for (let rest = bytes, k = 3; rest > 0; rest = Math.floor(rest / 2), k += 1) {
    if (rest % 2 === 1) shift = multiply(POWERS[k] ?? 0, shift)
  }
  return shift
}

/** Product of two polynomials modulo the polynomial. */
function multiply(left: number, right: number): number {
  let product = 0
  let factor = right
  for (let bit = ONE; bit !== 0; bit >>>= 1) {
    if ((left & bit) !== 0) product ^= factor
    factor = (factor & 1) === 0 ? factor >>> 1 : (factor >>> 1) ^ POLYNOMIAL
  }
  return product >>> 0
}

function powersOfX(count: number): readonly number[] {
  const powers = [ONE >>> 1]
  while (powers.length < count) {
    const last = powers.at(-1) ?? 0
    powers.push(multiply(last, last))
  }
  return powers
}
