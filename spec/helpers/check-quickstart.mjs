// Runs the README's command as a newcomer would, and then what it has built: the second run must
// continue after the first.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const dir = mkdtempSync(join(tmpdir(), 'varve-quickstart-'))
const run = (command, ...args) => {
  const output = execFileSync(command, [...args, '--data', dir], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  console.log(output)
  return output
}
const runBuilt = (...args) => run(process.execPath, 'dist/cli/main.js', 'quickstart', ...args)

const expectMatch = (output, pattern) => {
  if (!pattern.test(output)) throw new Error(`the quickstart does not say ${String(pattern)}`)
}

try {
  expectMatch(run('npm', 'run', '--silent', 'quickstart', '--'), /^hashed [\d,]+ files/m)
  expectMatch(runBuilt(), /nothing new: all [\d,]+ files were hashed before/)
  expectMatch(runBuilt('--replay'), /the digest matches/)
} finally {
  rmSync(dir, { recursive: true, force: true })
}
