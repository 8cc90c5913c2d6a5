import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { SeededRandom } from '../../lib/testing/seeded-random.ts'

/** A process that has loaded the library and waits for its orders. */
class Victim {
  readonly lines: string[] = []
  readonly #child: ChildProcess
  readonly #ended: Promise<unknown>
  #complaints = ''
  #waiting: { word: string; resolve: () => void } | null = null

  constructor(script: string) {
    const flags = ['--input-type=module', '--eval', script]
    this.#child = spawn(process.execPath, flags, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.#ended = once(this.#child, 'close')
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#complaints += text
    })
    if (this.#child.stdout === null) throw new Error('the process has no output')
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      this.lines.push(line)
      if (this.#waiting !== null && line.startsWith(this.#waiting.word)) this.#waiting.resolve()
    })
  }

  /** Resolves when it has printed a line that begins with `word`. */
  async said(word: string): Promise<void> {
    if (this.#hasSaid(word)) return
    const said = new Promise<void>((resolve) => {
      this.#waiting = { word, resolve }
    })
    await Promise.race([said, this.#ended])
    if (!this.#hasSaid(word)) throw new Error(`it ended before '${word}': ${this.#complaints}`)
  }

  #hasSaid(word: string): boolean {
    return this.lines.some((line) => line.startsWith(word))
  }

  order(order: object): void {
    this.#child.stdin?.write(`${JSON.stringify(order)}\n`)
  }

  /** Resolves when the process is gone and all of its output has been read. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended
    expect(this.#complaints).toBe('')
  }
}

/**
 * The awaited line may never come: a life has much to do first, and a limited supply of numbers.
 */
const LONGEST_WAIT_MS = 4_000

/** Kills one process after the other. Each starts while the previous one runs. */
export class Killer {
  kills = 0
  readonly #script: string
  readonly #random: SeededRandom
  #next: Victim

  /** @param script of a process that prints `loaded`, and then waits for a line of JSON. */
  constructor(script: string, random: SeededRandom) {
    this.#script = script
    this.#random = random
    this.#next = new Victim(script)
  }

  /**
   * Kills a process at most `maxMs` after it has printed `word`, or when it has not done so for
   * long. @returns its output.
   */
  async strike(order: object, word: string, maxMs: number): Promise<string[]> {
    const victim = this.#next
    this.#next = new Victim(this.#script)
    await victim.said('loaded')
    victim.order({ ...order, seed: this.#random.integer(2 ** 30) })
    await Promise.race([victim.said(word), sleep(LONGEST_WAIT_MS, undefined, { ref: false })])
    await sleep(this.#random.integer(maxMs + 1))
    await victim.kill()
    this.kills += 1
    return victim.lines
  }

  async end(): Promise<void> {
    await this.#next.kill()
  }
}

/** The value that a fraction of `share` do not exceed, rounded. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((left, right) => left - right)
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0)
}
