import { describe, expect, it, vi } from 'vitest'
import { AppendChain } from '../../lib/broker/append-chain.ts'
import { WholeAppend, type PendingAppend } from '../../lib/broker/pending-append.ts'
import type { SpaceRequest, TopicSpace } from '../../lib/broker/topic-space.ts'
import { resolveTopicConfig, type TopicConfig } from '../../lib/config.ts'
import { LogFullError } from '../../lib/errors.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import type { Log } from '../../lib/storage/log.ts'
import { settle } from '../helpers/settle.ts'

/** A chain over a log that accepts everything, whose topic frees space on demand. */
class CappedChain {
  readonly outcomes: string[] = []
  readonly chain: AppendChain
  /** The requests for space. */
  readonly requests: SpaceRequest[] = []
  /** How often space was given. */
  releases = 0
  #endWait: (error: Error | null) => void = () => undefined
  readonly #log: {
    readonly config: Readonly<TopicConfig>
    readonly logEndOffset: number
    readonly damage: null
    readonly failure: null
  }

  constructor(config: TopicConfig, hasSpace = true) {
    const resolved = resolveTopicConfig(config)
    this.#log = { config: resolved, logEndOffset: 0, damage: null, failure: null }
    const log = { ...this.#log, appendBatches: () => Promise.resolve() }
    const reserve = (request: SpaceRequest): Promise<() => void> => {
      this.requests.push(request)
      return new Promise((resolve, reject) => {
        this.#endWait = (error) => {
          if (error === null) resolve(() => (this.releases += 1))
          else reject(error)
        }
      })
    }
    const space = { reserve, changed: () => undefined, roomBytes: () => Infinity }
    this.chain = new AppendChain({
      log: log as unknown as Log,
      end: { publish: () => undefined, notify: () => undefined },
      flush: () => null,
      whyFenced: () => null,
      space: () => (hasSpace ? (space as unknown as TopicSpace) : null),
      whyClosed: () => null,
      onWritten: () => undefined,
    })
  }

  append(
    name: string,
    bytes: number,
    options: { isInLine?: boolean; expectedOffset?: number; onRejected?: () => void } = {},
  ): PendingAppend {
    const { isInLine = true, expectedOffset, onRejected } = options
    const builder = new RecordBatchBuilder({})
    builder.append(1_704_067_200_000, null, Buffer.alloc(bytes))
    const append = this.chain.append(
      [builder.buildUncompressed()],
      { acks: 'all', isInLine, expectedOffset },
      {
        resolve: () => this.outcomes.push(`${name} taken`),
        reject: (error) => {
          this.outcomes.push(`${name} ${(error as { code?: string }).code ?? String(error)}`)
          onRejected?.()
        },
      },
    )
    if (append === null) throw new Error('the chain is closed')
    return append
  }

  /** Gives the space that is waited for, or refuses it. */
  async endWait(error: Error | null = null): Promise<void> {
    await settle()
    this.#endWait(error)
    await settle()
  }
}

const NO_ROOM = new LogFullError({
  ...{ topic: 't', sizeBytes: 1, limit: 'maxBytes', limitBytes: 1, actualBytes: 1 },
})

