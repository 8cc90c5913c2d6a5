/** The calls to trace: every one that changes files or makes them durable, or hides such calls. */
export const TRACED_CALLS: readonly string[] = [
  ...['open', 'openat', 'openat2', 'creat', 'mkdir', 'mkdirat', 'link', 'linkat', 'symlink'],
  ...['rename', 'renameat', 'renameat2', 'unlink', 'unlinkat', 'rmdir', 'truncate', 'ftruncate'],
  ...['write', 'pwrite64', 'writev', 'pwritev', 'pwritev2', 'sendfile', 'copy_file_range'],
  ...['fallocate', 'fsync', 'fdatasync', 'sync', 'syncfs', 'sync_file_range'],
  ...['io_uring_setup', 'io_uring_enter'],
]

/**
 * One end of a call, in the order in which the tracer saw them.
 *
 * A traced thread stops at either end until the tracer lets it continue. So a call whose `enter`
 * follows the `exit` of another began after that one had returned, and had no effect before.
 */
export interface CallEnd {
  readonly end: 'enter' | 'exit'
  readonly call: string
  /** As strace prints them, without the parentheses. */
  readonly args: string
  /** The result: -1 if the call failed, `null` on `enter`. */
  readonly result: number | null
}

/** Assembles the lines of `strace -f -y` into calls. */
export class StraceLines {
  /** By thread, the calls that have begun. */
  readonly #unfinished = new Map<string, { call: string; args: string }>()

  /** @throws Error for a line that is not strace's. */
  read(line: string): CallEnd[] {
    const found = /^(\d+)\s+(?:[\d.]+\s+)?(.*)$/s.exec(line)
    const [, thread = '', text = ''] = found ?? []
    if (found === null) throw new Error(`not a line of strace: ${line}`)
    if (text.startsWith('+++') || text.startsWith('---')) return []
    const resumed = /^<\.\.\. (\w+) resumed>(.*)$/s.exec(text)
    if (resumed !== null) {
      const begun = this.#unfinished.get(thread)
      this.#unfinished.delete(thread)
      if (begun === undefined) throw new Error(`resumed without a beginning: ${line}`)
      return [exitOf(begun.call, begun.args, resumed[2] ?? '', line)]
    }
    const started = /^(\w+)\((.*)$/s.exec(text)
    const [, call = '', rest = ''] = started ?? []
    if (started === null) throw new Error(`not a call: ${line}`)
    if (rest.endsWith('<unfinished ...>')) {
      const args = rest.slice(0, -'<unfinished ...>'.length).trimEnd()
      this.#unfinished.set(thread, { call, args })
      return [{ end: 'enter', call, args, result: null }]
    }
    const exit = exitOf(call, '', rest, line)
    return [{ end: 'enter', call, args: exit.args, result: null }, exit]
  }
}

function exitOf(call: string, begun: string, rest: string, line: string): CallEnd {
  // The written data may look like an end, but the real end comes last.
  const found = /^(.*)\)\s+= (-?\d+|\?)/s.exec(rest)
  const [, args = '', result = ''] = found ?? []
  if (found === null) throw new Error(`a call without a result: ${line}`)
  return { end: 'exit', call, args: begun + args, result: result === '?' ? -1 : Number(result) }
}

/** The path of the descriptor with which `args` begin; `null` if they begin with none. */
export function descriptorPath(args: string): string | null {
  return /^\d+<([^>]*)>/.exec(args)?.[1] ?? null
}

/** The descriptor with which `args` begin. */
export function descriptorNumber(args: string): number {
  return Number(/^\d+/.exec(args)?.[0] ?? -1)
}

/** The last of `args`, which must be a number: a write's position, a truncation's size. */
export function lastNumber(args: string): number {
  return Number(/(-?\d+)$/.exec(args)?.[1] ?? NaN)
}

/** Every string in `args`, as the bytes it represents. @throws Error if strace cut one off. */
export function quotedBytes(args: string): Buffer[] {
  const strings: Buffer[] = []
  for (let at = args.indexOf('"'); at >= 0; at = args.indexOf('"', at)) {
    const bytes: number[] = []
    for (at += 1; args[at] !== '"';) {
      if (at >= args.length) throw new Error(`a string without an end: ${args.slice(0, 200)}`)
      const [byte, length] = byteAt(args, at)
      bytes.push(byte)
      at += length
    }
    at += 1
    if (args.startsWith('...', at)) throw new Error('strace has cut a string off: raise -s')
    strings.push(Buffer.from(bytes))
  }
  return strings
}

const ESCAPES: Readonly<Record<string, number>> = { n: 10, t: 9, r: 13, v: 11, f: 12 }

function byteAt(text: string, at: number): [byte: number, length: number] {
  if (text[at] !== '\\') return [text.charCodeAt(at), 1]
  const octal = /^[0-7]{1,3}/.exec(text.slice(at + 1, at + 4))?.[0]
  if (octal !== undefined) return [parseInt(octal, 8), 1 + octal.length]
  const escaped = text[at + 1] ?? ''
  return [ESCAPES[escaped] ?? escaped.charCodeAt(0), 2]
}
