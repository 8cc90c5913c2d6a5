import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'
import { describe, expect, it, onTestFinished } from 'vitest'
import { startScript } from './helpers/compiled-lib.ts'

const LIB = fileURLToPath(new URL('../lib/', import.meta.url))

/**
 * The library and all its dependencies in one CommonJS file, which knows its own path as little as
 * one bundled by esbuild.
 */
async function bundledText(): Promise<string> {
  const bundle = await rolldown({
    input: join(LIB, 'index.ts'),
    platform: 'node',
    transform: { define: { 'import.meta': '{}' } },
    logLevel: 'silent',
  })
  const { output } = await bundle.generate({ format: 'cjs', codeSplitting: false })
  await bundle.close()
  return output[0].code
}

/** A program as text: it sends and consumes a record, and the directory's lock keeps others out. */
const USE = `async ({ Broker }, dir) => {
  const broker = await Broker.open(dir)
  await broker.createTopic('orders')
  await broker.producer().send({ topic: 'orders', value: 'first' })
  const consumer = broker.consumer({ groupId: 'g' })
  consumer.subscribe(['orders'])
  const [record] = await consumer.poll({ maxWaitMs: 60000 })
  const refused = await Broker.open(dir).catch((error) => error.code)
  await broker.close()
  console.log(record.value.toString(), refused)
}`

function emptyDirectory(): string {
  const dir = mkdtempSync(join(tmpdir(), 'varve-bundled-'))
  onTestFinished(() => {
    rmSync(dir, { recursive: true, force: true })
  })
  return dir
}

describe('an application bundled as CommonJS, outside of all packages', () => {
  it.each([
    ['from its file', `createRequire(process.argv[1])(process.argv[1])`],
    [
      'from memory, without the name of a file',
      `(() => {
        const exports = {}
        const run = new Function('exports', 'require', readFileSync(process.argv[1], 'utf8'))
        run(exports, createRequire(import.meta.url))
        return exports
      })()`,
    ],
  ])('can send, consume and lock its directory when loaded %s', async (_how, load) => {
    const dir = emptyDirectory()
    const path = join(dir, 'app.cjs')
    writeFileSync(path, await bundledText())
    const script = startScript(
      `
      import { createRequire } from 'node:module'
      import { readFileSync } from 'node:fs'
      await (${USE})(${load}, process.argv[2])
      `,
      [path, join(dir, 'data')],
    )
    expect(await script.nextLine()).toBe('first LOCKED')
    expect(await script.ended).toEqual({ code: 0, signal: null })
  })
})
