/**
 * Matches numbers that a JavaScript number may not preserve as written: many digits, an exponent,
 * or a negative zero. Also matches some text in strings, which costs only time.
 */
const PERHAPS_INEXACT = /(?:\d\.?){16}|\d[eE]|(?:^|[^\w.])-0/

/** Whether values of a JSON text may have to be kept as written, see {@link rawFields}. */
export function mayLoseDigits(json: string): boolean {
  return PERHAPS_INEXACT.test(json)
}

const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g
/** Up to this many decimal digits survive the conversion to a number and back. */
export const SAFE_DIGITS = 15

/** Parses JSON. Each number that would lose digits becomes a string with its text as written. */
export function exactJson(json: string): unknown {
  // Validates the text first: quotes around invalid numbers would make them valid.
  const value: unknown = JSON.parse(json)
  if (!mayLoseDigits(json)) return value
  const asWritten = (number: string): string => (isExact(number) ? number : `"${number}"`)
  const parts: string[] = []
  // Strings are passed over by hand: an expression that matches one has no stack for a long one.
  for (let at = 0; ;) {
    const start = json.indexOf('"', at)
    const between = start < 0 ? json.slice(at) : json.slice(at, start)
    parts.push(between.replace(NUMBER, asWritten))
    if (start < 0) return JSON.parse(parts.join(''))
    at = endOfString(json, start)
    parts.push(json.slice(start, at))
  }
}

function isExact(number: string): boolean {
  const value = Number(number)
  if (String(value) === number) return true
  const digits = number
    .replace(/[eE].*$/, '')
    .replace(/\D/g, '')
    .replace(/^0+|0+$/g, '')
  return digits.length <= SAFE_DIGITS && Number.isFinite(value) && (value !== 0 || digits === '')
}

/**
 * Whether a number in JSON is whole as it is written. 1.0 and 1e3 are, while 0.99999999999999999999
 * is not, although the number it is parsed to is.
 */
export function isWhole(number: string): boolean {
  const [mantissa = '', exponent = '0'] = number.toLowerCase().split('e')
  const [, fraction = ''] = mantissa.split('.')
  const digits = mantissa.replace(/\D/g, '')
  let end = digits.length
  while (digits[end - 1] === '0') end -= 1
  const zeros = digits.length - end
  return end === 0 || zeros + Number(exponent) >= fraction.length
}

/**
 * The fields of a JSON object with the text of their values as written, on one line. If a name
 * occurs twice, the last one counts, as with `JSON.parse`.
 *
 * @param json text that `JSON.parse` parses to an object
 */
export function rawFields(json: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>()
  let at = json.indexOf('{') + 1
  for (;;) {
    const start = json.indexOf('"', at)
    if (start < 0) return fields
    const end = endOfString(json, start)
    const valueStart = skipSpace(json, json.indexOf(':', end) + 1)
    at = endOfValue(json, valueStart)
    // A line break in JSON is only white space, because those in strings are escaped.
    const text = json.slice(valueStart, at).replace(/[\r\n]/g, ' ')
    fields.set(JSON.parse(json.slice(start, end)) as string, text)
  }
}

function skipSpace(json: string, from: number): number {
  let at = from
  while (' \t\r\n'.includes(json[at] ?? '{')) at += 1
  return at
}

/** @returns the position after the closing quote of the string that opens at `from`. */
function endOfString(json: string, from: number): number {
  let at = from + 1
  while (json[at] !== '"') at += json[at] === '\\' ? 2 : 1
  return at + 1
}

function endOfValue(json: string, from: number): number {
  let depth = 0
  let at = from
  for (;;) {
    const character = json[at] ?? '}'
    if (character === '"') {
      at = endOfString(json, at)
      if (depth === 0) return at
      continue
    }
    if (depth === 0 && ',} \t\r\n'.includes(character)) return at
    if (character === '{' || character === '[') depth += 1
    else if (character === '}' || character === ']') depth -= 1
    at += 1
    if (depth === 0 && (character === '}' || character === ']')) return at
  }
}
