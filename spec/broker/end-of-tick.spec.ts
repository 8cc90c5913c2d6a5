import { expect, it } from 'vitest'
import { EndOfTick } from '../../lib/broker/end-of-tick.ts'

it('begins the time share for writes with the first schedule call of each tick', async () => {
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
