import { basename, dirname } from 'node:path'
import {
  decodeOffsetCommitKey,
  decodeOffsetCommitValue,
} from '../../lib/broker/offset-commit-codec.ts'
import { decodeUncompressed } from '../../lib/record/decode.ts'
import type { RecordBatch } from '../../lib/record/record-batch.ts'
import { batchesIn } from '../record/raw-batch.ts'
import {
  descriptorNumber,
  descriptorPath,
  lastNumber,
  quotedBytes,
  StraceLines,
  type CallEnd,
} from './strace-lines.ts'
import { TracedFiles, type TracedBatch, type TracedFile } from './traced-files.ts'

const MARK = '.kafka_cleanshutdown'
const COMMITS = '__consumer_offsets-0'

/** What was checked, to show that the check was not empty. */
export interface SyncOrderCounts {
  /** Acknowledgements of durable records, of written ones, and of commits. */
  acknowledged: number
  written: number
  committed: number
  /** Log files that were created after another one of their partition. */
  rolls: number
  /** Files that were replaced. */
  renames: number
  /** Clean closes. */
  closes: number
}

/**
 * Holds a trace against the order that durability needs: what is acknowledged was synced before.
 *
 * The traced process works in `<root>/data` and says on descriptor 1 what it was told, one line
 * each:
 *
 *   RELAXED <partition>            what is acknowledged of it from now on need not be durable
 *   ACK <partition> <offset>       the record is durable
 *   WRITTEN <partition> <offset>   the record is written
 *   COMMIT <partition> <offset>    the committed offset is durable
 *   DONE <what>                    nothing is under way, and everything is durable
 */
export class SyncOrder {
  readonly violations: string[] = []
  readonly counts: SyncOrderCounts = {
    ...{ acknowledged: 0, written: 0, committed: 0, rolls: 0, renames: 0, closes: 0 },
  }
  readonly #lines = new StraceLines()
  readonly #files: TracedFiles
  readonly #relaxed = new Set<string>()
  readonly #lastAcknowledged = new Map<string, number>()
  /** When each sync in progress began, by its arguments. */
  readonly #syncs = new Map<string, number>()
  #at = 0

  /** @param root a directory that was empty when the trace began; its path has no symbolic link. */
  constructor(root: string) {
    this.#files = new TracedFiles(root)
  }

  /** Processes the next line of `strace -f -y -s <more than any write>`. */
  read(line: string): void {
    for (const callEnd of this.#lines.read(line)) {
      this.#at += 1
      if (callEnd.end === 'enter') this.#enter(callEnd)
      else if (callEnd.result !== null && callEnd.result >= 0) this.#succeeded(callEnd)
      else this.#failed(callEnd)
    }
  }

  #enter({ call, args }: CallEnd): void {
    if (call.startsWith('io_uring')) this.#violated(`${call} hides calls from the trace`)
    const path = descriptorPath(args)
    if (call === 'write' && descriptorNumber(args) === 1) this.#said(args)
    if (call === 'fsync' || call === 'fdatasync') this.#syncs.set(`${call} ${args}`, this.#at)
    if (call === 'pwritev' || call === 'pwrite64') {
      if (path !== null && path.endsWith('.log') && this.#isOurs(path))
        this.#beforeWrite(path, args)
    }
    if (call === 'rename') this.#beforeRename(args)
    if (call === 'openat' && args.includes('O_CREAT')) {
      const created = quotedBytes(args)[0]?.toString() ?? ''
      this.#afterMarkIsTaken(created)
    }
  }

