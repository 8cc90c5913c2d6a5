import type { Writable } from 'node:stream'
import type { Progress } from './report.ts'
import { thousands } from './report.ts'

const PROBLEMS_SHOWN = 10
const RANGES_SHOWN = 20

/** Problems of the input: the first ones are shown at once, and all are counted. */
export class Problems {
  readonly #output: Writable
  readonly #progress: Pick<Progress, 'giveWay'>
  /** Adjacent lines are joined. At most as many as are shown. */
  readonly #ranges: { first: number; last: number }[] = []
  #count = 0
  #rangedCount = 0

  constructor(output: Writable, progress: Pick<Progress, 'giveWay'>) {
    this.#output = output
    this.#progress = progress
  }

  get count(): number {
    return this.#count
  }

  /** @param lineNumber its line in a file of lines; must increase from call to call. */
  add(problem: string, lineNumber?: number): void {
    this.#count += 1
    if (lineNumber !== undefined) this.#addLine(lineNumber)
    if (this.#count > PROBLEMS_SHOWN) return
    this.#progress.giveWay()
    this.#output.write(`${problem}\n`)
    if (this.#count === PROBLEMS_SHOWN) this.#output.write('(further ones are only counted)\n')
  }

  /** The lines that were reported, such as ` (lines 1, 4-9 and 12)`; empty if there were none. */
  lines(): string {
    if (this.#ranges.length === 0) return ''
    const texts = this.#ranges.map(({ first, last }) =>
      first === last ? String(first) : `${first}-${last}`,
    )
    const openCount = this.#count - this.#rangedCount
    if (openCount > 0) texts.push(`${thousands(openCount)} more`)
    const last = texts.pop() ?? ''
    const noun = this.#count === 1 ? 'line' : 'lines'
    return texts.length === 0 ? ` (${noun} ${last})` : ` (lines ${texts.join(', ')} and ${last})`
  }

  #addLine(lineNumber: number): void {
    const range = this.#ranges.at(-1)
    if (range !== undefined && range.last + 1 === lineNumber) range.last = lineNumber
    else if (this.#ranges.length < RANGES_SHOWN) {
      this.#ranges.push({ first: lineNumber, last: lineNumber })
    } else return
    this.#rangedCount += 1
  }
}
