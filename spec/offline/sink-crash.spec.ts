import { describe, expect, it } from 'vitest'
import type { Broker } from '../../lib/index.ts'
import { ndjsonSink, parquetSink, planLoad, runLoad, type Sink } from '../../lib/offline/index.ts'
import { SimulatedFileSystem } from '../../lib/testing/index.ts'
import { brokerFor, committed, fill, offsetsIn, OUT, parquetOffsets, upTo } from './loads.ts'

const SINKS = [
  [
    'NDJSON',
    (fileSystem: SimulatedFileSystem) => ndjsonSink(OUT, { fileSystem, fields: 'infer' }),
    offsetsIn,
  ],
  [
    'Parquet',
    (fileSystem: SimulatedFileSystem) => parquetSink(OUT, { fileSystem }),
    parquetOffsets,
  ],
] as const

/** A restart of the process, and two of the machine. */
const RESTARTS = [
  ['process', 'kept'],
  ['power', 'lost'],
  ['power', 'random'],
] as const

async function load(broker: Broker, sink: Sink, maxRecords: number): Promise<void> {
  const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords } })
  await runLoad(plan, sink, { retries: 0, concurrency: 1 })
}

describe.each(SINKS)('a load into %s that crashes at any operation', (_, sinkOn, offsetsOf) => {
  it('stores each offset exactly once when it is run again with other tasks', async () => {
    const image = new SimulatedFileSystem()
    const filling = await brokerFor(image)
    await fill(filling, 'orders', [24])
    await filling
      .topic('orders')
      .partition(0)
      .append({ key: Buffer.from([0xff]), value: '{}' })
    await filling.close()
    const failures: string[] = []
    let crashes = 0
    for (let at = 1; ; at += 1) {
      const disk = image.fork({ seed: at })
      const broker = await brokerFor(disk)
      disk.crashAt(at, { when: at % 2 === 0 ? 'before' : 'torn' })
      const error: unknown = await load(broker, sinkOn(disk), 13).catch((each: unknown) => each)
      if (error === undefined) break
      crashes += 1
      for (const [kind, unsynced] of RESTARTS) {
        const where = `crash at operation ${at}, ${kind}, ${unsynced}`
        const next = disk.restart(kind, { unsynced })
        const again = await brokerFor(next)
        try {
          await load(again, sinkOn(next), 9)
          expect(await offsetsOf(next), where).toEqual(upTo(24))
          expect(await committed(again), where).toBe(25)
          const rejects = [...next.snapshot()].filter(([path]) => /\/\d[^/]*\.jsonl$/.test(path))
          expect(
            rejects.map(([, bytes]) => bytes.toString().split('\n').length),
            where,
          ).toEqual([2])
          // What was published by then must have been durable.
          const later = next.restart('power', { unsynced: 'lost' })
          expect(await offsetsOf(later), `${where}, then power lost`).toEqual(upTo(24))
        } catch (failure) {
          failures.push(String(failure))
        }
        await again.close().catch(() => undefined)
      }
    }
    expect(failures).toEqual([])
    expect(crashes).toBeGreaterThan(30)
  })
})
