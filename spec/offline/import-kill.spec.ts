import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { Broker } from '../../lib/index.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { compiledUrl, startScript } from '../helpers/compiled-lib.ts'

const ROWS = 20_000
const KILLS = 6

it('stores each row once if an import is killed again and again', async () => {
  const root = mkdtempSync(join(tmpdir(), 'varve-import-'))
  onTestFinished(() => {
    rmSync(root, { recursive: true, force: true })
  })
  const path = join(root, 'rows.csv')
  const rows = Array.from({ length: ROWS }, (_, id) => `${id + 1},"user ${id % 97}"\n`)
  writeFileSync(path, `id,user\n${rows.join('')}`)
  const source = `
    import { Broker } from ${JSON.stringify(compiledUrl('index.ts'))}
    import { importFile } from ${JSON.stringify(compiledUrl('offline/index.ts'))}
    const broker = await Broker.open(${JSON.stringify(join(root, 'data'))})
    await broker.createTopic('t', { partitions: 3, ifNotExists: true })
    const result = await importFile(broker, ${JSON.stringify(path)}, {
      topic: 't', name: 'rows', keyField: 'user', batchRecords: 100, commitRecords: 1500,
      onProgress: ({ rows }) => console.log('at', rows),
    })
    await broker.close()
    console.log('done', result.rows)
  `
  const random = new SeededRandom(7)
  for (let kill = 0; kill < KILLS; kill += 1) {
    const script = startScript(source)
    const lines = 1 + random.integer(35)
    // On a busy machine it may be done before this process reads its progress.
    let told = ''
    for (let each = 0; each < lines && !told.startsWith('done'); each += 1) {
      told = await script.nextLine()
    }
    script.process.kill('SIGKILL')
    await script.ended
  }
  const last = startScript(source)
  let line = await last.nextLine()
  while (!line.startsWith('done')) line = await last.nextLine()
  expect(line).toBe(`done ${ROWS}`)
  await last.ended
  const broker = await Broker.open(join(root, 'data'))
  const counts = new Uint8Array(ROWS + 1)
  for (const partition of broker.topic('t').partitions) {
    let before = 0
    for await (const { value } of partition.records({ until: 'end' })) {
      const id = Number((JSON.parse(value?.toString() ?? '') as { id: string }).id)
      expect(id).toBeGreaterThan(before)
      before = id
      counts[id] = (counts[id] ?? 0) + 1
    }
  }
  await broker.close()
  expect([...counts.subarray(1)].findIndex((count) => count !== 1)).toBe(-1)
})