describe('an append that is given up', () => {
  it('keeps the others in line if the callback of another rejected append gives it up', async () => {
    const chain = new CappedChain({ maxBytes: 500 }, false)
    const first = chain.append('large', 1000)
    chain.append('also large', 1000, {
      isInLine: false,
      onRejected: () => chain.chain.giveUp(first, new Error('enough')),
    })
    for (const name of ['b', 'c']) chain.append(name, 10)
    await settle()
    const refused = ['large MESSAGE_TOO_LARGE', 'also large MESSAGE_TOO_LARGE']
    expect(chain.outcomes).toEqual([...refused, 'b taken', 'c taken'])
  })

  it('fails no other append if room is refused when nothing is left of its group', async () => {
    const chain = new CappedChain({ maxBytes: 10_000 })
    const append = chain.append('a', 10)
    await settle()
    chain.append('behind', 10, { expectedOffset: 0 })
    chain.chain.giveUp(append, new Error('enough'))
    await chain.endWait(NO_ROOM)
    await chain.endWait()
    expect(chain.outcomes).toEqual(['a Error: enough', 'behind taken'])
  })

  it('fails no append behind it if the rest of its group, which is not in line, fails', async () => {
    const chain = new CappedChain({ maxBytes: 10_000 })
    const append = chain.append('a', 10)
    chain.append('producer', 10, { isInLine: false })
    await settle()
    chain.append('behind', 10, { expectedOffset: 0 })
    chain.chain.giveUp(append, new Error('enough'))
    await chain.endWait(NO_ROOM)
    await chain.endWait()
    expect(chain.outcomes).toEqual(['a Error: enough', 'producer LOG_FULL', 'behind taken'])
  })

  it('releases its memory at once, and only once', async () => {
    const chain = new CappedChain({ maxBytes: 10_000_000, flushMessages: 1 })
    const append = chain.append('a', 3_000_000)
    chain.append('b', 900_000)
    await settle()
    chain.append('c', 1_000_000)
    let hasRoom = false
    void chain.chain.whenRoom().then(() => (hasRoom = true))
    await settle()
    expect(hasRoom).toBe(false)
    chain.chain.giveUp(append, new Error('enough'))
    await settle()
    expect(hasRoom).toBe(true)
    await chain.endWait()
    await chain.endWait()
    expect(chain.outcomes).toEqual(['a Error: enough', 'b taken', 'c taken'])
    chain.append('d', 3_000_000)
    chain.append('e', 1_500_000)
    const later = chain.chain.whenRoom().then(() => 'room')
    await settle()
    expect(await Promise.race([later, Promise.resolve('none')])).toBe('none')
    await chain.endWait()
    await chain.endWait()
    expect(await later).toBe('room')
  })
})

describe('many appends that are given up one by one', () => {
  const COUNT = 500

  it('are removed without a search through all waiting appends', async () => {
    const chain = new CappedChain({ maxBytes: 10_000_000 }, false)
    const appends = Array.from({ length: COUNT }, (_, slot) => chain.append(`${slot}`, 10))
    const taken = chain.append('taken', 10)
    const walked = walkedBy(() => {
      for (const append of appends.reverse()) chain.chain.giveUp(append, new Error('enough'))
    })
    expect(walked).toBeLessThanOrEqual(COUNT)
    expect(chain.outcomes).toHaveLength(COUNT)
    await settle()
    expect(chain.outcomes.at(-1)).toBe('taken taken')
    expect(chain.chain.giveUp(taken, new Error('enough'))).toBe(false)
  })

  it('are removed without searching or recounting the appends that wait for room', async () => {
    const chain = new CappedChain({ maxBytes: 10_000_000 })
    const appends = Array.from({ length: COUNT }, (_, slot) => chain.append(`${slot}`, 10))
    await settle()
    const sealing = vi.spyOn(WholeAppend.prototype, 'seal')
    const walked = walkedBy(() => {
      for (const append of appends.slice(1)) chain.chain.giveUp(append, new Error('enough'))
    })
    expect([walked, sealing.mock.calls.length]).toEqual([0, 0])
    sealing.mockRestore()
    await chain.endWait()
    expect(chain.outcomes.at(-1)).toBe('0 taken')
    expect(chain.requests.map(({ sizeBytes }) => sizeBytes)).toEqual([appends[0]?.sizeBytes])
  })
})

/** How many array items are visited or moved to find or remove one of them. */
function walkedBy(run: () => void): number {
  let walked = 0
  const counting = (['indexOf', 'includes', 'splice', 'filter'] as const).map((name) => {
    const original = Reflect.get(Array.prototype, name) as (
      this: unknown[],
      ...args: unknown[]
    ) => unknown
    return vi.spyOn(Array.prototype, name).mockImplementation(function (
      this: unknown[],
      ...args: unknown[]
    ) {
      walked += this.length
      return original.apply(this, args) as never
    })
  })
  run()
  for (const each of counting) each.mockRestore()
  return walked
}
