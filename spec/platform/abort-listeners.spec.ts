import { getEventListeners } from 'node:events'
import { describe, expect, it } from 'vitest'
import { pushTo } from '../../lib/offline/index.ts'
import { onAbort } from '../../lib/platform/abort-listeners.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'
import { settle } from '../helpers/settle.ts'

describe('onAbort', () => {
  it('calls all callbacks in order, with one listener on the signal', () => {
    const controller = new AbortController()
    const calls: number[] = []
    for (let number = 0; number < 20; number += 1) {
      onAbort(controller.signal, () => calls.push(number))
    }
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(1)
    controller.abort()
    controller.abort()
    expect(calls).toEqual(Array.from({ length: 20 }, (_, number) => number))
  })

  it('calls no removed callback, and removes its listener with the last one', () => {
    const controller = new AbortController()
    const calls: string[] = []
    const add = (name: string) => onAbort(controller.signal, () => calls.push(name))
    const [stopFirst, stopSecond] = [add('first'), add('second')]
    stopFirst()
    stopFirst()
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(1)
    stopSecond()
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    add('third')
    stopSecond()
    onAbort(controller.signal, () => {
      stopFourth()
    })
    const stopFourth = add('fourth')
    controller.abort()
    expect(calls).toEqual(['third'])
  })

  it('never calls a callback that is added after the abort', () => {
    const stop = onAbort(AbortSignal.abort(), () => {
      throw new Error('called')
    })
    stop()
  })
})

describe('many waiting calls with one signal', () => {
  it('share one listener if they are pushes, and remove it when they end', async () => {
    await using broker = await tempBroker({ fileSystem: new SimulatedFileSystem() })
    await broker.createTopic('t')
    const { signal } = new AbortController()
    const pushes = Array.from({ length: 12 }, (_, index) => {
      const consumer = broker.consumer({ groupId: `g${index}`, enableAutoCommit: false })
      consumer.subscribe(['t'])
      return pushTo(consumer, () => Promise.resolve(), { signal })
    })
    await settle()
    expect(getEventListeners(signal, 'abort')).toHaveLength(1)
    for (const push of pushes) void push.stop()
    await Promise.all(pushes)
    expect(getEventListeners(signal, 'abort')).toEqual([])
  })

  it('share one listener if they are fetches, and remove it when they end', async () => {
    await using broker = await tempBroker({ fileSystem: new SimulatedFileSystem() })
    const partition = (await broker.createTopic('t')).partition(0)
    const { signal } = new AbortController()
    const wait = { signal, maxWaitMs: 60_000 }
    const fetches = Array.from({ length: 20 }, () => partition.fetch(0, wait))
    await settle()
    expect(getEventListeners(signal, 'abort')).toHaveLength(1)
    await partition.append({ value: 'v' })
    await Promise.all(fetches)
    expect(getEventListeners(signal, 'abort')).toEqual([])
  })
})
