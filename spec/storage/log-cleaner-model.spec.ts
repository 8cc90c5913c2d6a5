import { expect, it } from 'vitest'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import type { Log } from '../../lib/storage/log.ts'
import { NOW, openLog, readAll } from './log-fixtures.ts'

const HISTORIES = 12
const STEPS = 30

/** One record of the history, as it was appended. */
interface Appended {
  readonly key: string
  readonly value: string | null
}

/** A random history of a compacted log, compared with everything that was appended to it. */
class History {
  readonly #random: SeededRandom
  readonly #clock = new ManualClock(NOW)
  #disk: SimulatedFileSystem
  #log: Log
  #checkpoint = 0
  readonly #appended: Appended[] = []

  private constructor(random: SeededRandom, disk: SimulatedFileSystem, log: Log) {
    this.#random = random
    this.#disk = disk
    this.#log = log
  }

  static async begin(seed: number): Promise<History> {
    const disk = new SimulatedFileSystem({ seed })
    return new History(
      new SeededRandom(seed),
      disk,
      await History.#open(disk, new ManualClock(NOW)),
    )
  }

  static #open(fileSystem: SimulatedFileSystem, clock: ManualClock): Promise<Log> {
    const config = {
      cleanupPolicy: 'compact',
      segmentBytes: 500,
      indexIntervalBytes: 64,
      deleteRetentionMs: 100,
    } as const
    return openLog(fileSystem, { config, clock })
  }

  async step(): Promise<void> {
    const kind = this.#random.integer(10)
    if (kind < 5) await this.#append()
    else if (kind < 8) await this.#compact()
    else if (kind === 8) await this.#clock.advance(this.#random.integer(120))
    else await this.#restart()
    await this.#check()
  }

  async #append(): Promise<void> {
    const records = Array.from({ length: 1 + this.#random.integer(4) }, () => {
      const key = `k${this.#random.integer(7)}`
      const value = this.#random.integer(4) === 0 ? null : `v${this.#random.integer(1000)}`
      return { key, value, timestamp: this.#clock.now() }
    })
    await this.#log.append(records)
    this.#appended.push(...records)
  }

  /** Sometimes with memory for only a few keys, and with concurrent appends. */
  async #compact(): Promise<void> {
    if (this.#random.integer(3) > 0) await this.#log.roll()
    const dedupeBufferBytes = this.#random.integer(2) === 0 ? 24 * 4 : 4096
    const pass = this.#log.cleaner.compact({ checkpoint: this.#checkpoint, dedupeBufferBytes })
    if (this.#random.integer(2) === 0) await this.#append()
    this.#checkpoint = (await pass).endOffset
  }

  async #restart(): Promise<void> {
    if (this.#random.integer(2) === 0) await this.#log.close()
    else this.#disk = this.#disk.restart('power', { seed: this.#random.integer(1000) })
    if (this.#random.integer(4) === 0) this.#checkpoint = this.#random.integer(50)
    this.#log = await History.#open(this.#disk, this.#clock)
  }

  async #check(): Promise<void> {
    const records = await readAll(this.#log)
    let before = -1
    const table = new Map<string, string>()
    for (const { offset, key, value } of records) {
      expect(offset).toBeGreaterThan(before)
      before = offset
      const { key: sentKey, value: sentValue } = this.#appended[offset] ?? { key: '', value: null }
      expect([String(key), value === null ? null : String(value)]).toEqual([sentKey, sentValue])
      if (value === null) table.delete(String(key))
      else table.set(String(key), String(value))
    }
    const expected = new Map<string, string>()
    for (const { key, value } of this.#appended) {
      if (value === null) expected.delete(key)
      else expected.set(key, value)
    }
    expect([...table].sort()).toEqual([...expected].sort())
    expect(this.#log.logEndOffset).toBe(this.#appended.length)
    expect(await this.#log.verify()).toEqual([])
  }
}

it.each(Array.from({ length: HISTORIES }, (_, seed) => seed))(
  'keeps the last record of each key, whatever happens between passes: seed %i',
  async (seed) => {
    const history = await History.begin(seed)
    for (let each = 0; each < STEPS; each += 1) await history.step()
  },
)
