import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const REPOSITORY = new URL('../', import.meta.url)
const PAGE = read('docs/GUARANTEES.md')

/** The evidence that the page names: a spec, and the title of a test in it. */
const EVIDENCE = [...PAGE.matchAll(/`(spec\/[^`›]+\.ts) › ([^`]+)`/g)].map((match) => ({
  path: match[1] ?? '',
  title: match[2] ?? '',
}))

function read(path: string): string {
  return readFileSync(fileURLToPath(new URL(path, REPOSITORY)), 'utf8')
}

/** Titles are in single quotes or backquotes, or in double quotes if they contain an apostrophe. */
function hasTest(source: string, title: string): boolean {
  return [`'${title}`, `"${title}`, `\`${title}`].some((start) => source.includes(start))
}

describe('the guarantees', () => {
  it('name tests as evidence', () => {
    expect(EVIDENCE.length).toBeGreaterThan(20)
  })

  it.each(EVIDENCE)('refer to a test that exists: $path › $title', ({ path, title }) => {
    expect(existsSync(fileURLToPath(new URL(path, REPOSITORY))), `${path} is not there`).toBe(true)
    expect(hasTest(read(path), title), `${path} has no test '${title}'`).toBe(true)
  })

  it('do not accept a test that does not exist', () => {
    expect(hasTest(read('spec/crash/every-operation.spec.ts'), 'loses nothing, ever')).toBe(false)
  })
})
