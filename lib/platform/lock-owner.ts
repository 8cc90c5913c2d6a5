import { randomBytes } from 'node:crypto'
import { constants, readFileSync, readlinkSync } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename } from 'node:path'
import { isSystemError } from './system-error.ts'

/** Where an owner runs, as far as the system tells. */
export interface OwnerProcess {
  readonly pid: number
  /** Start time in the system's own unit, which tells the process from a later one of that pid. */
  readonly startTime: string | null
  /** The system's id of the thread, equal to `pid` in the first thread; `null` if unknown. */
  readonly threadId: number | null
  readonly host: string
  /** Identifies one boot of one kernel. */
  readonly bootId: string | null
  /** Within this namespace a `pid` means the same process to everyone. */
  readonly pidNamespace: string | null
  /** Within this namespace a guard's name means the same socket to everyone. */
  readonly networkNamespace: string | null
  /** Within it a `startTime` means the same to all; `null` also in records of older versions. */
  readonly timeNamespace: string | null
}

/** The holder of a directory. */
export interface OwnerRecord extends OwnerProcess {
  /** Random; new for every lock taken. */
  readonly token: string
  readonly sinceMs: number
  /** Name of the guard that the owner holds; `null` if it has none. */
  readonly guard: string | null
}

/** Distinguishes a file from all others that exist. */
export interface FileIdentity {
  readonly dev: bigint
  readonly ino: bigint
}

/** A token for a new record, different from all others. */
export function newOwnerToken(): string {
  return randomBytes(16).toString('hex')
}

/** Describes the running thread for its owner record. Synchronous: /proc is memory, not disk. */
export function describeThisProcess(platform: NodeJS.Platform = process.platform): OwnerProcess {
  const thread = { pid: process.pid, threadId: threadIdHere(), host: hostname() }
  if (platform !== 'linux') {
    // Process ids mean the same to everyone on such a machine, and its name stands for it. After a
    // restart an old pid is either unknown, or given to another process, which proves nothing.
    const machine = `${platform} ${thread.host}`
    const none = { startTime: null, networkNamespace: null, timeNamespace: null }
    return { ...thread, ...none, bootId: machine, pidNamespace: machine }
  }
  return {
    ...thread,
    startTime: showsOwnNamespace() ? startTimeOf(process.pid) : null,
    bootId: textOrNull(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')),
    pidNamespace: textOrNull(() => readlinkSync('/proc/self/ns/pid')),
    networkNamespace: textOrNull(() => readlinkSync('/proc/self/ns/net')),
    timeNamespace: textOrNull(() => readlinkSync('/proc/self/ns/time')),
  }
}

/** Encodes the content of a lock file: one line of JSON. */
export function encodeOwnerRecord(record: OwnerRecord): Buffer {
  return Buffer.from(`${JSON.stringify(record)}\n`, 'utf8')
}

/**
 * Decodes the content of a lock file.
 *
 * @returns `null` if it is not a record. The owner is then unknown, which no caller may take for
 * "there is no owner".
 */
export function decodeOwnerRecord(bytes: Buffer): OwnerRecord | null {
  try {
    return toOwnerRecord(JSON.parse(bytes.toString('utf8')))
  } catch {
    return null
  }
}

/** Longest file name that most file systems accept. */
const MAX_NAME_BYTES = 255
/** Room for what precedes the record in a file name. */
const MAX_PREFIX_BYTES = 16

/** The fields of a record in their order in a file name. Older versions know all but the last. */
const NAME_FIELDS = [
  ...(['token', 'pid', 'threadId', 'startTime', 'bootId', 'pidNamespace'] as const),
  ...(['networkNamespace', 'guard', 'sinceMs', 'host', 'timeNamespace'] as const),
]
const OLD_NAME_FIELDS = NAME_FIELDS.length - 1
const NUMBER_FIELDS: ReadonlySet<string> = new Set(['pid', 'threadId', 'sinceMs'])

/**
 * Encodes a record as part of a file name, which needs no space on a full disk.
 *
 * @returns `null` if it would be too long.
 */
export function encodeOwnerName(record: OwnerRecord): string | null {
  const name = NAME_FIELDS.map((field) => encodeURIComponent(record[field] ?? '')).join(',')
  return name.length > MAX_NAME_BYTES - MAX_PREFIX_BYTES ? null : name
}

/** Decodes the result of {@link encodeOwnerName}; `null` for anything else. */
export function decodeOwnerName(name: string): OwnerRecord | null {
  const parts = name.split(',')
  if (parts.length !== NAME_FIELDS.length && parts.length !== OLD_NAME_FIELDS) return null
  try {
    const fields = NAME_FIELDS.map((field, slot): [string, string | number | null] => {
      const text = decodeURIComponent(parts[slot] ?? '')
      if (text === '') return [field, null]
      return [field, NUMBER_FIELDS.has(field) ? Number(text) : text]
    })
    return toOwnerRecord(Object.fromEntries(fields))
  } catch {
    return null
  }
}

/**
 * Determines whether the owner in `record` is certainly gone, so that its lock needs no waiting.
 *
 * `true` requires a proof; everything else is `false`. There are two proofs, both for the boot of
 * this kernel only, because process ids, namespaces and sockets of any other machine or boot mean
 * nothing here:
 *
 * 1. The owner held the guard that the caller holds now: the same name in the same network
 *    namespace. An owner keeps its guard for as long as it may write, and the kernel gives a name
 *    to one socket at a time. A worker thread requires more: when it is terminated, its sockets are
 *    closed at once, but writes in flight continue for as long as the disk takes. Its files are
 *    closed after them, so its process must no longer have its lock file open.
 * 2. The owner's process has ended: in the same pid namespace its pid is unknown, or belongs to a
 *    process with another start time, by the clock of the same time namespace.
 *
 * The id of a namespace may be reused once the namespace is gone, but then everything that ran in
 * it is gone as well, including the owner.
 *
 * @param found.guard name of the guard that the caller holds, `null` if it holds none.
 * @param found.file the lock file with the record.
 */
export async function isOwnerGone(
  record: OwnerRecord,
  self: OwnerProcess,
  found: { readonly guard: string | null; readonly file: FileIdentity },
): Promise<boolean> {
  if (record.bootId === null || record.bootId !== self.bootId) return false
  const hasLostGuard =
    found.guard !== null &&
    record.guard === found.guard &&
    record.networkNamespace !== null &&
    record.networkNamespace === self.networkNamespace
  if (hasLostGuard && record.threadId === record.pid) return true
  if (record.pidNamespace === null || record.pidNamespace !== self.pidNamespace) return false
  // Checked before /proc, which may hide the processes of other users as if there were none.
  if (!processExists(record.pid)) return true
  if (!showsOwnNamespace()) return false
  if (record.timeNamespace === self.timeNamespace && record.startTime !== null) {
    const startTime = startTimeOf(record.pid)
    if (startTime !== null && startTime !== record.startTime) return true
  }
  return hasLostGuard && !(await mayHold(record.pid, found.file))
}

/**
 * Whether a process has the lock file open for writing, as its holder does; others open it for
 * reading only. `true` if that cannot be determined.
 */
async function mayHold(pid: number, file: FileIdentity): Promise<boolean> {
  try {
    for (const descriptor of await readdir(`/proc/${pid}/fd`)) {
      const open = await stat(`/proc/${pid}/fd/${descriptor}`, { bigint: true }).catch(() => null)
      if (open?.ino !== file.ino || open.dev !== file.dev) continue
      const info = textOrNull(() => readFileSync(`/proc/${pid}/fdinfo/${descriptor}`, 'utf8'))
      const flags = /^flags:\s+([0-7]+)$/m.exec(info ?? '')?.[1]
      if (flags === undefined || (parseInt(flags, 8) & 3) === constants.O_RDWR) return true
    }
    return false
  } catch {
    return true
  }
}

function processExists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return !isSystemError(error, 'ESRCH')
  }
}

