// Packs the package as it would be published and checks the result with three tools: publint checks
// what the manifest promises, are-the-types-wrong checks how its types are resolved, and the
// compiler checks the types themselves, in a project that also checks its libraries, as is the
// default.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

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
  const installed = join(dir, 'node_modules', manifest.name)
  mkdirSync(installed, { recursive: true })
  run('tar', ['-xzf', tarball, '-C', installed, '--strip-components', '1'])
  symlinkSync(resolve('node_modules/@types'), join(dir, 'node_modules/@types'))
  const entries = Object.keys(manifest.exports).filter((entry) => !entry.endsWith('.json'))
  const imports = entries.map((entry) => `import '${manifest.name}${entry.slice(1)}'\n`)
  writeFileSync(join(dir, 'package.json'), '{ "type": "module" }')
  writeFileSync(join(dir, 'user.ts'), imports.join(''))
  for (const [module, moduleResolution] of [
    ['nodenext', 'nodenext'],
    ['esnext', 'bundler'],
  ]) {
    const how = { module, moduleResolution, target: 'es2022', types: ['node'] }
    const compilerOptions = { ...how, strict: true, skipLibCheck: false, noEmit: true }
    const project = { compilerOptions, files: ['user.ts'] }
    writeFileSync(join(dir, 'tsconfig.json'), JSON.stringify(project))
    run('npx', ['tsc', '--project', dir])
    console.log(`types: no errors with moduleResolution ${moduleResolution}`)
  }
} finally {
  rmSync(dir, { recursive: true, force: true })
}
