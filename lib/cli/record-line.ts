import { isUtf8 } from 'node:buffer'
import type { StoredRecord } from '../record/decode.ts'
import { InputError } from './command-arguments.ts'
import { UNSAFE } from './report.ts'

/** A byte of text may take six bytes in JSON, and no string is longer than 512 MiB. */
const MAX_TEXT_BYTES = 64 * 1024 * 1024

/** Bytes in JSON: text if they are UTF-8, base64 if they are not, or are too many. */
type JsonBytes = string | { readonly base64: string } | null

/**
 * A record as one line of JSON from which each of its bytes can be recovered: fields `partition`,
 * `offset`, `timestamp` in milliseconds, `key`, `value`, and `headers` if there are any.
 *
 * @throws InputError if it is too large for a line.
 */
export function recordLine(partition: number, record: StoredRecord): string {
  const { offset, timestamp, key, value } = record
  try {
    const fields = { partition, offset, timestamp, key: textOf(key), value: textOf(value) }
    const headers = record.headers.map((header) => ({
      key: header.key,
      value: textOf(header.value),
    }))
    return jsonLine(headers.length === 0 ? fields : { ...fields, headers })
  } catch (error) {
    const place = `the record at offset ${offset} of ${record.topic}-${partition}`
    throw new InputError(`${place} is too large for a line`, { cause: error })
  }
}

/** JSON on one line, without characters that a terminal would interpret. */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value).replace(UNSAFE, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}

function textOf(bytes: Buffer | null): JsonBytes {
  if (bytes === null) return null
  return bytes.length <= MAX_TEXT_BYTES && isUtf8(bytes)
    ? bytes.toString()
    : { base64: bytes.toString('base64') }
}
