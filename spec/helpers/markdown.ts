/** A fenced block of a page. */
export interface CodeBlock {
  /** The info string after the opening fence, such as `ts`; empty if there is none. */
  readonly language: string
  /** The page's line number of its first line, from 1. */
  readonly line: number
  readonly source: string
}

/** A link as written, with its line number in the page, from 1. */
export interface PageLink {
  readonly target: string
  readonly line: number
}

/** One line of a page, and whether it belongs to a fenced block, fences included. */
interface PageLine {
  readonly text: string
  readonly number: number
  readonly isCode: boolean
}

const FENCE = /^(`{3,}|~{3,})\s*(.*)$/
const LINK = /\[[^\]]*\]\(([^)\s]+)\)/g
const INLINE_CODE = /`([^`]+)`/g

/** The fenced blocks of a page, in order. */
export function codeBlocksOf(page: string): CodeBlock[] {
  const blocks: CodeBlock[] = []
  let open: { language: string; line: number; source: string[] } | null = null
  for (const { text, number, isCode } of linesOf(page)) {
    const language = FENCE.exec(text)?.[2]
    if (!isCode) continue
    if (open === null) {
      open = { language: language ?? '', line: number + 1, source: [] }
    } else if (language === undefined) {
      open.source.push(text)
    } else {
      blocks.push({ ...open, source: `${open.source.join('\n')}\n` })
      open = null
    }
  }
  return blocks
}

/** The links of a page, except those in code. */
export function linksOf(page: string): PageLink[] {
  return proseOf(page).flatMap(({ text, number }) =>
    [...text.replaceAll(INLINE_CODE, '').matchAll(LINK)].map((match) => ({
      target: match[1] ?? '',
      line: number,
    })),
  )
}

/** The inline code in a page's prose. */
export function inlineCodeOf(page: string): string[] {
  return proseOf(page).flatMap(({ text }) =>
    [...text.matchAll(INLINE_CODE)].map((match) => match[1] ?? ''),
  )
}

/** The anchors that GitHub generates for a page's headings. */
export function anchorsOf(page: string): Set<string> {
  const anchors = new Set<string>()
  for (const { text } of proseOf(page)) {
    const heading = /^#{1,6}\s+(.*?)\s*#*$/.exec(text)?.[1]
    if (heading === undefined) continue
    const anchor = heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-')
    let count = 0
    while (anchors.has(count === 0 ? anchor : `${anchor}-${count}`)) count += 1
    anchors.add(count === 0 ? anchor : `${anchor}-${count}`)
  }
  return anchors
}

/** The tables of a page, in order: the cells of their rows, without the header. */
export function tablesOf(page: string): string[][][] {
  const tables: string[][][] = []
  let before = -1
  for (const { text, number } of proseOf(page)) {
    if (!text.startsWith('|')) continue
    if (number !== before + 1) tables.push([])
    before = number
    const cells = text.slice(1, text.lastIndexOf('|')).split('|')
    tables.at(-1)?.push(cells.map((cell) => cell.trim()))
  }
  // The first row is the header, the second only the rule below it.
  return tables.map((rows) => rows.slice(2))
}

/** The part of a page below a heading, up to the next heading of the same or a higher level. */
export function sectionOf(page: string, heading: string): string {
  const lines = linesOf(page)
  const start = lines.findIndex(
    ({ text, isCode }) => !isCode && text.replace(/^#+\s+/, '') === heading && text !== heading,
  )
  if (start < 0) throw new Error(`there is no heading '${heading}'`)
  const depth = (lines[start]?.text ?? '').indexOf(' ')
  const end = lines.findIndex(({ text, isCode }, at) => {
    const marks = /^#+(?=\s)/.exec(text)?.[0]
    return at > start && !isCode && marks !== undefined && marks.length <= depth
  })
  return lines
    .slice(start + 1, end < 0 ? undefined : end)
    .map(({ text }) => text)
    .join('\n')
}

function proseOf(page: string): PageLine[] {
  return linesOf(page).filter(({ isCode }) => !isCode)
}

function linesOf(page: string): PageLine[] {
  let fence: string | null = null
  return page.split('\n').map((text, slot) => {
    const found = FENCE.exec(text)
    const number = slot + 1
    if (fence === null) {
      fence = found?.[1] ?? null
      return { text, number, isCode: fence !== null }
    }
    // Only a bare fence that is at least as long as the opening one ends a block.
    if (found?.[2] === '' && found[1]?.startsWith(fence) === true) fence = null
    return { text, number, isCode: true }
  })
}
