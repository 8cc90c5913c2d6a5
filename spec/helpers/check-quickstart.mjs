// Runs the README's command as a newcomer would, twice: the second run must continue after the
// first.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const dir = mkdtempSync(join(tmpdir(), 'varve-quickstart-'))
const run = (...args) => {
  const output = execFileSync(
    'npm',
    ['run', '--silent', 'quickstart', '--', ...args, '--data', dir],
    {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  console.log(output)
  return output
}

const expectMatch = (output, pattern) => {
  if (!pattern.test(output)) throw new Error(`the quickstart does not say ${String(pattern)}`)
}

try {
  expectMatch(run(), /^hashed [\d,]+ files/m)
  expectMatch(run(), /nothing new: all [\d,]+ files were hashed before/)
  expectMatch(run('--replay'), /the digest matches/)
} finally {
  rmSync(dir, { recursive: true, force: true })
}
