import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { compiledUrl } from '../helpers/compiled-lib.ts'
import { temporaryDirectory } from '../platform/temporary-directory.ts'

/** Opens, appends, commits, reads, closes and opens again; prints what it read. */
function roundTrip(dir: string): string {
  return `
    import { Broker } from ${JSON.stringify(compiledUrl('broker.ts'))}
    const dir = ${JSON.stringify(dir)}
    const first = await Broker.open(dir)
    const topic = await first.createTopic('__proto__')
    const producer = first.producer({ compressionType: 'gzip' })
    await producer.send({ topic: '__proto__', value: 'v', headers: [{ key: '__proto__', value: 'h' }] })
    const consumer = first.consumer({ groupId: '__proto__' })
    consumer.assign([{ topic: '__proto__', partition: 0 }])
    await consumer.commit([{ topic: '__proto__', partition: 0, offset: 1 }])
    await first.close()
    const second = await Broker.open(dir)
    const [record] = await second.topic('__proto__').partition(0).read(0)
    console.log(String(record.value), record.headers[0].key, second.describe().groups.length)
    await second.close()
  `
}

describe('a hardened Node.js process', () => {
  it.each([
    ['prototypes cannot be reached by __proto__', ['--disable-proto=throw']],
    ['__proto__ is no more', ['--disable-proto=delete']],
    ['the language cannot be changed', ['--frozen-intrinsics']],
    ['no code can be made of text', ['--disallow-code-generation-from-strings']],
    [
      'all of these hold',
      ['--disable-proto=throw', '--frozen-intrinsics', '--disallow-code-generation-from-strings'],
    ],
  ])('opens, writes and reads a log if %s', async (_, flags) => {
    const dir = join(await temporaryDirectory(), 'data')
    const args = [...flags, '--no-warnings', '--input-type=module', '--eval', roundTrip(dir)]
    expect(execFileSync(process.execPath, args, { encoding: 'utf8' })).toBe('v __proto__ 1\n')
  })
})
