import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Broker } from '../lib/broker.ts'
import { compiledUrl, startScript } from './helpers/compiled-lib.ts'

async function freshDirectory(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'varve-process-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return dir
}

describe('a process that uses the library', () => {
  it('exits by itself after close, whatever was in progress', async () => {
    const script = startScript(
      `
      import { Broker } from ${JSON.stringify(compiledUrl('index.ts'))}
      const listeners = () => process.eventNames().map((name) => [name, process.listenerCount(name)])
      const before = JSON.stringify(listeners())
      const broker = await Broker.open(process.argv[1])
      const topic = await broker.createTopic('a', { partitions: 2, flushMessages: 10, flushMs: 1000 })
      const producer = broker.producer({ lingerMs: 5000 })
      producer.send({ topic: 'a', value: 'x' }, () => undefined)
      const consumer = broker.consumer({ groupId: 'g' })
      consumer.subscribe(['a'])
      const polling = consumer.poll({ maxWaitMs: 60000 }).catch((error) => error.code)
      const waiting = topic.partition(1).fetch(0, { maxWaitMs: 60000, minBytes: 999 }).catch((error) => error.code)
      await new Promise((resolve) => setImmediate(resolve))
      await broker.close()
      // A request whose promise has resolved is counted until its callback returns.
      await new Promise((resolve) => setImmediate(resolve))
      console.log(await waiting, JSON.stringify(listeners()) === before, process.getActiveResourcesInfo().filter((each) => each !== 'PipeWrap' && each !== 'TTYWrap').join())
      `,
      [await freshDirectory()],
    )
    expect(await script.nextLine()).toBe('CLOSED true ')
    expect(await script.ended).toEqual({ code: 0, signal: null })
  })

  it('exits by itself without close when nothing is awaited', async () => {
    const script = startScript(
      `
      import { Broker } from ${JSON.stringify(compiledUrl('index.ts'))}
      const broker = await Broker.open(process.argv[1])
      await broker.createTopic('a')
      await broker.topic('a').partition(0).append({ value: 'x' })
      console.log('done')
      `,
      [await freshDirectory()],
    )
    expect(await script.nextLine()).toBe('done')
    expect(await script.ended).toEqual({ code: 0, signal: null })
  })

  it('loses no acknowledged record to kill -9, and the next open is immediate', async () => {
    const dir = await freshDirectory()
    const acknowledged: number[] = []
    for (let round = 0; round < 4; round += 1) {
      const script = startScript(
        `
        import { Broker } from ${JSON.stringify(compiledUrl('index.ts'))}
        const broker = await Broker.open(process.argv[1])
        const topic = await broker.createTopic('a', { segmentBytes: 2000, ifNotExists: true })
        const producer = broker.producer()
        for (;;) {
          const sends = Array.from({ length: 3 }, (_, each) =>
            producer.send({ topic: 'a', value: 'x'.repeat(50 + each) }))
          for (const { offset } of await Promise.all(sends)) console.log(offset)
        }
        `,
        [dir],
      )
      for (let lines = 5 + round * 40; lines > 0; lines -= 1) {
        acknowledged.push(Number(await script.nextLine()))
      }
      script.process.kill('SIGKILL')
      expect((await script.ended).signal).toBe('SIGKILL')
      // Taking the lock over does not wait for it to grow stale: that would take half a minute.
      const broker = await Broker.open(dir)
      const offsets: number[] = []
      for await (const record of broker.topic('a').partition(0).records({ until: 'end' })) {
        expect(record.value?.length).toBeGreaterThanOrEqual(50)
        offsets.push(record.offset)
      }
      expect(offsets).toEqual([...offsets.keys()])
      expect(offsets).toEqual(expect.arrayContaining(acknowledged))
      expect(broker.recovery.damaged).toEqual([])
      await broker.close()
    }
  })
})
