import type { Workload, WorkloadRecord } from '../workload.ts'
import type { Peer, PeerLog, Visit } from './peer.ts'
import { loadPeerModule } from './peer-module.ts'

interface Document {
  readonly key: string
  readonly value: string
}

interface Storage {
  readonly length: number
  open(): boolean
  write(document: Document, callback?: () => void): number
  /** Record numbers start at 1; both ends are inclusive. */
  readRange(from: number, until: number): Iterable<Document>
  close(): void
}

interface EventStorage {
  readonly Storage: new (name: string, options: object) => Storage
}

const BUFFER_BYTES = 64 * 1024
const READ_BYTES = 16 * 1024

/** The storage below the event store, which would add a stream, version and time to each event. */
export const eventStorage: Peer = {
  name: 'event-storage',
  usage:
    'its Storage, which is faster than its EventStore; JSON, the value in base64 because values ' +
    `are bytes; a write buffer of ${BUFFER_BYTES / 1024} KiB, a read buffer of ` +
    `${READ_BYTES / 1024} KiB; durable: syncOnFlush, which flushes once for what has gathered in a ` +
    'turn. Its index is written up to 100 ms later',
  cannot: {},
  load: async () => {
    const { Storage } = (await loadPeerModule('event-storage')) as EventStorage
    return (dir, { flush }) => {
      const storage = new Storage('log', {
        dataDirectory: dir,
        writeBufferSize: BUFFER_BYTES,
        readBufferSize: READ_BYTES,
        syncOnFlush: flush === '1',
      })
      storage.open()
      return Promise.resolve(new EventLog(storage))
    }
  },
}

class EventLog implements PeerLog {
  readonly #storage: Storage

  constructor(storage: Storage) {
    this.#storage = storage
  }

  get nextOffset(): number {
    return this.#storage.length
  }

  bulk(workload: Workload, count: number): () => Promise<void> {
    return async () => {
      for (let index = 0; index < count - 1; index++) {
        this.#storage.write(documentOf(workload.record(index)))
      }
      // All records are in the file once the last one is.
      await this.append(workload.record(count - 1))
    }
  }

  append(record: WorkloadRecord): Promise<unknown> {
    return new Promise<void>((resolve) => {
      this.#storage.write(documentOf(record), resolve)
    })
  }

  replay(visit: Visit): Promise<void> {
    this.readFrom(0, Infinity, visit)
    return Promise.resolve()
  }

  readFrom(offset: number, limit: number, visit: Visit): number {
    const until = Math.min(offset + limit, this.#storage.length)
    // The storage would read backwards a range that ends before it begins.
    if (until <= offset) return 0
    for (const { key, value } of this.#storage.readRange(offset + 1, until)) {
      visit(key, Buffer.from(value, 'base64'))
    }
    return until - offset
  }

  close(): Promise<void> {
    this.#storage.close()
    return Promise.resolve()
  }
}

function documentOf({ keyText, value }: WorkloadRecord): Document {
  return { key: keyText, value: value.toString('base64') }
}
