import { closeSync, fdatasyncSync, openSync, readFileSync, readSync, writeSync } from 'node:fs'
import { open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { BenchCase, BenchContext, BenchStore, Measurement } from './bench-case.ts'
import { durableCount, writeConcurrently } from './durable.ts'
import { latencies, median, rate, startWatch } from './measure.ts'
import { REOPENS } from './open.ts'
import { CHUNK_BYTES, RawLog } from './raw-log.ts'
import { measureReads, RANDOM_READ_RECORDS, randomOffsets, storeCount } from './read.ts'
import { ensureEqual, type Flush } from './store.ts'
import { measureTail, TAIL_SAMPLES } from './tail.ts'
import { KEY_BYTES, Workload } from './workload.ts'

type Mode = 'sync' | 'async'

const FLUSHES: readonly Flush[] = ['relaxed', '1']
const VALUE_SIZES: readonly number[] = [100, 1024]
const MODES: readonly Mode[] = ['sync', 'async']

/** What the same bytes cost with nothing but the file system: the floor under every other case. */
export const rawCases: readonly BenchCase[] = [
  ...VALUE_SIZES.flatMap((value) =>
    FLUSHES.flatMap((flush) => [
      rawCase(`write/value=${value}/flush=${flush}`, '/s', (context) =>
        writeSynchronously(context, value, flush),
      ),
      rawCase(`write-async/value=${value}/flush=${flush}`, '/s', (context) =>
        writeAsynchronously(context, value, flush),
      ),
      rawCase(`promise/value=${value}/flush=${flush}`, '/s', (context) =>
        writeWithPromises(context, value, flush),
      ),
    ]),
  ),
  rawCase('durable/writers=1/value=100/flush=1/mode=sync', '/s', writeDurably),
  ...[1, 256].map((writers) =>
    rawCase(`durable/writers=${writers}/value=100/flush=1/mode=async`, '/s', (context) =>
      writeDurablyTogether(context, writers),
    ),
  ),
  ...VALUE_SIZES.flatMap((value) =>
    (['sync', 'async', 'views'] as const).map((mode) =>
      rawCase(
        `replay/value=${value}/mode=${mode}`,
        '/s',
        (context) => replay(context, value, mode),
        value,
      ),
    ),
  ),
  ...MODES.map((mode) =>
    rawCase(
      `random/records=${RANDOM_READ_RECORDS}/value=100/mode=${mode}`,
      '/s',
      (context) => readRandomly(context, mode),
      100,
    ),
  ),
  ...FLUSHES.map((flush) =>
    rawCase(`tail/value=100/flush=${flush}`, 'ms', (context) => tail(context, flush)),
  ),
  rawCase('open', 'ms', openFile, 100),
]

/** @param storedValueBytes the case reads a file of records with such values. */
function rawCase(
  name: string,
  unit: BenchCase['unit'],
  run: BenchCase['run'],
  storedValueBytes?: number,
): BenchCase {
  const rawCase_ = { name: `raw/${name}`, unit, floor: null, run }
  if (storedValueBytes === undefined) return rawCase_
  return { ...rawCase_, store: rawStore(storedValueBytes) }
}

function pathIn(context: BenchContext): string {
  return join(context.dir, 'raw.bin')
}

function ensureWritten(context: BenchContext, workload: Workload, count: number): void {
  const content = readFileSync(pathIn(context))
  ensureEqual('bytes', content.length, count * workload.recordBytes)
  ensureEqual('checksum', crc32(content), workload.checksum(count))
}

function writeSynchronously(
  context: BenchContext,
  valueBytes: number,
  flush: Flush,
): Promise<Measurement> {
  const workload = new Workload(valueBytes)
  const count = context.count(storeCount(valueBytes))
  const chunks = workload.chunks(count, CHUNK_BYTES)
  const fd = openSync(pathIn(context), 'wx')
  const stop = startWatch()
  for (const chunk of chunks) {
    writeSync(fd, chunk)
    if (flush === '1') fdatasyncSync(fd)
  }
  const lap = stop()
  closeSync(fd)
  ensureWritten(context, workload, count)
  return Promise.resolve(rate(lap, { count, bytes: count * workload.recordBytes }))
}

async function writeAsynchronously(
  context: BenchContext,
  valueBytes: number,
  flush: Flush,
): Promise<Measurement> {
  const workload = new Workload(valueBytes)
  const count = context.count(storeCount(valueBytes))
  const chunks = workload.chunks(count, CHUNK_BYTES)
  const file = await open(pathIn(context), 'wx')
  const stop = startWatch()
  for (const chunk of chunks) {
    await file.write(chunk)
    if (flush === '1') await file.datasync()
  }
  const lap = stop()
  await file.close()
  ensureWritten(context, workload, count)
  return rate(lap, { count, bytes: count * workload.recordBytes })
}

async function writeWithPromises(
  context: BenchContext,
  valueBytes: number,
  flush: Flush,
): Promise<Measurement> {
  const workload = new Workload(valueBytes)
  const count = context.count(storeCount(valueBytes) / 2)
  const log = await RawLog.create(pathIn(context), flush)
  const stop = startWatch()
  const sent: Promise<unknown>[] = []
  for (let index = 0; index < count; index++) sent.push(log.append(workload.record(index)))
  await Promise.all(sent)
  const lap = stop()
  await log.close()
  ensureWritten(context, workload, count)
  return rate(lap, { count, bytes: count * workload.recordBytes })
}

function writeDurably(context: BenchContext): Promise<Measurement> {
  const workload = new Workload(100)
  const count = context.count(durableCount(1))
  const fd = openSync(pathIn(context), 'wx')
  const records = workload.chunks(count, workload.recordBytes)
  const samplesMs = new Float64Array(count)
  const stop = startWatch()
  for (const [index, record] of records.entries()) {
    const start = performance.now()
    writeSync(fd, record)
    fdatasyncSync(fd)
    samplesMs[index] = performance.now() - start
  }
  const lap = stop()
  closeSync(fd)
  ensureWritten(context, workload, count)
  const bytes = count * workload.recordBytes
  return Promise.resolve(rate(lap, { count, bytes }, latencies(samplesMs)))
}

async function writeDurablyTogether(context: BenchContext, writers: number): Promise<Measurement> {
  const workload = new Workload(100)
  const count = context.count(durableCount(writers))
  const log = await RawLog.create(pathIn(context), '1')
  const stop = startWatch()
  const samplesMs = await writeConcurrently({ count, writers }, (index) =>
    log.append(workload.record(index)),
  )
  const lap = stop()
  await log.close()
  ensureWritten(context, workload, count)
  return rate(lap, { count, bytes: count * workload.recordBytes }, latencies(samplesMs))
}

function rawStore(valueBytes: number): BenchStore {
  return {
    name: `raw/value=${valueBytes}`,
    fill: async (context) => {
      const count = context.count(storeCount(valueBytes))
      const chunks = new Workload(valueBytes).chunks(count, CHUNK_BYTES)
      await writeFile(pathIn(context), chunks)
    },
  }
}

/** `views` makes what a reader of records needs at least: two views for each. */
async function replay(
  context: BenchContext,
  valueBytes: number,
  mode: Mode | 'views',
): Promise<Measurement> {
  const workload = new Workload(valueBytes)
  const count = context.count(storeCount(valueBytes))
  const { recordBytes } = workload
  const chunkBytes = Math.floor(CHUNK_BYTES / recordBytes) * recordBytes
  const file = await open(pathIn(context), 'r')
  let bytes = 0
  let seen = 0
  const stop = startWatch()
  let chunk = Buffer.allocUnsafeSlow(chunkBytes)
  for (let position = 0; ;) {
    const bytesRead =
      mode === 'sync'
        ? readSync(file.fd, chunk, 0, chunkBytes, position)
        : (await file.read(chunk, 0, chunkBytes, position)).bytesRead
    if (bytesRead === 0) break
    position += bytesRead
    if (mode !== 'views') {
      bytes += bytesRead
      continue
    }
    for (let start = 0; start < bytesRead; start += recordBytes) {
      const key = chunk.subarray(start, start + KEY_BYTES)
      const value = chunk.subarray(start + KEY_BYTES, start + recordBytes)
      bytes += key.length + value.length
      seen += 1
    }
    // A reader may keep what it was handed.
    chunk = Buffer.allocUnsafeSlow(chunkBytes)
  }
  const lap = stop()
  await file.close()
  ensureEqual('count', mode === 'views' ? seen : count, count)
  ensureEqual('bytes', bytes, count * recordBytes)
  ensureWritten(context, workload, count)
  return rate(lap, { count, bytes })
}

async function readRandomly(context: BenchContext, mode: Mode): Promise<Measurement> {
  const workload = new Workload(100)
  const total = context.count(storeCount(100))
  const offsets = randomOffsets(context.count(5000), total)
  const { recordBytes } = workload
  const size = RANDOM_READ_RECORDS * recordBytes
  const file = await open(pathIn(context), 'r')
  const measurement =
    mode === 'sync'
      ? await measureReads(offsets, (offset) => {
          const read = readSync(file.fd, Buffer.allocUnsafe(size), 0, size, offset * recordBytes)
          return read / recordBytes
        })
      : await measureReads(offsets, async (offset) => {
          const { bytesRead } = await file.read(
            Buffer.allocUnsafe(size),
            0,
            size,
            offset * recordBytes,
          )
          return bytesRead / recordBytes
        })
  await file.close()
  ensureWritten(context, workload, total)
  return measurement
}

/** A record is delivered when its write, and its sync where asked for, has returned. */
async function tail(context: BenchContext, flush: Flush): Promise<Measurement> {
  const workload = new Workload(100)
  const count = context.count(TAIL_SAMPLES)
  const log = await RawLog.create(pathIn(context), flush)
  let deliver: (offset: number) => void = () => undefined
  const measurement = await measureTail(
    count,
    async (index) => {
      deliver((await log.append(workload.record(index))) / workload.recordBytes - 1)
    },
    (onDelivery) => {
      deliver = onDelivery
      return Promise.resolve()
    },
  )
  await log.close()
  ensureWritten(context, workload, count)
  return measurement
}

/** The next offset of a file of records is its size. */
async function openFile(context: BenchContext): Promise<Measurement> {
  const workload = new Workload(100)
  const count = context.count(storeCount(100))
  const openOnce = async (): Promise<number> => {
    const file = await open(pathIn(context), 'r+')
    const { size } = await file.stat()
    await file.close()
    return size / workload.recordBytes
  }
  const stop = startWatch()
  const nextOffset = await openOnce()
  const { seconds, cpuMs, maxRssMb } = stop()
  ensureEqual('next offset', nextOffset, count)
  const againMs: number[] = []
  for (let round = 0; round < REOPENS; round++) {
    const stopAgain = startWatch()
    await openOnce()
    againMs.push(stopAgain().seconds * 1000)
  }
  ensureWritten(context, workload, count)
  const extra = { againMs: median(againMs) }
  return { value: seconds * 1000, count: 1, cpuMs, maxRssMb, extra }
}
