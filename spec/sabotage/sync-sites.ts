import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

/** A place in the source at which a file or a directory is synced. */
export interface SyncSite {
  /** Path from the root of the repository. */
  readonly file: string
  /** `file function`, with a number if the function has several. Stays the same when lines move. */
  readonly name: string
  /** Where the call begins and ends in the text of the file. */
  readonly start: number
  readonly end: number
  /** Whether the call is the synchronous form of an awaited sync, and so has its name. */
  readonly isNow: boolean
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** A call that syncs: `file.sync()`, `handle.datasync()`, `this.#fileSystem.syncDirectory(dir)`. */
const CALL =
  /(?:this|[a-z]\w*)(?:\??\.#?\w+)*\??\.(?:sync|datasync|datasyncNow|syncDirectory|syncNames)(?:\?\.)?\(/g

/** The first line of a function or a method, as prettier formats it. */
const FUNCTION =
  /^(?:export )?(?:async )?function (\w+)|^ {2}(?:static |override )?(?:async )?(#?\w+)(?:<\w+>)?\(/gm
const KEYWORDS: ReadonlySet<string> = new Set(['if', 'for', 'while', 'switch', 'return', 'super'])

/** The layers that change files. The simulated disk is only what they are tested on. */
export const SYNCING_FOLDERS: readonly string[] = [
  'lib/platform',
  'lib/storage',
  'lib/broker',
  'lib/offline',
]

/** Returns every sync of the library, each once, whether or not it also has a synchronous form. */
export function findSyncSites(): SyncSite[] {
  return SYNCING_FOLDERS.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .sort()
      .flatMap((name) => {
        const file = `${folder}/${name}`
        const sites = syncSitesIn(file, readFileSync(join(ROOT, file), 'utf8'))
        return sites.filter(({ isNow }) => !isNow)
      }),
  )
}

/** Returns the syncs in the text of one file. */
export function syncSitesIn(file: string, source: string): SyncSite[] {
  const sites: SyncSite[] = []
  const counts = new Map<string, number>()
  for (const match of source.matchAll(CALL)) {
    const start = match.index
    const lineStart = source.lastIndexOf('\n', start) + 1
    if (/^\s*(?:\/?\*|\/\/)/.test(source.slice(lineStart, start))) continue
    const base = `${file} ${functionAround(source, start).replace(/Now$/, '')}`
    const end = closingOf(source, start + match[0].length)
    if (/Now(?:\?\.)?\($/.test(match[0])) {
      sites.push({ file, name: base, start, end, isNow: true })
      continue
    }
    const count = (counts.get(base) ?? 0) + 1
    counts.set(base, count)
    const name = count === 1 ? base : `${base} (${count})`
    sites.push({ file, name, start, end, isNow: false })
  }
  return sites
}

/**
 * Returns the text of a file in which each sync first asks whether it is left out: `varveSync(name,
 * sync)` is looked up on `globalThis`.
 */
export function withSwitches(path: string, source: string): string {
  const file = relative(ROOT, path).replaceAll('\\', '/')
  return syncSitesIn(file, source).reduceRight((text, { name, start, end, isNow }) => {
    const call = text.slice(start, end)
    const ask = isNow ? 'varveSyncNow' : 'varveSync'
    const switched = `globalThis.${ask}(${JSON.stringify(name)}, () => ${call})`
    return text.slice(0, start) + switched + text.slice(end)
  }, source)
}

function functionAround(source: string, position: number): string {
  const names = [...source.slice(0, position).matchAll(FUNCTION)].map(
    ([, plain, method]) => plain ?? method ?? '',
  )
  return names.findLast((name) => !KEYWORDS.has(name)) ?? 'at the top'
}

/** Returns the position after the parenthesis that closes the one before `position`. */
function closingOf(source: string, position: number): number {
  let depth = 1
  for (let at = position; at < source.length; at += 1) {
    if (source[at] === '(') depth += 1
    else if (source[at] === ')') depth -= 1
    if (depth === 0) return at + 1
  }
  throw new Error('a call is not closed')
}
