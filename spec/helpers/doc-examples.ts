import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import ts from 'typescript'
import { afterAll, onTestFinished } from 'vitest'
import { compiledLib } from './compiled-lib.ts'
import { codeBlocksOf } from './markdown.ts'

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url))
const execute = promisify(execFile)

/** An example of a page that is meant to be copied and run. */
export interface DocExample {
  /** Where it stands, such as `README.md:42`. */
  readonly place: string
  readonly page: string
  /** Line of the page that its first line is, from 1. */
  readonly line: number
  readonly language: 'ts' | 'js'
  readonly source: string
  /** Lines that it says it prints, in order. Others may stand between them. */
  readonly prints: readonly string[]
}

/** Where the entry points of the package lie, as its manifest names them. */
interface Manifest {
  readonly exports: Record<string, string | { readonly default: string }>
}

/** The examples of a page: its blocks in TypeScript or JavaScript. Each is a module of its own. */
export function examplesOf(page: string, content: string): DocExample[] {
  return codeBlocksOf(content).flatMap(({ language, line, source }) => {
    if (language !== 'ts' && language !== 'js') return []
    const prints = [...source.matchAll(/\/\/ prints: (.*)$/gm)].map((match) => match[1] ?? '')
    return [{ place: `${page}:${line}`, page, line, language, source, prints }]
  })
}

/**
 * Checks the types of examples under the rules of this repository, against the sources of the
 * library.
 *
 * @returns what is wrong, with page and line.
 */
export function typeErrorsIn(examples: readonly DocExample[]): string[] {
  const virtual = new Map(
    examples.map((example, slot) => [
      // Beside the sources, where the compiler finds the types of Node.js.
      join(REPOSITORY, `example-${slot}.${example.language}`),
      example,
    ]),
  )
  const options = compilerOptions()
  const disk = ts.createCompilerHost(options)
  const textOf = (path: string): string | undefined => {
    const example = virtual.get(path)
    // A module of its own, also where it imports and exports nothing.
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
 * Runs an example as a reader would who has installed the package: in a process of its own, in an
 * empty directory.
 *
 * @returns the lines that it has printed. Rejects when it fails, or writes to standard error.
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

/** The first of `wanted` that `lines` do not hold behind the one before it; `null` when all are there. */
export function firstMissing(lines: readonly string[], wanted: readonly string[]): string | null {
  let from = 0
  for (const each of wanted) {
    const found = lines.indexOf(each, from)
    if (found < 0) return each
    from = found + 1
  }
  return null
}

/** A directory in which the package is installed, in the shape that its manifest gives it. */
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
    // They are rules for those who publish declarations.
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

function transpiled(source: string): string {
  return ts.transpileModule(source, {
    compilerOptions: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
    },
  }).outputText
}

function describeDiagnostic(diagnostic: ts.Diagnostic, { page, line }: DocExample): string {
  const message = ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n')
  const { file, start = 0 } = diagnostic
  const lineInExample = file?.getLineAndCharacterOfPosition(start).line ?? 0
  return `${page}:${line + lineInExample}: ${message}`
}

/** The repository's pages, by their paths in it. */
export function readPages(paths: readonly string[]): Map<string, string> {
  return new Map(paths.map((path) => [path, readFileSync(join(REPOSITORY, path), 'utf8')]))
}

/** A path that a page at `page` links to, from the top of the repository. */
export function resolveFrom(page: string, target: string): string {
  return join(REPOSITORY, dirname(page), target)
}
