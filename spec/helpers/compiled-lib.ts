import { spawn, type ChildProcess } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type typescript from 'typescript'
import { afterAll, onTestFinished } from 'vitest'

const require = createRequire(import.meta.url)
const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url))
const CACHE = join(REPOSITORY, 'node_modules/.cache/varve-compiled')
/** The library, and scripts that use it in their own process and are too long for a string. */
const COMPILED_FOLDERS = ['lib', 'spec/work']
const { version: compilerVersion } = require('typescript/package.json') as { version: string }

let compiledPath: string | null = null

afterAll(() => {
  if (compiledPath !== null) rmSync(dirname(compiledPath), { recursive: true, force: true })
  compiledPath = null
})

/**
 * Compiles `lib/` to JavaScript for processes and worker threads that a spec starts: the Node.js
 * that runs them may not support TypeScript. Types are not checked.
 *
 * Runs once per spec file; the result is removed after it.
 *
 * @returns the directory that mirrors `lib/`, with `.js` in place of `.ts`.
 */
export function compiledLib(): string {
  compiledPath ??= compile()
  return compiledPath
}

/**
 * Returns the URL from which a started script imports a module.
 *
 * @param path as in the sources, below `lib/`: `'platform/directory-lock.ts'`.
 */
export function compiledUrl(path: string): string {
  return pathToFileURL(join(compiledLib(), path.replace(/\.ts$/, '.js'))).href
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

function compile(): string {
  const root = mkdtempSync(join(tmpdir(), 'varve-compiled-'))
  writeFileSync(join(root, 'package.json'), '{ "type": "module" }\n')
  symlinkSync(join(REPOSITORY, 'node_modules'), join(root, 'node_modules'), 'junction')
  for (const folder of COMPILED_FOLDERS) {
    const sources = join(REPOSITORY, folder)
    for (const path of readdirSync(sources, { recursive: true, encoding: 'utf8' })) {
      if (!path.endsWith('.ts') || /\.(d|spec)\.ts$/.test(path)) continue
      const target = join(root, folder, path.replace(/\.ts$/, '.js'))
      mkdirSync(dirname(target), { recursive: true })
      writeFileSync(target, transpiled(readFileSync(join(sources, path), 'utf8')))
    }
  }
  return join(root, 'lib')
}

/** A source as JavaScript, cached if it can be: loading the compiler alone takes a second. */
export function transpiled(source: string): string {
  const key = createHash('sha256').update(source).update(compilerVersion).digest('hex')
  const cachedPath = join(CACHE, `${key}.js`)
  if (existsSync(cachedPath)) return readFileSync(cachedPath, 'utf8')
  const ts = require('typescript') as typeof typescript
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      rewriteRelativeImportExtensions: true,
    },
  })
  mkdirSync(CACHE, { recursive: true })
  // Several spec files run at once: each finds the complete text under the final name, or no file.
  const ownPath = `${cachedPath}.${process.pid}-${randomUUID()}`
  writeFileSync(ownPath, outputText)
  renameSync(ownPath, cachedPath)
  return outputText
}
