import { randomBytes } from 'node:crypto'
import { constants, readFileSync, readlinkSync } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename } from 'node:path'
import { isSystemError } from './system-error.ts'

/** Where an owner runs, as far as the system tells. */
export interface OwnerProcess {
  readonly pid: number
  /** When the process started, in the system's own unit, to tell it from a later one of that pid. */
  readonly startTime: string | null
  /** The system's id of the thread, for the first thread that of the process; `null` where it is not known. */
  readonly threadId: number | null
  readonly host: string
  /** One boot of one kernel. */
  readonly bootId: string | null
  /** Within it a `pid` means the same process to everyone. */
  readonly pidNamespace: string | null
  /** Within it a guard's name means the same socket to everyone. */
  readonly networkNamespace: string | null
  /** Within it a `startTime` means the same moment to everyone; `null` also in records of older versions. */
  readonly timeNamespace: string | null
}

/** Who holds a directory. */
export interface OwnerRecord extends OwnerProcess {
  /** Random, new for every lock taken. */
  readonly token: string
  readonly sinceMs: number
  /** Name of the guard that the owner holds, `null` where it has none. */
  readonly guard: string | null
}

/** What tells a file from all others that exist. */
export interface FileIdentity {
  readonly dev: bigint
  readonly ino: bigint
}

/** A token for a new record, different from all others. */
export function newOwnerToken(): string {
  return randomBytes(16).toString('hex')
}

/** Describes the running thread for its owner record. At once: /proc is memory, no disk is asked. */
export function describeThisProcess(platform: NodeJS.Platform = process.platform): OwnerProcess {
  const thread = { pid: process.pid, threadId: threadIdHere(), host: hostname() }
  if (platform !== 'linux') {
    // Process ids mean the same to everyone on such a machine, and its name has to stand for it. A
    // pid from before a restart is unknown by now, or given to another, which proves nothing.
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

/** The bytes of a lock file: one line of JSON. */
export function encodeOwnerRecord(record: OwnerRecord): Buffer {
  return Buffer.from(`${JSON.stringify(record)}\n`, 'utf8')
}

/**
 * Reads the bytes of a lock file.
 *
 * @returns `null` when they are no record: then nothing is known about the owner, which no caller
 * may take for "there is no owner".
 */
export function decodeOwnerRecord(bytes: Buffer): OwnerRecord | null {
  try {
    return toOwnerRecord(JSON.parse(bytes.toString('utf8')))
  } catch {
    return null
  }
}

/** Most file systems take no longer name. */
const MAX_NAME_BYTES = 255
/** What is in front of the record in the name of a file. */
const MAX_PREFIX_BYTES = 16

/** The fields of a record in the order that they have in a name. Older versions know all but the last. */
const NAME_FIELDS = [
  ...(['token', 'pid', 'threadId', 'startTime', 'bootId', 'pidNamespace'] as const),
  ...(['networkNamespace', 'guard', 'sinceMs', 'host', 'timeNamespace'] as const),
]
const OLD_NAME_FIELDS = NAME_FIELDS.length - 1
const NUMBER_FIELDS: ReadonlySet<string> = new Set(['pid', 'threadId', 'sinceMs'])

/**
 * The record as a part of a file's name, which takes no room on a disk that is full.
 *
 * @returns `null` where it would be too long.
 */
export function encodeOwnerName(record: OwnerRecord): string | null {
  const name = NAME_FIELDS.map((field) => encodeURIComponent(record[field] ?? '')).join(',')
  return name.length > MAX_NAME_BYTES - MAX_PREFIX_BYTES ? null : name
}

/** Reads what {@link encodeOwnerName} has made; `null` for all else. */
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
 * Tells whether the owner in `record` is certainly gone, so that its lock needs no waiting.
 *
 * `true` takes a proof; everything else is `false`. There are two proofs, both for the boot of this
 * kernel only, because process ids, namespaces and sockets of any other machine or boot mean
 * nothing here:
 *
 * 1. The owner held the guard that the caller holds now: the same name in the same network
 *    namespace. An owner keeps its guard for as long as it may write, and the kernel gives a name
 *    to one socket at a time. A worker thread needs more: when it is terminated, its sockets are
 *    closed at once, and the writes it has begun go on for as long as the disk takes. Its files
 *    are closed after them, so its process must have its lock file open no more.
 * 2. The owner's process has ended: in the same pid namespace its pid is unknown, or belongs to a
 *    process that started at another time, by the clock of the same time namespace.
 *
 * The id of a namespace may be given again once the namespace is gone, but then everything that
 * ran in it is gone as well, the owner included.
 *
 * @param found.guard name of the guard that the caller holds, `null` when it holds none.
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
  // Asked first, because /proc may hide the processes of other users as if there were none.
  if (!processExists(record.pid)) return true
  if (!showsOwnNamespace()) return false
  if (record.timeNamespace === self.timeNamespace && record.startTime !== null) {
    const startTime = startTimeOf(record.pid)
    if (startTime !== null && startTime !== record.startTime) return true
  }
  return hasLostGuard && !(await mayHold(record.pid, found.file))
}

/**
 * Whether a process has the lock file open as its holder does, which is for writing too; those who
 * look at it open it for reading. What cannot be told is taken for "it has".
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

/** Not asked of node:worker_threads, which replaces `process.chdir` when it is loaded. */
function threadIdHere(): number | null {
  try {
    // At once, in this thread: it reads `<pid>/task/<thread>`.
    return Number(basename(readlinkSync('/proc/thread-self')))
  } catch {
    return null
  }
}

/**
 * Whether /proc has this process under its own id. It may be mounted from another pid namespace, where that
 * id, and any other, is the id of somebody else.
 */
function showsOwnNamespace(): boolean {
  return textOrNull(() => readlinkSync('/proc/self')) === String(process.pid)
}

function startTimeOf(pid: number): string | null {
  const line = textOrNull(() => readFileSync(`/proc/${pid}/stat`, 'utf8'))
  // The second field is the name of the program in parentheses and may itself hold spaces and
  // parentheses; behind the last one follow the third field and so on. The start is the 22nd.
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
  // A pid of zero or less would address a whole group of processes.
  if (typeof pid !== 'number' || !Number.isInteger(pid) || pid <= 0) return null
  // Date takes no larger number.
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
