import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { describe, expect, it, onTestFinished } from 'vitest'
import { describeProgress, loadExample, parseLoadExample } from '../../lib/cli/load-example.ts'
import { thousands } from '../../lib/cli/report.ts'

async function run(dir: string, args: readonly string[], signal = new AbortController().signal) {
  let stdout = ''
  const collect = new Writable({
    write(chunk: Buffer, _encoding, done) {
      stdout += chunk.toString()
      done()
    },
  })
  const options = parseLoadExample([...args, '--data', dir])
  if (options === null) throw new Error('help was asked for')
  const code = await loadExample(
    options,
    { stdin: Readable.from([]), stdout: collect, stderr: collect },
    signal,
  )
  return { code, stdout }
}

function directory(): string {
  const dir = mkdtempSync(join(tmpdir(), 'varve-load-example-'))
  onTestFinished(() => {
    rmSync(dir, { recursive: true, force: true })
  })
  return dir
}

describe('load example', () => {
  it('loads the orders, shows the bad rows, and loads nothing twice', async () => {
    const dir = directory()
    const first = await run(dir, ['--records', '21000'])
    expect(first.code).toBe(0)
    expect(first.stdout).toMatch(/ndjson: 21,000 orders to load, in \d+ tasks/)
    expect(first.stdout).toMatch(/^ndjson +20,999 +1 /m)
    expect(first.stdout).toMatch(/^parquet +20,999 +1 /m)
    expect(first.stdout).toMatch(
      /1 bad row written to .*\n {2}orders-\d offset [\d,]+: the value is not JSON\n {4}order 20010/,
    )
    const second = await run(dir, [])
    expect(second.stdout).toContain('ndjson: nothing new, everything is loaded')
    expect(second.stdout).toMatch(/^parquet +0 +0 +- /m)
    const third = await run(dir, ['--add', '5'])
    expect(third.stdout).toMatch(/^ndjson +5 +0 /m)
  })

  it('continues after it was stopped', async () => {
    const dir = directory()
    const stop = new AbortController()
    stop.abort()
    const stopped = await run(dir, ['--records', '1000'], stop.signal)
    expect(stopped).toMatchObject({
      code: 130,
      stdout: expect.stringContaining('stopped. Run it again') as string,
    })
    expect((await run(dir, [])).stdout).toMatch(/^ndjson +1,000 +0 /m)
  })

  it('creates the remaining orders if it was killed while it created them', async () => {
    const dir = directory()
    await run(dir, ['--records', '1000'])
    // What a kill leaves before the first of the additional orders is created.
    writeFileSync(join(dir, 'orders-wanted'), '3000\n')
    for (const added of [2000, 10, 0]) {
      const { stdout } = await run(dir, added === 10 ? ['--add', '10'] : [])
      expect(stdout).toMatch(new RegExp(`^ndjson +${thousands(added)} +0 `, 'm'))
    }
  })

  it('does not apply the number of orders of a deleted log to a new one', async () => {
    const dir = directory()
    await run(dir, ['--records', '1000'])
    rmSync(join(dir, 'log'), { recursive: true })
    const { stdout } = await run(dir, ['--records', '20'])
    expect(stdout).toContain('the log holds 20 orders')
  })

  it('adds orders to a new log, and to one that began without any', async () => {
    const both = await run(directory(), ['--records', '100', '--add', '50'])
    expect(both).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('the log holds 150 orders') as string,
    })
    const dir = directory()
    const runs = [['--records', '0'], [], ['--add', '5'], []]
    const held: string[] = []
    for (const args of runs) {
      const { code, stdout } = await run(dir, args)
      expect(code).toBe(0)
      held.push(/the log holds .*/.exec(stdout)?.[0] ?? stdout)
    }
    expect(held).toEqual([0, 0, 5, 5].map((count) => `the log holds ${count} orders`))
  })

  it('shows a progress bar on a terminal, and plain text elsewhere', () => {
    const progress = {
      offsets: 500,
      totalOffsets: 1000,
      tasks: 1,
      totalTasks: 2,
      records: 0,
      rejected: 0,
      bytes: 0,
      skipped: 0,
      durationMs: 0,
    }
    expect(describeProgress(progress, true)).toBe(
      '[############------------] 50% of 1,000 orders, 1 of 2 tasks',
    )
    expect(describeProgress({ ...progress, totalOffsets: 0 }, false)).toBe(
      '100% of 0 orders, 1 of 2 tasks',
    )
  })

  it('throws an error that says what is wrong with its command line', () => {
    expect(parseLoadExample(['--help'])).toBe(null)
    expect(() => parseLoadExample(['--records', '-1'])).toThrow(/records/)
    expect(() => parseLoadExample(['--records', 'x'])).toThrow(
      /--records must be a whole number of at most 9 digits, got 'x'/,
    )
    expect(() => parseLoadExample(['--nothing'])).toThrow(/--help lists the options/)
    expect(() => parseLoadExample(['--data', ''])).toThrow(/--data is empty/)
  })
})
