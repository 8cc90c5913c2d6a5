import { join } from 'node:path'
import type { Workload, WorkloadRecord } from '../workload.ts'
import { GroupCommit } from './group-commit.ts'
import type { Peer, PeerLog, PeerSettings, Visit } from './peer.ts'
import { loadPeerModule } from './peer-module.ts'

interface Statement {
  run(...parameters: readonly unknown[]): unknown
  get(...parameters: readonly unknown[]): unknown
  all(...parameters: readonly unknown[]): unknown[]
  pluck(): Statement
}

interface Database {
  pragma(source: string): unknown
  exec(source: string): void
  prepare(source: string): Statement
  transaction<T>(run: (argument: T) => void): (argument: T) => void
  close(): void
}

interface BetterSqlite3 {
  readonly default: new (path: string) => Database
}

const TRANSACTION_RECORDS = 1000
const PAGE_RECORDS = 1000

/** A table with a row for each record. */
export const betterSqlite3: Peer = {
  name: 'better-sqlite3',
  usage:
    'write-ahead log, exclusive lock, synchronous=FULL where durable and NORMAL where not; one ' +
    `prepared insert; bulk: transactions of ${TRANSACTION_RECORDS}; a promise each, and durable: ` +
    'a forty-line batcher, one transaction for what has gathered; reads: pages of ' +
    `${PAGE_RECORDS} by primary key`,
  cannot: {},
  load: async () => {
    const { default: Sqlite } = (await loadPeerModule('better-sqlite3')) as BetterSqlite3
    return (dir, settings) =>
      Promise.resolve(new SqliteLog(new Sqlite(join(dir, 'log.db')), settings))
  },
}

class SqliteLog implements PeerLog {
  nextOffset: number
  readonly #database: Database
  readonly #select: Statement
  readonly #insertAll: (records: readonly WorkloadRecord[]) => void
  readonly #group: GroupCommit

  constructor(database: Database, { flush }: PeerSettings) {
    this.#database = database
    database.pragma('locking_mode = EXCLUSIVE')
    database.pragma('journal_mode = WAL')
    database.pragma(`synchronous = ${flush === '1' ? 'FULL' : 'NORMAL'}`)
    database.exec('CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL)')
    const insert = database.prepare('INSERT INTO log VALUES (?, ?)')
    this.#select = database
      .prepare('SELECT payload FROM log WHERE seq >= ? ORDER BY seq LIMIT ?')
      .pluck()
    this.#insertAll = database.transaction((records: readonly WorkloadRecord[]) => {
      for (const { payload } of records) {
        insert.run(this.nextOffset, payload)
        this.nextOffset += 1
      }
    })
    this.#group = new GroupCommit((records) => {
      this.#insertAll(records)
      return undefined
    })
    const last = database.prepare('SELECT max(seq) FROM log').pluck().get() as number | null
    this.nextOffset = (last ?? -1) + 1
  }

  bulk(workload: Workload, count: number): () => Promise<void> {
    return () => {
      for (let from = 0; from < count; from += TRANSACTION_RECORDS) {
        this.#insertAll(workload.slice(from, Math.min(TRANSACTION_RECORDS, count - from)))
      }
      return Promise.resolve()
    }
  }

  append(record: WorkloadRecord): Promise<unknown> {
    return this.#group.append(record)
  }

  replay(visit: Visit): Promise<void> {
    let offset = 0
    while (offset < this.nextOffset) offset += this.readFrom(offset, PAGE_RECORDS, visit)
    return Promise.resolve()
  }

  readFrom(offset: number, limit: number, visit: Visit): number {
    const payloads = this.#select.all(offset, limit) as Buffer[]
    for (const payload of payloads) visit(null, payload)
    return payloads.length
  }

  close(): Promise<void> {
    this.#database.close()
    return Promise.resolve()
  }
}
