import { expect, it } from 'vitest'
import { EndOfTick } from '../../lib/broker/end-of-tick.ts'

it('begins the share of the turn with the first that comes, and again with each tick', async () => {
  const told: string[] = []
  const endOfTick = new EndOfTick(() => told.push('called back'), {
    begin: (kind) => told.push(`${kind} begun`),
  })
  endOfTick.schedule()
  endOfTick.schedule()
  told.push('made ready')
  await Promise.resolve()
  endOfTick.schedule()
  await Promise.resolve()
  const tick = ['write begun', 'made ready', 'called back']
  expect(told).toEqual([...tick, 'write begun', 'called back'])
})
