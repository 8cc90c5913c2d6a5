import { describe, expect, it } from 'vitest'
import {
  sinkConformance,
  type LoadTask,
  type Sink,
  type SinkUnderTest,
} from '../../lib/offline/index.ts'

interface Loaded {
  readonly task: LoadTask
  readonly offsets: readonly number[]
}

const isSame = (left: LoadTask, right: LoadTask): boolean =>
  JSON.stringify(left) === JSON.stringify(right)

/** A sink on a table of loads. `abort` is what its writers finally do with the table. */
function tableSink(loads: Loaded[], abort: (task: LoadTask) => void): Sink {
  return {
    published: ({ topic, partition }, fromOffset) => {
      const tasks = loads.map(({ task }) => task)
      const own = tasks.filter((task) => task.topic === topic && task.partition === partition)
      return Promise.resolve(own.filter(({ endOffset }) => endOffset > fromOffset))
    },
    open: (task) => {
      const offsets: number[] = []
      return Promise.resolve({
        write: (records) => {
          offsets.push(...records.map(({ offset }) => offset))
          return Promise.resolve()
        },
        commit: () => {
          if (!loads.some((each) => isSame(each.task, task))) loads.push({ task, offsets })
          return Promise.resolve({ records: offsets.length, rejected: 0, bytes: 0 })
        },
        abort: () => {
          abort(task)
          return Promise.resolve()
        },
      })
    },
  }
}

function sinkOn(abort: (loads: Loaded[], task: LoadTask) => void): SinkUnderTest {
  const loads: Loaded[] = []
  const open = (): Sink =>
    tableSink(loads, (task) => {
      abort(loads, task)
    })
  return {
    sink: open(),
    reopen: open,
    offsets: ({ topic, partition }) => {
      const own = loads.filter(({ task }) => task.topic === topic && task.partition === partition)
      return Promise.resolve(own.flatMap(({ offsets }) => offsets))
    },
  }
}

/** Each writer holds a transaction open until it ends, as inserts of a unique key do. */
function waitingSink(subject: SinkUnderTest): SinkUnderTest {
  const held = new Map<string, { readonly ended: Promise<void>; readonly end: () => void }>()
  const waiting = (sink: Sink): Sink => ({
    ...sink,
    open: async (task, context) => {
      const key = JSON.stringify(task)
      for (let other = held.get(key); other !== undefined; other = held.get(key)) await other.ended
      let release = (): void => undefined
      const ended = new Promise<void>((resolve) => (release = resolve))
      const end = (): void => {
        held.delete(key)
        release()
      }
      held.set(key, { ended, end })
      const writer = await sink.open(task, context)
      return {
        write: (records) => writer.write(records),
        commit: () => Promise.resolve(writer.commit()).finally(end),
        abort: () => Promise.resolve(writer.abort()).finally(end),
      }
    },
  })
  return {
    ...subject,
    sink: waiting(subject.sink),
    reopen: async (after) => {
      if (after.hasCrashed) for (const { end } of [...held.values()]) end()
      return waiting(await subject.reopen(after))
    },
  }
}

/** Joins ranges that are adjacent. */
function joined(sink: Sink): Sink {
  return {
    ...sink,
    published: async (place, fromOffset, context) => {
      const ranges = await sink.published(place, 0, context)
      const all: { startOffset: number; endOffset: number }[] = []
      for (const { startOffset, endOffset } of ranges) {
        const before = all.find((each) => each.endOffset === startOffset)
        if (before === undefined) all.push({ startOffset, endOffset })
        else before.endOffset = endOffset
      }
      return all.filter((each) => each.endOffset > fromOffset)
    },
  }
}

/** The names of the cases that a sink does not pass. */
async function failedBy(makeSink: () => SinkUnderTest): Promise<readonly string[]> {
  const failed: string[] = []
  for (const { name, run } of sinkConformance(makeSink)) {
    await run().catch(() => failed.push(name))
  }
  return failed
}

