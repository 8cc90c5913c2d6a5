import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import ts from 'typescript'
import { afterAll, onTestFinished } from 'vitest'
import { compiledLib, transpiled } from './compiled-lib.ts'
import { codeBlocksOf } from './markdown.ts'

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url))
const execute = promisify(execFile)

/** An example on a page, meant to be copied and run. */
export interface DocExample {
  /** Its page and line, such as `README.md:42`. */
  readonly place: string
  readonly page: string
  /** The page's line number of its first line, from 1. */
  readonly line: number
  readonly language: 'ts' | 'js'
  readonly source: string
  /** The lines that it claims to print, in order. Others may appear between them. */
  readonly prints: readonly string[]
}

/** The paths of the package's entry points, as in its manifest. */
interface Manifest {
  readonly exports: Record<string, string | { readonly default: string }>
}

/** The examples of a page: its TypeScript and JavaScript blocks. Each is a separate module. */
export function examplesOf(page: string, content: string): DocExample[] {
  return codeBlocksOf(content).flatMap(({ language, line, source }) => {
    if (language !== 'ts' && language !== 'js') return []
    const prints = [...source.matchAll(/\/\/ prints: (.*)$/gm)].map((match) => match[1] ?? '')
    return [{ place: `${page}:${line}`, page, line, language, source, prints }]
  })
}

/**
 * Checks the types of examples with this repository's compiler options, against the sources of the
 * library.
 *
 * @returns the errors, each with its page and line.
 */
export function typeErrorsIn(examples: readonly DocExample[]): string[] {
  const virtual = new Map(
    examples.map((example, slot) => [
      // In the repository, so that the compiler finds the types of Node.js.
      join(REPOSITORY, `example-${slot}.${example.language}`),
      example,
    ]),
  )
  const options = compilerOptions()
  const disk = ts.createCompilerHost(options)
  const textOf = (path: string): string | undefined => {
    const example = virtual.get(path)
    // Makes it a module even if it imports and exports nothing.
    return example === undefined ? undefined : `${example.source}export {}\n`
  }
  const host: ts.CompilerHost = {
    ...disk,
    fileExists: (path) => virtual.has(path) || disk.fileExists(path),
    readFile: (path) => textOf(path) ?? disk.readFile(path),
    getSourceFile: (path, languageVersion, ...rest) => {
      const text = textOf(path)
      if (text === undefined) return disk.getSourceFile(path, languageVersion, ...rest)
      return ts.createSourceFile(path, text, languageVersion)
    },
  }
  const program = ts.createProgram({ rootNames: [...virtual.keys()], options, host })
  return [...virtual].flatMap(([path, example]) => {
    const file = program.getSourceFile(path)
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(
      (diagnostic) => describeDiagnostic(diagnostic, example),
    )
  })
}

let sandboxPath: string | null = null

afterAll(() => {
  if (sandboxPath !== null) rmSync(sandboxPath, { recursive: true, force: true })
  sandboxPath = null
})

/**
 * Runs an example as a reader who has installed the package would: in its own process, in an empty
 * directory.
 *
 * @returns the lines that it printed. Rejects if it fails, or writes to standard error.
 */
export async function runExample({
  language,
  source,
  place,
}: Pick<DocExample, 'language' | 'source' | 'place'>): Promise<string[]> {
  sandboxPath ??= createSandbox()
  const cwd = mkdtempSync(join(sandboxPath, 'run-'))
  const script = join(cwd, 'example.mjs')
  writeFileSync(script, language === 'ts' ? transpiled(source) : source)
  const abort = new AbortController()
  onTestFinished(() => {
    abort.abort()
  })
  const { signal } = abort
  const { stdout, stderr } = await execute(process.execPath, [script], { cwd, signal })
  if (stderr !== '') throw new Error(`the example at ${place} wrote to standard error:\n${stderr}`)
  return stdout.split('\n').slice(0, -1)
}

/** The first of `wanted` that `lines` lack after the previous one; `null` if all occur in order. */
export function firstMissing(lines: readonly string[], wanted: readonly string[]): string | null {
  let from = 0
  for (const each of wanted) {
    const found = lines.indexOf(each, from)
    if (found < 0) return each
    from = found + 1
  }
  return null
}

/** Creates a directory in which the package is installed as its manifest describes it. */
function createSandbox(): string {
  const path = mkdtempSync(join(tmpdir(), 'varve-examples-'))
  const installed = join(path, 'node_modules/varve')
  mkdirSync(installed, { recursive: true })
  symlinkSync(compiledLib(), join(installed, 'dist'), 'junction')
  writeFileSync(join(installed, 'package.json'), readFileSync(join(REPOSITORY, 'package.json')))
  return path
}

function compilerOptions(): ts.CompilerOptions {
  const configPath = join(REPOSITORY, 'tsconfig.json')
  const { config } = ts.readConfigFile(configPath, (path) => ts.sys.readFile(path)) as {
    config: unknown
  }
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, REPOSITORY)
  return {
    ...options,
    // These are rules for publishing declarations.
    isolatedDeclarations: false,
    declaration: false,
    allowJs: true,
    checkJs: true,
    paths: sourcePaths(),
  }
}

/** The sources behind the entry points of the package. */
function sourcePaths(): Record<string, string[]> {
  const text = readFileSync(join(REPOSITORY, 'package.json'), 'utf8')
  const paths: Record<string, string[]> = {}
  for (const [name, target] of Object.entries((JSON.parse(text) as Manifest).exports)) {
    if (typeof target === 'string') continue
    const source = target.default.replace('./dist/', './lib/').replace(/\.js$/, '.ts')
    paths[name.replace('.', 'varve')] = [join(REPOSITORY, source)]
  }
  return paths
}

function describeDiagnostic(diagnostic: ts.Diagnostic, { page, line }: DocExample): string {
  const message = ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n')
  const { file, start = 0 } = diagnostic
  const lineInExample = file?.getLineAndCharacterOfPosition(start).line ?? 0
  return `${page}:${line + lineInExample}: ${message}`
}

/** Reads pages of the repository. @returns their content by path. */
export function readPages(paths: readonly string[]): Map<string, string> {
  return new Map(paths.map((path) => [path, readFileSync(join(REPOSITORY, path), 'utf8')]))
}

/** Resolves a path that the page at `page` links to. */
export function resolveFrom(page: string, target: string): string {
  return join(REPOSITORY, dirname(page), target)
}
