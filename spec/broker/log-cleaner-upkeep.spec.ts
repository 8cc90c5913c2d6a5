import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { afterEach, describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { CompactionEvent } from '../../lib/broker/compaction-events.ts'
import type { TopicConfig } from '../../lib/config.ts'
import { LogFullError, PolicyViolationError } from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const NOW = 1_700_000_000_000
const COMPACTED: TopicConfig = {
  cleanupPolicy: 'compact',
  segmentBytes: 400,
  indexIntervalBytes: 64,
}
const CHECKPOINT = '/data/cleaner-offset-checkpoint'

const opened: Broker[] = []
afterEach(async () => {
  for (const broker of opened.splice(0)) await broker.close().catch(() => undefined)
})

async function open(cleanerBackoffMs = 15_000): Promise<{
  broker: Broker
  disk: SimulatedFileSystem
  clock: ManualClock
}> {
  const [disk, clock] = [new SimulatedFileSystem({ seed: 1 }), new ManualClock(NOW)]
  const random = new SeededRandom(1)
  const broker = await Broker.open('/data', {
    ...{ fileSystem: disk, clock, random },
    cleanerBackoffMs,
  })
  opened.push(broker)
  return { broker, disk, clock }
}

/** A compacted topic with `count` records of one key. */
async function fill(broker: Broker, count: number): Promise<void> {
  const topic = await broker.createTopic('table', COMPACTED)
  for (let each = 0; each < count; each += 1) {
    await topic.partition(0).append({ key: 'k', value: `${each}`, timestamp: NOW })
  }
}

/** A promise that is pending until `open` is called. */
function gate(): { readonly passed: Promise<void>; readonly open: () => void } {
  let open = (): void => undefined
  const passed = new Promise<void>((resolve) => {
    open = resolve
  })
  return {
    passed,
    open: () => {
      open()
    },
  }
}

describe('the compaction progress of a topic', () => {
  it('is not applied to a later topic of the same name', async () => {
    const { broker, disk } = await open()
    await fill(broker, 3)
    await broker.topic('table').compact()
    expect(String(disk.readFile(CHECKPOINT))).toBe('0\n1\ntable 0 3\n')
    await broker.deleteTopic('table')
    expect(String(disk.readFile(CHECKPOINT))).toBe('0\n0\n')
    await fill(broker, 6)
    const [report] = await broker.topic('table').compact()
    expect(report).toMatchObject({ fromOffset: 0, endOffset: 6, recordsKept: 1 })
  })

  it('is removed when a later topic is created if the disk failed to remove it before', async () => {
    const { broker, disk } = await open()
    await fill(broker, 3)
    await broker.topic('table').compact()
    disk.failNext('open', 'EIO', { path: /cleaner-offset-checkpoint/ })
    await broker.deleteTopic('table')
    expect(String(disk.readFile(CHECKPOINT))).toContain('table 0 3')
    await fill(broker, 6)
    expect(String(disk.readFile(CHECKPOINT))).toBe('0\n0\n')
  })

  it('is read again after a failed read', async () => {
    const { broker, disk } = await open()
    disk.failNext('open', 'EIO', { path: CHECKPOINT, persistent: true })
    await fill(broker, 3)
    await expect(broker.topic('table').compact()).rejects.toThrow('EIO')
    disk.clearFaults()
    expect((await broker.topic('table').compact())[0]).toMatchObject({ recordsKept: 1 })
  })
})

describe('a log whose compaction fails', () => {
  it('is retried less and less often, until a pass succeeds', async () => {
    const { broker, disk, clock } = await open()
    await fill(broker, 40)
    let failures = 0
    const listen = (event: unknown): void => {
      if ((event as CompactionEvent).type === 'failure') failures += 1
    }
    subscribe('varve:compaction', listen)
    disk.failNext('open', 'ENOSPC', { path: /cleaned$/, persistent: true })
    for (let each = 0; each < 240; each += 1) await clock.advance(15_000)
    expect(failures).toBeGreaterThan(3)
    expect(failures).toBeLessThan(10)
    disk.clearFaults()
    await clock.advance(3_600_000)
    await clock.advance(15_000)
    unsubscribe('varve:compaction', listen)
    expect(broker.describe().compaction).toMatchObject({ passes: 1, failures })
  })

  it('is compacted within an hour after the damage in it was deleted, without another open', async () => {
    const { broker, disk, clock } = await open()
    const config: TopicConfig = { cleanupPolicy: 'compact,delete', retentionMs: -1 }
    const topic = await broker.createTopic('table', { ...COMPACTED, ...config })
    const partition = topic.partition(0)
    for (let each = 0; each < 40; each += 1) await partition.append({ key: 'k', value: `${each}` })
    const [, second] = partition.log.segments
    disk.flipBit('/data/table-0/00000000000000000000.log', 100, 0)
    for (let each = 0; each < 240; each += 1) await clock.advance(15_000)
    const { passes, failures } = broker.describe().compaction
    expect([passes, failures > 0]).toEqual([0, true])
    await partition.deleteRecords(Number(second?.baseOffset))
    for (let each = 0; each <= 240; each += 1) await clock.advance(15_000)
    expect(broker.describe().compaction).toMatchObject({ passes: 1, failures })
  })
})

describe('a full topic', () => {
  it('is compacted however little of it is dirty, while an append has no room', async () => {
    const { broker, clock } = await open()
    const topic = await broker.createTopic('table', {
      ...COMPACTED,
      ...{ maxBytes: 8_000, whenFull: 'wait', minCleanableDirtyRatio: 0.9 },
    })
    let appended = 0
    const append = (): Promise<unknown> => {
      const key = String(appended++ % 40).padStart(2, '0')
      return topic.partition(0).append({ key, value: 'v'.repeat(50), timestamp: NOW })
    }
    await append()
    const { bytes: recordBytes } = topic.diskUsage()
    for (let round = 0; round < 3; round += 1) {
      while (topic.diskUsage().bytes + recordBytes <= 8_000) await append()
      const { passes } = broker.describe().compaction
      const waiting = append()
      await clock.advance(16_000)
      expect(broker.describe().compaction.passes).toBe(passes + 1)
      await waiting
    }
    const { passes } = broker.describe().compaction
    // There is room again, so the ratio decides.
    await append()
    await clock.advance(60_000)
    expect(broker.describe().compaction.passes).toBe(passes)
  })

  /** Fills a compacted topic that has no sealed segment with appends of these keys. */
  async function fillActive(whenFull: 'wait' | 'reject', keyOf: (count: number) => string) {
    const { broker, disk, clock } = await open()
    const config = { cleanupPolicy: 'compact', maxBytes: 8_000, whenFull } as const
    const topic = await broker.createTopic('table', config)
    let count = 0
    const append = (): Promise<unknown> => {
      const key = keyOf(count++).padStart(3, '0')
      return topic.partition(0).append({ key, value: 'v'.repeat(50), timestamp: NOW })
    }
    await append()
    const { bytes: recordBytes } = topic.diskUsage()
    while (topic.diskUsage().bytes + recordBytes <= 8_000) await append()
    expect(topic.partition(0).log.segments).toHaveLength(1)
    return { broker, disk, clock, append }
  }

  it('is compacted even if all of its garbage is in the active segment', async () => {
    const { broker, clock, append } = await fillActive('wait', () => 'k')
    let isAppended = false
    void append().then(() => (isAppended = true))
    await clock.advance(14_000)
    expect(isAppended).toBe(false)
    await clock.advance(2_000)
    expect(isAppended).toBe(true)
    expect(broker.describe().compaction.passes).toBe(1)
    // There is room again, and few records in the active segment.
    await clock.advance(60_000)
    expect(broker.topic('table').partition(0).log.segments).toHaveLength(2)
    expect(broker.describe().compaction.passes).toBe(1)
  })

  it('is compacted in all of its partitions by one check', async () => {
    const { broker, clock } = await open()
    const topic = await broker.createTopic('table', {
      ...COMPACTED,
      ...{ partitions: 3, maxBytes: 12_000, minCleanableDirtyRatio: 0.9 },
    })
    let count = 0
    const fill = async (): Promise<void> => {
      for (;;) {
        const key = String(count % 60)
        await topic.partition(count % 3).append({ key, value: 'v'.repeat(50), timestamp: NOW })
        count += 1
      }
    }
    await expect(fill()).rejects.toThrow(LogFullError)
    await topic.compact()
    const { passes } = broker.describe().compaction
    await expect(fill()).rejects.toThrow(LogFullError)
    await clock.advance(16_000)
    expect(broker.describe().compaction.passes).toBe(passes + 3)
  })

  it('gets no new segments while its records are too young to be compacted', async () => {
    const { broker, clock } = await open()
    const topic = await broker.createTopic('table', {
      ...{ cleanupPolicy: 'compact', maxBytes: 2_000, minCompactionLagMs: 3_600_000 },
    })
    const append = (sizeBytes: number): Promise<unknown> =>
      topic.partition(0).append({ key: 'k', value: 'v'.repeat(sizeBytes) })
    for (let round = 0; round < 3; round += 1) {
      await append(50)
      await expect(append(1_850)).rejects.toThrow(LogFullError)
      await clock.advance(16_000)
    }
    expect(topic.partition(0).log.segments).toHaveLength(1)
    expect(broker.describe().compaction.passes).toBe(0)
  })

  it('without garbage is compacted once, and no more while nothing changes', async () => {
    const { broker, disk, clock, append } = await fillActive('reject', String)
    await expect(append()).rejects.toThrow(LogFullError)
    await clock.advance(16_000)
    expect(broker.describe().compaction.passes).toBe(1)
    await expect(append()).rejects.toThrow(LogFullError)
    const calls: string[] = []
    disk.observe(({ kind, path }) => {
      if (path.includes('/table-0/')) calls.push(`${kind} ${path}`)
    })
    await clock.advance(30_000)
    expect(calls).toEqual([])
    expect(broker.topic('table').partition(0).log.segments).toHaveLength(2)
    expect(broker.describe().compaction.passes).toBe(1)
  })
})

describe('a topic whose cap is removed while it is full', () => {
  it('is compacted by its dirty ratio again', async () => {
    const { broker, clock } = await open()
    const topic = await broker.createTopic('table', { ...COMPACTED, maxBytes: 8_000 })
    let count = 0
    const append = (): Promise<unknown> =>
      topic.partition(0).append({ key: `k${count++}`, value: 'v'.repeat(50), timestamp: NOW })
    const full = async (): Promise<void> => {
      for (;;) await append()
    }
    await expect(full()).rejects.toThrow(LogFullError)
    await topic.compact()
    const { passes } = broker.describe().compaction
    await expect(full()).rejects.toThrow(LogFullError)
    await topic.alter({ maxBytes: -1 })
    for (let each = 0; each < 10; each += 1) await append()
    await clock.advance(60_000)
    expect(broker.describe().compaction.passes).toBe(passes)
  })
})

describe('a broker that is closed during a compaction', () => {
  it('waits until the pass has written its checkpoint, and rejects the next pass', async () => {
    const [disk, clock] = [new SimulatedFileSystem({ seed: 1 }), new ManualClock(NOW)]
    const reached = gate()
    const goOn = gate()
    const openFile = disk.open.bind(disk)
    disk.open = async (path, mode) => {
      if (path.startsWith(CHECKPOINT) && mode !== 'read') {
        reached.open()
        await goOn.passed
      }
      return openFile(path, mode)
    }
    const broker = await Broker.open('/data', { fileSystem: disk, clock })
    await broker.createTopic('table', COMPACTED)
    await broker.topic('table').partition(0).append({ key: 'k', value: 'v' })
    const pass = broker.topic('table').compact()
    const refused = broker.topic('table').compact()
    const ended = expect(refused).rejects.toMatchObject({ name: 'ClosedError' })
    await reached.passed
    let isClosed = false
    const closing = broker.close().then(() => {
      isClosed = true
    })
    await clock.advance(60_000)
    expect(isClosed).toBe(false)
    goOn.open()
    await closing
    await pass
    await ended
    expect(String(disk.readFile(CHECKPOINT))).toBe('0\n1\ntable 0 1\n')
  })
})

describe('a cleanup policy that is altered while the topic waits for its compaction', () => {
  /** Two compacted topics, of which the first takes long to compact. */
  async function two(): Promise<{ broker: Broker; clock: ManualClock }> {
    const { broker, clock } = await open(1000)
    const config: TopicConfig = { ...COMPACTED, minCleanableDirtyRatio: 1 }
    const first = (await broker.createTopic('first', config)).partition(0)
    const values = Array.from({ length: 3000 }, (_, each) => `${each}`)
    await Promise.all(values.map((value) => first.append([{ key: 'k', value }])))
    await fill(broker, 30)
    return { broker, clock }
  }

  async function valuesOf(broker: Broker): Promise<string[]> {
    const records = await broker.topic('table').partition(0).read(0, { maxBytes: 1_000_000 })
    return records.map(({ value }) => String(value))
  }

  it('makes a requested compaction reject, and keeps the records appended later', async () => {
    const { broker } = await two()
    const before = broker.topic('first').compact()
    const asked = broker.topic('table').compact()
    const refused = expect(asked).rejects.toThrow(PolicyViolationError)
    await broker.topic('table').alter({ cleanupPolicy: 'delete' })
    const later = ['a', 'b', 'c']
    for (const value of later) await broker.topic('table').partition(0).append({ key: 'k', value })
    await before
    await refused
    expect((await valuesOf(broker)).slice(-3)).toEqual(later)
  })

  it('makes automatic compaction skip the topic, and keeps the records appended later', async () => {
    const { broker, clock } = await two()
    const before = broker.topic('first').compact()
    // The upkeep finds it due, but it waits for the other topic.
    await clock.advance(1000)
    await broker.topic('table').alter({ cleanupPolicy: 'delete' })
    const later = Array.from({ length: 20 }, (_, each) => `later ${each}`)
    for (const value of later) await broker.topic('table').partition(0).append({ value })
    await before
    for (let turn = 0; turn < 200; turn += 1) await clock.advance(1000)
    expect((await valuesOf(broker)).slice(-20)).toEqual(later)
  })
})
