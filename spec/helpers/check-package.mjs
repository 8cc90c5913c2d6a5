// Packs the package as it would be published and lets two tools look at the result: publint for
// what the manifest promises, are-the-types-wrong for what a TypeScript user gets.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const dir = mkdtempSync(join(tmpdir(), 'varve-package-'))
const run = (command, args) =>
  execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })

try {
  const manifest = JSON.parse(readFileSync('package.json', 'utf8'))
  for (const script of ['preinstall', 'install', 'postinstall']) {
    if (manifest.scripts[script] !== undefined) throw new Error(`${script} would run at users`)
  }
  const [packed] = JSON.parse(
    run('npm', ['pack', '--json', '--silent', '--ignore-scripts', '--pack-destination', dir]),
  )
  const tarball = join(dir, packed.filename)
  const foreign = packed.files.filter(
    ({ path }) =>
      !/^(dist\/|docs\/[\w-]+\.md$|docs\/bench\/\w+\.svg$|package\.json$|README\.md$|LICENSE$)/.test(
        path,
      ),
  )
  if (foreign.length > 0) {
    throw new Error(`the package holds ${foreign.map(({ path }) => path).join(', ')}`)
  }
  console.log(`${packed.filename}: ${packed.files.length} files, ${packed.unpackedSize} bytes`)
  console.log(run('npx', ['publint', '--strict', tarball]))
  console.log(run('npx', ['attw', tarball, '--profile', 'esm-only']))
} finally {
  rmSync(dir, { recursive: true, force: true })
}
