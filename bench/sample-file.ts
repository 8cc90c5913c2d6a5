import { appendFileSync, readFileSync } from 'node:fs'
import type { RunDescription } from './report/markdown.ts'
import type { Sample } from './report/figures.ts'

/** The first line says how the samples were made; then there is one for each run. */
export class SampleFile {
  readonly path: string

  constructor(path: string, description: RunDescription) {
    this.path = path
    this.#write(description)
  }

  add(sample: Sample): void {
    this.#write(sample)
  }

  addFailure(name: string, round: number, error: string): void {
    this.#write({ name, round, error })
  }

  #write(line: unknown): void {
    appendFileSync(this.path, `${JSON.stringify(line)}\n`)
  }
}

/** What an earlier run has left. @param firstRound is added, so that no two rounds of two runs are one. */
export function readSamples(
  path: string,
  firstRound: number,
): { description: RunDescription; samples: Sample[] } {
  const [first = '', ...lines] = readFileSync(path, 'utf8').trimEnd().split('\n')
  const samples = lines
    .map((line) => JSON.parse(line) as Sample | { name: string; error: string })
    .filter((line): line is Sample => 'result' in line)
    .map((sample) => ({ ...sample, round: sample.round + firstRound }))
  return { description: JSON.parse(first) as RunDescription, samples }
}
