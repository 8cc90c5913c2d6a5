import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { BenchStore } from './bench-case.ts'
import type { Peer, PeerLog, PeerSettings } from './peers/peer.ts'
import { Checksum, Workload } from './workload.ts'

/** A cleanly closed log of `count` records, before scaling. */
export function filledStore(peer: Peer, valueBytes: number, count: number): BenchStore {
  return {
    name: `${peer.storeOf ?? peer.name}/value=${valueBytes}/records=${count}`,
    fill: async (context) => {
      const workload = new Workload(valueBytes)
      const settings: PeerSettings = { flush: 'relaxed', valueBytes }
      const records = context.count(count)
      const open = await peer.load()
      const log = await open(context.dir, settings)
      await log.bulk(workload, records)()
      await log.close()
      await verifyLog(() => open(context.dir, settings), workload, records)
    },
  }
}

/**
 * Opens a log again and reads everything back.
 *
 * @param order whether record `i` of the workload must be at offset `i`, or only exist once.
 * @throws an Error if a record is missing, changed, out of place or superfluous.
 */
export async function verifyLog(
  open: () => Promise<PeerLog>,
  workload: Workload,
  count: number,
  order: 'ordered' | 'unordered' = 'ordered',
): Promise<void> {
  const log = await open()
  ensureEqual('next offset', log.nextOffset, count)
  await verifyReplay(log, workload, count, order)
  await log.close()
}

/** Like {@link verifyLog}, for a log that is already open. */
export async function verifyReplay(
  log: PeerLog,
  workload: Workload,
  count: number,
  order: 'ordered' | 'unordered' = 'ordered',
): Promise<void> {
  const checksum = new Checksum(order)
  await log.replay((key, value) => {
    checksum.add(key, value)
  })
  ensureEqual('count', checksum.count, count)
  const expected =
    order === 'ordered' ? workload.checksum(count) : workload.unorderedChecksum(count)
  ensureEqual('checksum', checksum.value, expected)
}

/** @throws an Error if they differ. */
export function ensureEqual(what: string, got: number, expected: number): void {
  if (got !== expected) throw new Error(`${what}: got ${got}, expected ${expected}`)
}

/** Total size of all files in `dir` and below it. */
export function sizeOnDisk(dir: string): number {
  return readdirSync(dir, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0)
}
