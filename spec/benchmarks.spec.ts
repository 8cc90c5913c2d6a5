import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { SAMPLES } from '../bench/report/markdown.ts'
import { PAGE, reportOf, ensureDistinct } from '../bench/report/write-report.ts'
import { readSamples, sampleFilesOf } from '../bench/sample-file.ts'

const ROOT = fileURLToPath(new URL('../', import.meta.url))
const HOW = 'npm run bench -- --only-report --add docs/bench/samples --report docs'

describe('the benchmark page', () => {
  const runs = sampleFilesOf(`${ROOT}docs/${SAMPLES}`).map(readSamples)
  const { files } = reportOf(runs)

  it.each([...files.keys()])('matches the report generated from its samples: %s', (path) => {
    // Not with toEqual, which would print the whole page.
    const isSame = readFileSync(`${ROOT}docs/${path}`, 'utf8') === files.get(path)
    expect(isSame, `written anew by ${HOW}`).toBe(true)
  })

  it('does not depend on the order of the runs', () => {
    expect([...reportOf([...runs].reverse()).files]).toEqual([...files])
  })

  it('names the processor of each run if the runs used several processors', () => {
    const [first] = runs
    if (first === undefined) throw new Error('there are no samples')
    const { machine } = first.description
    const startedAt = '2001-02-03T04:05:06.789Z'
    const other = { ...machine, cpu: 'Other', loadAverage: 5 }
    const second = { ...first, description: { ...first.description, startedAt, machine: other } }

    const page = reportOf([first, second]).files.get(PAGE) ?? ''
    expect(page).toContain(`, 2001-02-03, Other: `)
    expect(page).toContain('load average 5.00 before the first case')
    expect(page).toContain(`, ${first.description.startedAt.slice(0, 10)}, ${machine.cpu}: `)
    expect(page).toContain('- Other, ')
    expect(page).toContain(`- ${machine.cpu}, `)
    expect(reportOf([first]).files.get(PAGE)).not.toContain(`${machine.cpu}: `)
  })

  it('names the date, processor and rounds of the runs of each Node.js version', () => {
    const [first] = runs
    if (first === undefined) throw new Error('there are no samples')
    const { description } = first
    const startedAt = '2001-02-03T04:05:06.789Z'
    const machine = { ...description.machine, cpu: 'Other', node: 'v99.0.0' }
    const other = { ...first, description: { ...description, startedAt, rounds: 1, machine } }

    const page = reportOf([...runs, other]).files.get(PAGE) ?? ''
    expect(page).toContain('\n- v99.0.0: 2001-02-03, Other, 1 round\n')
  })

  it('speaks of a second time only if a run has one', () => {
    const once = runs.map((run) => {
      const samples = run.samples.map((sample) => {
        const { again, ...result } = sample.result
        return again === undefined ? sample : { ...sample, result }
      })
      return { ...run, samples }
    })
    expect(files.get(PAGE)).toContain('Each process does the work twice')
    expect(files.get(PAGE)).toContain(', the second time:')
    expect(reportOf(once).files.get(PAGE)).not.toMatch(/does the work twice|the second time/)
  })

  it('rejects a run that is given twice', () => {
    expect(() => {
      ensureDistinct([...runs, ...runs.slice(-1)])
    }).toThrow('was given twice')
    ensureDistinct(runs)
  })

  it('contains every speed figure of the README', () => {
    const readme = readFileSync(`${ROOT}README.md`, 'utf8')
    const speed = readme.slice(readme.indexOf('## Speed'), readme.indexOf('## When not'))
    const claimed = speed.match(/\d[\d.,]*(?:×| (?:[Mk]?\/s|ms|times))/g) ?? []
    expect(claimed.length).toBeGreaterThan(10)
    const page = files.get(PAGE) ?? ''
    const toPage = (figure: string): string => figure.replace(' /s', '/s').replace(' times', '×')
    expect(claimed.filter((figure) => !page.includes(toPage(figure)))).toEqual([])
  })
})
