import { mkdir, readdir, rename, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { Log } from '../../lib/storage/log.ts'
import { textsOf } from '../helpers/partitions.ts'
import { temporaryDirectory } from '../platform/temporary-directory.ts'

/** Two directories and a link to the first, which `turn` makes point to the second. */
async function linked(): Promise<{ link: string; second: string; turn: () => Promise<void> }> {
  const parent = await temporaryDirectory()
  const [first, second, link] = [join(parent, 'v1'), join(parent, 'v2'), join(parent, 'current')]
  await mkdir(first)
  await mkdir(second)
  await symlink(first, link)
  const turn = async (): Promise<void> => {
    await symlink(second, `${link}.next`)
    await rename(`${link}.next`, link)
  }
  return { link, second, turn }
}

describe('a directory that was opened through a symbolic link', () => {
  it('stays in use after the link is changed to the directory of another owner', async () => {
    const { link, second, turn } = await linked()
    const other = await Broker.open(second)
    const orders = await other.createTopic('orders')
    await orders.partition(0).append({ value: 'of the other' })
    const broker = await Broker.open(link)
    expect(broker.dir).toBe(link)
    const own = await broker.createTopic('orders')
    const reader = await Broker.open(link, { readOnly: true })
    const namesBefore = await readdir(second)
    await turn()
    await broker.createTopic('payments')
    await own.partition(0).append({ value: 'own' })
    expect(textsOf(await reader.topic('orders').partition(0).read(0))).toEqual(['own'])
    await broker.deleteTopic('orders')
    await broker.close()
    await reader.close()
    expect(await readdir(second)).toEqual(namesBefore)
    expect(textsOf(await orders.partition(0).read(0))).toEqual(['of the other'])
    await other.close()
  })

  it('stays in use for a log that is opened alone, too', async () => {
    const { link, second, turn } = await linked()
    await mkdir(join(link, 'a-0'))
    const log = await Log.open(join(link, 'a-0'))
    await turn()
    await log.append([{ value: 'v' }])
    await log.roll()
    await log.close()
    expect(await readdir(second)).toEqual([])
  })
})
