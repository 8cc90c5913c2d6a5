import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ESLint } from 'eslint'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

/** What the layering rules report for `code` as the content of a file of `lib/`. */
async function complaints(path: string, code: string): Promise<string[]> {
  const eslint = new ESLint({
    cwd: root,
    overrideConfig: [
      {
        files: ['**/*.ts'],
        // A file that exists only in this test belongs to no project.
        languageOptions: { parserOptions: { projectService: false, project: null } },
      },
    ],
    ruleFilter: ({ ruleId }) => ruleId.startsWith('no-restricted-'),
  })
  const [result] = await eslint.lintText(code, { filePath: join(root, path) })
  return (result?.messages ?? []).map((message) => message.message)
}

describe('the lint rules for the layers of lib/', () => {
  it('allow a layer to import from those below it', async () => {
    const code = "import { Log } from '../storage/log.ts'\nexport const log = Log\n"
    expect(await complaints('lib/broker/some-file.ts', code)).toEqual([])
  })

  it.each([
    ['lib/storage/some-file.ts', '../broker/partition.ts', /storage\/ lies below broker\//],
    ['lib/record/some-file.ts', '../storage/log.ts', /record\/ lies below storage\//],
    ['lib/platform/some-file.ts', '../record/varint.ts', /platform\/ lies below record\//],
    ['lib/errors/some-file.ts', '../platform/clock.ts', /errors\/ lies below platform\//],
    [
      'lib/broker/assignors/some-file.ts',
      '../../client/consumer.ts',
      /broker\/ lies below client\//,
    ],
    ['lib/client/some-file.ts', '../broker.ts', /is put together above/],
    ['lib/storage/some-file.ts', '../offline/sink.ts', /storage\/ lies below offline\//],
    ['lib/offline/some-file.ts', '../broker/partition.ts', /stands on the public surface/],
    ['lib/offline/some-file.ts', '../broker.ts', /stands on the public surface/],
  ])('report in %s an import from %s', async (path, imported, message) => {
    const code = `import * as above from '${imported}'\nexport const each = above\n`
    expect(await complaints(path, code)).toEqual([expect.stringMatching(message)])
  })

  it.each([
    "import { readFile } from 'node:fs/promises'\nexport const each = readFile\n",
    "import { ensureDir } from 'fs-extra/esm'\nexport const each = ensureDir\n",
    'export const each = Date.now()\n',
    'export const each = Math.random()\n',
    'export const each = setTimeout(() => undefined, 1)\n',
    'export const each = setImmediate(() => undefined)\n',
  ])('allow files, clocks, timers and random numbers only inside platform/: %j', async (code) => {
    expect(await complaints('lib/storage/some-file.ts', code)).toHaveLength(1)
    expect(await complaints('lib/platform/some-file.ts', code)).toEqual([])
  })
})