  #succeeded({ call, args, result }: CallEnd): void {
    const path = descriptorPath(args) ?? ''
    switch (call) {
      case 'openat':
        if (args.includes('O_CREAT')) this.#opened(quotedBytes(args)[0]?.toString() ?? '')
        return
      case 'mkdir': {
        const made = quotedBytes(args)[0]?.toString() ?? ''
        if (this.#isOurs(made)) this.#files.addName(made, 'created', this.#at)
        return
      }
      case 'pwrite64':
      case 'pwritev':
        if (this.#isOurs(path)) this.#written(path, args, result ?? 0)
        return
      case 'ftruncate':
        if (this.#isOurs(path)) this.#files.file(path).truncate(lastNumber(args), this.#at)
        return
      case 'rename': {
        const [from = '', to = ''] = quotedBytes(args).map(String)
        if (!this.#isOurs(from)) return
        this.counts.renames += 1
        this.#files.rename(from, to, this.#at)
        return
      }
      case 'unlink':
      case 'rmdir': {
        const removed = quotedBytes(args)[0]?.toString() ?? ''
        if (this.#isOurs(removed)) this.#files.unlink(removed, this.#at)
        return
      }
      case 'fsync':
      case 'fdatasync': {
        const startedAt = this.#syncs.get(`${call} ${args}`) ?? this.#at
        this.#files.synced(path, startedAt)
        return
      }
      default:
        this.#notKnown(call, args)
    }
  }

  /** Failed calls leave nothing to check, except that a failed sync must not be ignored. */
  #failed({ call, args }: CallEnd): void {
    const path = descriptorPath(args) ?? ''
    if (call.endsWith('sync') && this.#isOurs(path)) this.#violated(`${call} of ${path} has failed`)
  }

  #opened(path: string): void {
    if (!this.#isOurs(path) || this.#files.files.has(path)) return
    this.#files.file(path)
    this.#files.addName(path, 'created', this.#at)
    if (path.endsWith('.log') && this.#files.logsIn(dirname(path)).length > 1)
      this.counts.rolls += 1
  }

  #written(path: string, args: string, result: number): void {
    const bytes = Buffer.concat(quotedBytes(args)).subarray(0, result)
    const file = this.#files.file(path)
    file.write(bytes, lastNumber(args), this.#at)
    if (path.endsWith('.log')) file.findBatches()
  }

  /** Checks what has to be durable before batches are written. */
  #beforeWrite(path: string, args: string): void {
    const directory = dirname(path)
    const name = basename(directory)
    const file = this.#files.file(path)
    for (const log of this.#files.logsIn(directory)) {
      if (log.path !== path && log.file.unsynced.length > 0) {
        this.#violated(`${path} is written to while ${log.path} is not synced (R4)`)
      }
    }
    if (!this.#relaxed.has(name) && file.unsynced.length > 0) {
      this.#violated(`a group is written to ${path} before the one in front of it is synced (R2)`)
    }
    for (const { path: renamed, change } of this.#files.unsyncedNames) {
      if (change === 'renamed' && dirname(renamed) === directory) {
        this.#violated(`${path} is written to before the name of ${renamed} is synced (F3)`)
      }
    }
    if (lastNumber(args) !== file.endOfBatches) return
    for (const batch of batchesIn(Buffer.concat(quotedBytes(args)))) {
      if (batch.isGroupStart && !this.#isDurableBelow(directory, batch.baseOffset)) {
        this.#violated(
          `offset ${batch.baseOffset} of ${name} starts a group, and what is before it is not durable`,
        )
      }
      if (name === COMMITS) this.#beforeCommit(batch)
    }
  }

  /** Checks that a commit does not become durable before the records it covers. */
  #beforeCommit(batch: RecordBatch): void {
    const place = { topic: '__consumer_offsets', partition: 0, path: null, position: 0 }
    for (const { key, value } of decodeUncompressed(batch, place)) {
      const owner = key === null ? null : decodeOffsetCommitKey(key)
      const commit = value === null ? null : decodeOffsetCommitValue(value)
      if (owner === null || commit === null) continue
      const name = `${owner.topic}-${owner.partition}`
      if (!this.#isDurableBelow(this.#files.partition(name), commit.offset)) {
        this.#violated(`offset ${commit.offset} of ${name} is committed before it is durable (R7)`)
      }
    }
  }

  #beforeRename(args: string): void {
    const [from = '', to = ''] = quotedBytes(args).map(String)
    if (!this.#isOurs(from)) return
    if (this.#files.file(from).unsynced.length > 0) {
      this.#violated(`${from} is renamed before its content is synced (F3)`)
    }
    if (this.#files.unsyncedNames.some((each) => each.path === to && each.change === 'renamed')) {
      this.#violated(`${to} is replaced again before its name is synced (F3)`)
    }
    if (basename(to) === MARK) this.#beforeMark(from)
    this.#afterMarkIsTaken(from)
  }

  #beforeMark(ownName: string): void {
    this.counts.closes += 1
    for (const what of this.#files.notDurable()) {
      if (!what.startsWith(ownName)) this.#violated(`marked as closed before: ${what} (R9)`)
    }
  }

  /** Checks that the removal of the clean-shutdown mark is durable before anything else changes. */
  #afterMarkIsTaken(path: string): void {
    if (!this.#isOurs(path)) return
    const isPending = this.#files.unsyncedNames.some(
      (each) => basename(each.path) === MARK && each.change === 'removed',
    )
    if (isPending) this.#violated(`${path} changes before the removal of ${MARK} is synced (F26)`)
  }