/** Avoids node:worker_threads, which replaces `process.chdir` when it is loaded. */
function threadIdHere(): number | null {
  try {
    // Synchronous, to stay in this thread: it reads `<pid>/task/<thread>`.
    return Number(basename(readlinkSync('/proc/thread-self')))
  } catch {
    return null
  }
}

/**
 * Whether /proc lists this process under its own id. It may be mounted from another pid namespace,
 * in which every id belongs to a different process.
 */
function showsOwnNamespace(): boolean {
  return textOrNull(() => readlinkSync('/proc/self')) === String(process.pid)
}

function startTimeOf(pid: number): string | null {
  const line = textOrNull(() => readFileSync(`/proc/${pid}/stat`, 'utf8'))
  // The second field is the program's name in parentheses, which may itself contain spaces and
  // parentheses. The third field follows the last one; the start time is the 22nd.
  return line?.slice(line.lastIndexOf(')') + 2).split(' ')[22 - 3] ?? null
}

function textOrNull(read: () => string): string | null {
  try {
    return read().trim()
  } catch {
    return null
  }
}

function toOwnerRecord(value: unknown): OwnerRecord | null {
  if (typeof value !== 'object' || value === null) return null
  const fields = new Map<string, unknown>(Object.entries(value))
  const text = (name: string): string | null => {
    const field = fields.get(name)
    return typeof field === 'string' ? field : null
  }
  const token = text('token')
  const host = text('host')
  const pid = fields.get('pid')
  const thread = fields.get('threadId')
  const sinceMs = fields.get('sinceMs')
  if (token === null || host === null) return null
  // A pid of zero or less would address a process group.
  if (typeof pid !== 'number' || !Number.isInteger(pid) || pid <= 0) return null
  // Date accepts no larger number.
  if (typeof sinceMs !== 'number' || !(Math.abs(sinceMs) <= 8.64e15)) return null
  return {
    token,
    host,
    pid,
    sinceMs,
    threadId: typeof thread === 'number' ? thread : null,
    guard: text('guard'),
    startTime: text('startTime'),
    bootId: text('bootId'),
    pidNamespace: text('pidNamespace'),
    networkNamespace: text('networkNamespace'),
    timeNamespace: text('timeNamespace'),
  }
}
