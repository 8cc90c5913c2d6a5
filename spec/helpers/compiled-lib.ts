import { spawn, type ChildProcess } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import {
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build, VERSION } from 'rolldown'
import type typescript from 'typescript'
import { onTestFinished } from 'vitest'

const require = createRequire(import.meta.url)
const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url))
const CACHE = join(REPOSITORY, 'node_modules/.cache/varve-compiled')
/** The library, and scripts that use it in their own process and are too long for a string. */
const COMPILED_FOLDERS = ['lib', 'spec/work']
/** What scripts import, or run. */
const ENTRIES = [
  ...['lib/broker', 'lib/index', 'lib/offline/index', 'lib/testing/index'],
  ...['lib/cli/load-example-main', 'lib/cli/main', 'lib/testing/seeded-random'],
  ...['directory-lock', 'foreign-modules', 'lock-guard', 'node-file-system', 'system-clock'].map(
    (name) => `lib/platform/${name}`,
  ),
  'spec/work/count-work',
]
/** What no spec has asked for in so long is from sources that are no more. */
const KEPT_MS = 7 * 24 * 60 * 60 * 1000

const compiledPath = await compile()

/**
 * `lib/` as JavaScript, for processes and worker threads that a spec starts: the Node.js that runs
 * them may not support TypeScript. Types are not checked. As in what is published, most modules are
 * in files that they share: a process that loads two hundred files one by one starts four times as
 * slowly.
 *
 * @returns a directory that holds the entries in place of `lib/`, with `.js` in place of `.ts`.
 */
export function compiledLib(): string {
  return join(compiledPath, 'lib')
}

/**
 * Returns the URL from which a started script imports a module.
 *
 * @param path as in the sources, below `lib/`: `'platform/directory-lock.ts'`; one of the entries.
 */
export function compiledUrl(path: string): string {
  const compiled = join(compiledLib(), path.replace(/\.ts$/, '.js'))
  if (!existsSync(compiled)) throw new Error(`${path} is not among the entries that are compiled`)
  return pathToFileURL(compiled).href
}

/** A script in its own process. */
export interface StartedScript {
  readonly process: ChildProcess
  readonly pid: number
  /** The next line of its output. Rejects if the script ends without writing another line. */
  nextLine(): Promise<string>
  /** How it ended. Rejects if it wrote to standard error, so that no failure goes unnoticed. */
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
}

/**
 * Runs the source of an ES module with Node.js. A script that still runs when the test ends is
 * killed.
 *
 * @param source imports the library by {@link compiledUrl}.
 */
export function startScript(source: string, args: readonly string[] = []): StartedScript {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', source, '--', ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let complaints = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaints += text))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>(
    (resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code, signal) => {
        if (complaints === '') resolve({ code, signal })
        else reject(new Error(`the script wrote to standard error:\n${complaints}`))
      })
    },
  )
  // A test that does not await the end does not care how the script ends.
  ended.catch(() => null)
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await ended.catch(() => null)
  })
  const { pid } = child
  if (pid === undefined) throw new Error('the script did not start')
  return {
    process: child,
    pid,
    ended,
    async nextLine() {
      const line = await lines.next()
      if (line.done !== true) return line.value
      await ended
      throw new Error('the script ended without a further line')
    },
  }
}

/** Compiles what was not compiled before, by this or another spec file. */
async function compile(): Promise<string> {
  for (;;) {
    const digest = digestOfSources()
    const path = join(CACHE, digest)
    if (existsSync(path)) {
      const now = new Date()
      utimesSync(path, now, now)
      return path
    }
    removeOld()
    // Several spec files run at once: each finds all of it under the final name, or nothing.
    const ownPath = `${path}.${process.pid}-${randomUUID()}`
    try {
      await buildTo(ownPath)
      // A source that is saved meanwhile may or may not be in it.
      if (digestOfSources() === digest) renameSync(ownPath, path)
    } catch (error) {
      if (!existsSync(path)) throw error
    } finally {
      rmSync(ownPath, { recursive: true, force: true })
    }
  }
}

/** Of all that decides what is built, this file included. */
function digestOfSources(): string {
  const hash = createHash('sha256').update(VERSION)
  const sources = COMPILED_FOLDERS.flatMap((folder) =>
    readdirSync(join(REPOSITORY, folder), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .map((path) => join(REPOSITORY, folder, path)),
  )
  const settings = [fileURLToPath(import.meta.url), join(REPOSITORY, 'tsconfig.json')]
  for (const path of [...sources.sort(), ...settings]) {
    hash.update(`${relative(REPOSITORY, path)}\0`).update(readFileSync(path))
  }
  return hash.digest('hex')
}

async function buildTo(dir: string): Promise<void> {
  await build({
    input: Object.fromEntries(ENTRIES.map((name) => [name, join(REPOSITORY, `${name}.ts`)])),
    external: /^[^./]/,
    platform: 'node',
    logLevel: 'silent',
    output: { dir, format: 'esm', minify: false, chunkFileNames: 'lib/shared/[name].js' },
  })
  writeFileSync(join(dir, 'package.json'), '{ "type": "module" }\n')
}

function removeOld(): void {
  if (!existsSync(CACHE)) return
  for (const name of readdirSync(CACHE)) {
    const path = join(CACHE, name)
    const stats = statSync(path, { throwIfNoEntry: false })
    if (stats === undefined || stats.mtimeMs > Date.now() - KEPT_MS) continue
    rmSync(path, { recursive: true, force: true })
  }
}

/** A source of an example as JavaScript. */
export function transpiled(source: string): string {
  const ts = require('typescript') as typeof typescript
  return ts.transpileModule(source, {
    compilerOptions: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      rewriteRelativeImportExtensions: true,
    },
  }).outputText
}