describe('sinkConformance', () => {
  it('passes a sink that commits each task as a whole', async () => {
    expect(await failedBy(() => sinkOn(() => undefined))).toEqual([])
  })

  it('passes a sink of which the second writer of a task waits until the first has ended', async () => {
    expect(await failedBy(() => waitingSink(sinkOn(() => undefined)))).toEqual([])
  })

  it('passes a sink that joins its ranges', async () => {
    const joining = (): SinkUnderTest => {
      const subject = sinkOn(() => undefined)
      return { ...subject, sink: joined(subject.sink), reopen: () => joined(subject.sink) }
    }
    expect(await failedBy(joining)).toEqual([])
  })

  it('reports an invalid makeSink, sink or reopen', async () => {
    expect(() => sinkConformance(undefined as never)).toThrow('makeSink must be a function')
    const { sink, offsets } = sinkOn(() => undefined)
    const tried = async (subject: unknown): Promise<void> => {
      const cases = sinkConformance(() => subject as SinkUnderTest)
      const reopening = cases.find(({ name }) => name.includes('opened again'))
      await reopening?.run()
    }
    await expect(tried(undefined)).rejects.toThrow(
      'the result of makeSink() must be an object with reopen(), offsets(), got undefined',
    )
    await expect(tried({ sink: {}, offsets, reopen: () => sink })).rejects.toThrow(
      'sink in the result of makeSink() must be an object with published(), open(), got an object',
    )
    await expect(tried({ sink, offsets, reopen: () => undefined })).rejects.toThrow(
      'the result of reopen() must be an object with published(), open(), got undefined',
    )
  })

  it('says what a sink did instead', async () => {
    const reasonFor = async (part: string, change: (sink: Sink) => Sink, seen?: number[]) => {
      const subject = sinkOn(() => undefined)
      const offsets = seen === undefined ? subject.offsets : () => Promise.resolve(seen)
      const { reopen } = subject
      const changed = { ...subject, offsets, sink: change(subject.sink), reopen }
      const failing = sinkConformance(() => changed).find(({ name }) => name.includes(part))
      return failing?.run().then(
        () => 'passed',
        (error: unknown) => String(error),
      )
    }
    const same = (sink: Sink): Sink => sink
    const forgetful = (sink: Sink): Sink => ({ ...sink, published: () => Promise.resolve([]) })
    expect(await reasonFor('as a whole', forgetful)).toContain(
      'published() of orders-0 from offset 0 must return [0, 10), got no ranges',
    )
    const many = (sink: Sink): Sink => ({
      ...sink,
      published: () =>
        Promise.resolve([0, 5].map((at) => ({ startOffset: at, endOffset: at + 5 }))),
    })
    expect(await reasonFor('knows of nothing', many)).toContain(
      'published() of orders-0 from offset 0 must return no ranges, got [0, 5), [5, 10)',
    )
    expect(await reasonFor('as a whole', same, [3, 3])).toContain(
      'a reader of orders-0 must see the offsets 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, got 3, 3',
    )
    expect(await reasonFor('several writes', same, [])).toMatch(
      /must see the offsets 0, 1, .*, 19, … \(30 in total\), got none$/,
    )
    const committing =
      (result: unknown) =>
      (sink: Sink): Sink => ({
        ...sink,
        open: async (task) => ({
          ...(await sink.open(task)),
          commit: () => Promise.resolve(result as never),
        }),
      })
    for (const part of ['several writes', 'without records', 'that are null']) {
      expect(await reasonFor(part, committing(undefined))).toContain(
        'commit() of a sink must return { records, rejected, bytes }, got undefined',
      )
      expect(await reasonFor(part, committing({ records: 7, rejected: 0, bytes: 0 }))).toMatch(
        /commit\(\) must return records: (30|0|3), rejected: 0, got records: 7, rejected: 0/,
      )
    }
    expect(
      await reasonFor('as a whole', committing({ records: 7, rejected: 0, bytes: 0 })),
    ).toContain('commit() must return 10 records and rejected together, got 7')
  })

  it('fails a sink whose abort removes what another writer has committed', async () => {
    // delete from loads where topic = $1 and partition = $2 and start_offset = $3 and end_offset = $4
    const takeAway = (loads: Loaded[], task: LoadTask): void => {
      const at = loads.findIndex((each) => isSame(each.task, task))
      if (at >= 0) loads.splice(at, 1)
    }
    expect(await failedBy(() => sinkOn(takeAway))).toEqual([
      'keeps what is committed when another that has begun the same task aborts',
    ])
  })
})
