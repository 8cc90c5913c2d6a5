/**
 * Numbers that a JavaScript number may not hold as they are written: many digits, an exponent, or a
 * negative zero. Also finds some in strings, which costs time and nothing else.
 */
const PERHAPS_INEXACT = /(?:\d\.?){16}|\d[eE]|(?:^|[^\w.])-0/

/** Whether values of a JSON text may have to be kept as they are written, see {@link rawFields}. */
export function mayLoseDigits(json: string): boolean {
  return PERHAPS_INEXACT.test(json)
}

const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g
/** As many decimal digits are the same again when they have been a number. */
export const SAFE_DIGITS = 15

/** What a JSON text says, with text in place of each number that would lose digits, as it is written. */
export function exactJson(json: string): unknown {
  // Also where digits are lost, as with quotes around them more would pass for numbers.
  const value: unknown = JSON.parse(json)
  if (!mayLoseDigits(json)) return value
  return JSON.parse(
    json.replace(STRING_OR_NUMBER, (token) =>
      token.startsWith('"') || isExact(token) ? token : `"${token}"`,
    ),
  )
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
 * The fields of a JSON object with their values as they are written, on one line. Where a name comes
 * twice, the last one counts, as it does for `JSON.parse`.
 *
 * @param json what `JSON.parse` takes for an object
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
    // Within JSON a line break is nothing but white space: those of strings are escaped.
    const text = json.slice(valueStart, at).replace(/[\r\n]/g, ' ')
    fields.set(JSON.parse(json.slice(start, end)) as string, text)
  }
}

function skipSpace(json: string, from: number): number {
  let at = from
  while (' \t\r\n'.includes(json[at] ?? '{')) at += 1
  return at
}

/** @returns behind the closing quote of the string whose opening one is at `from`. */
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
