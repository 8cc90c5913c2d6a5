import { appendFileSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { RunDescription } from './report/markdown.ts'
import type { Sample } from './report/figures.ts'

/** The first line describes the run; each further line is the sample of one run of a case. */
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

/** A run, as stored in its file. */
export interface StoredRun {
  readonly description: RunDescription
  readonly samples: readonly Sample[]
  /** The whole file. */
  readonly text: string
}

/** Name of the file of a run; names sort by the start time of the runs. */
export function sampleFileName({ startedAt }: Pick<RunDescription, 'startedAt'>): string {
  return `${startedAt.replaceAll(/[:.]/g, '-')}.jsonl`
}

/** @param path a file of samples, or a directory of them */
export function sampleFilesOf(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path]
  const names = readdirSync(path).filter((name) => name.endsWith('.jsonl'))
  if (names.length === 0) throw new Error(`${path} holds no samples, whose names end in .jsonl`)
  return names.sort().map((name) => join(path, name))
}

/** Reads the file of a run. */
export function readSamples(path: string): StoredRun {
  const text = readFileSync(path, 'utf8')
  const [first = '', ...lines] = text.trimEnd().split('\n')
  const samples = lines
    .map((line) => JSON.parse(line) as Sample | { name: string; error: string })
    .filter((line): line is Sample => 'result' in line)
  return { description: JSON.parse(first) as RunDescription, samples, text }
}
