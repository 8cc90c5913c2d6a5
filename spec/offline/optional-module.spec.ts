import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import { importError, MissingModuleError } from '../../lib/offline/optional-module.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const { peerDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  peerDependencies: Record<string, string>
}
const PEERS = Object.keys(peerDependencies)

describe('importError', () => {
  const failure = (message: string, code?: string): Error =>
    Object.assign(new Error(message), code === undefined ? {} : { code })
  const told = (error: unknown): unknown => importError(error, 'csv-parse', 'the import of CSV')

  it.each([
    ['Node.js', "Cannot find package 'csv-parse' imported from x", 'ERR_MODULE_NOT_FOUND'],
    ['a bundle of webpack', "Cannot find module 'csv-parse/sync'", 'MODULE_NOT_FOUND'],
    [
      'a require',
      "Cannot find module 'csv-parse/sync'\nRequire stack:\n- /a/b.cjs",
      'MODULE_NOT_FOUND',
    ],
    [
      'a bundle of Vite',
      'Could not resolve "csv-parse/sync" imported by "varve". Is it installed?',
    ],
  ])(
    'reports which package is missing, given the error message of %s',
    (_whose, message, code?: string) => {
      const error = failure(message, code)
      const missing = told(error)
      expect(missing).toBeInstanceOf(MissingModuleError)
      expect(missing).toMatchObject({
        code: 'MISSING_MODULE',
        module: 'csv-parse',
        message: 'the import of CSV needs the package csv-parse: npm install csv-parse',
        cause: error,
      })
    },
  )

  it.each([
    ["Cannot find package 'x' imported from /node_modules/csv-parse/y", 'ERR_MODULE_NOT_FOUND'],
    ["Cannot find package 'csv-parse-more' imported from x", 'ERR_MODULE_NOT_FOUND'],
    ["Cannot find module '/node_modules/csv-parse/sync.js'", 'MODULE_NOT_FOUND'],
    ["No './sync' in 'csv-parse'", 'ERR_PACKAGE_PATH_NOT_EXPORTED'],
    ['too many open files', 'EMFILE'],
    ['no memory'],
  ])('returns any other error unchanged: %s', (message, code?: string) => {
    const error = failure(message, code)
    expect(told(error)).toBe(error)
  })
})

describe('an import of an optional package', () => {
  it('is in a try block of its own function, so that bundlers work without the package', () => {
    const found = libraryFiles().flatMap(importsOfPeers)
    expect(found.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['csv-parse/sync', 'hyparquet', 'hyparquet-writer']),
    )
    expect(found.filter(({ isTried }) => !isTried)).toEqual([])
  })
})

function libraryFiles(): string[] {
  const lib = join(ROOT, 'lib')
  return readdirSync(lib, { recursive: true, encoding: 'utf8' })
    .map((path) => join(lib, path))
    .filter((path) => path.endsWith('.ts'))
}

/** Bundlers do not see imports of types. Other top-level imports and exports are in no `try`. */
function importsOfPeers(path: string): { path: string; name: string; isTried: boolean }[] {
  const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.ESNext)
  const found: { path: string; name: string; isTried: boolean }[] = []
  const note = (specifier: ts.Node | undefined, isTried: boolean): void => {
    if (specifier === undefined || !ts.isStringLiteral(specifier)) return
    const name = specifier.text
    if (!PEERS.some((peer) => name === peer || name.startsWith(`${peer}/`))) return
    found.push({ path, name, isTried })
  }
  const visit = (node: ts.Node, isTried: boolean): void => {
    if (ts.isImportDeclaration(node)) {
      const isOfTypes = node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword
      if (!isOfTypes) note(node.moduleSpecifier, false)
    } else if (ts.isExportDeclaration(node)) {
      if (!node.isTypeOnly) note(node.moduleSpecifier, false)
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      note(node.arguments[0], isTried)
    }
    if (ts.isTryStatement(node)) {
      visit(node.tryBlock, true)
      for (const rest of [node.catchClause, node.finallyBlock]) {
        if (rest !== undefined) visit(rest, isTried)
      }
      return
    }
    // A function called in a try may be called from elsewhere.
    const isInside = isTried && !ts.isFunctionLike(node)
    ts.forEachChild(node, (child) => {
      visit(child, isInside)
    })
  }
  visit(source, false)
  return found
}
