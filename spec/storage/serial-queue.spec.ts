import { expect, it } from 'vitest'
import { SerialQueue } from '../../lib/storage/serial-queue.ts'

it('runs a task before the call returns if the queue is empty', async () => {
  const queue = new SerialQueue()
  const log: string[] = []
  const done = queue.run(() => {
    log.push('ran')
    return Promise.resolve('result')
  })
  log.push('returned')
  expect(await done).toBe('result')
  expect(log).toEqual(['ran', 'returned'])
})

it('runs tasks one after the other in the order of the calls, even if one of them rejects', async () => {
  const queue = new SerialQueue()
  const log: string[] = []
  const task = (name: string, outcome: 'resolves' | 'rejects') => (): Promise<void> => {
    log.push(`${name} begins`)
    return Promise.resolve().then(() => {
      log.push(`${name} ends`)
      if (outcome === 'rejects') throw new Error(name)
    })
  }
  const settled = await Promise.allSettled([
    queue.run(task('a', 'resolves')),
    queue.run(task('b', 'rejects')),
    queue.run(task('c', 'resolves')),
    queue.run(task('d', 'resolves')),
  ])
  expect(settled.map(({ status }) => status)).toEqual([
    'fulfilled',
    'rejected',
    'fulfilled',
    'fulfilled',
  ])
  expect(log).toEqual([
    'a begins',
    'a ends',
    'b begins',
    'b ends',
    'c begins',
    'c ends',
    'd begins',
    'd ends',
  ])
})

it('runs a task that was added by another one after that one ends', async () => {
  const queue = new SerialQueue()
  const log: string[] = []
  const inner: Promise<void>[] = []
  await queue.run(async () => {
    inner.push(
      queue.run(async () => {
        log.push('inner')
        await Promise.resolve()
      }),
    )
    await Promise.resolve()
    log.push('outer')
  })
  await Promise.all(inner)
  expect(log).toEqual(['outer', 'inner'])
})