  #said(args: string): void {
    for (const line of (quotedBytes(args)[0]?.toString() ?? '').split('\n')) {
      const [verb = '', name = '', number = ''] = line.split(' ')
      if (verb === 'RELAXED') this.#relaxed.add(name)
      if (verb === 'ACK') this.#acknowledged(name, Number(number))
      if (verb === 'WRITTEN') this.#acknowledgedAsWritten(name, Number(number))
      if (verb === 'COMMIT') this.#acknowledgedCommit(name, Number(number))
      if (verb === 'DONE') {
        for (const what of this.#files.notDurable())
          this.#violated(`${line}, but not durable: ${what}`)
      }
    }
  }

  #acknowledged(name: string, offset: number): void {
    this.counts.acknowledged += 1
    const before = this.#lastAcknowledged.get(name) ?? -1
    this.#lastAcknowledged.set(name, offset)
    if (offset <= before) this.#violated(`${name} ${offset} is acknowledged behind ${before} (R5)`)
    const record = this.#find(name, offset)
    if (record === null) return
    if (!record.file.isSynced(record.batch)) {
      this.#violated(`${name} ${offset} is acknowledged before it is synced`)
    }
    for (const { path, change } of this.#files.namesAbove(record.path)) {
      this.#violated(`${name} ${offset} is acknowledged before ${path}, ${change}, is synced (R3)`)
    }
  }

  #acknowledgedAsWritten(name: string, offset: number): void {
    this.counts.written += 1
    this.#find(name, offset)
  }

  #acknowledgedCommit(name: string, offset: number): void {
    this.counts.committed += 1
    const log = this.#files.logsIn(this.#files.partition(COMMITS)).at(-1)
    if (log === undefined || log.file.batches.length === 0) {
      this.#violated(`a commit of ${name} ${offset} is acknowledged and not in the log`)
      return
    }
    if (!log.file.isSynced({ start: 0, end: Infinity })) {
      this.#violated(`a commit of ${name} ${offset} is acknowledged before it is synced`)
    }
    for (const { path } of this.#files.namesAbove(log.path)) {
      this.#violated(`a commit of ${name} ${offset} is acknowledged before ${path} is synced (R3)`)
    }
  }

  #find(
    name: string,
    offset: number,
  ): { path: string; file: TracedFile; batch: TracedBatch } | null {
    for (const { path, file } of this.#files.logsIn(this.#files.partition(name)).reverse()) {
      const batch = file.batchOf(offset)
      if (batch !== undefined) return { path, file, batch }
    }
    this.#violated(`${name} ${offset} is acknowledged and was never written`)
    return null
  }

  #isDurableBelow(directory: string, offset: number): boolean {
    return this.#files.logsIn(directory).every(({ path, file }) => {
      const batches = file.batches.filter((batch) => batch.baseOffset < offset)
      const isLost = this.#files.namesAbove(path).length > 0
      const end = batches.at(-1)?.end ?? 0
      return batches.length === 0 || (!isLost && file.isSynced({ start: 0, end }))
    })
  }

  /** Reports every call that could change a file in a way that is not tracked here. */
  #notKnown(call: string, args: string): void {
    const path = descriptorPath(args) ?? quotedBytes(args)[0]?.toString() ?? ''
    if (call === 'sync' || call === 'syncfs')
      this.#violated(`${call} hides which syncs are missing`)
    if (this.#isOurs(path)) this.#violated(`${call} of ${path} is not followed`)
  }

  #isOurs(path: string): boolean {
    // After a power loss nobody holds the lock, so its file need not be durable.
    return this.#files.isBelowRoot(path) && !basename(path).startsWith('.varve.lock')
  }

  #violated(what: string): void {
    this.violations.push(`event ${this.#at}: ${what}`)
  }
}
