import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Installs the logs that Varve is compared with, unless they are already there: the packages of
 * bench/package.json, which nothing else needs. Some of them are compiled, which takes minutes.
 *
 * @throws an Error if the installation fails.
 */
export function ensurePeersInstalled(benchDir: string): void {
  if (existsSync(join(benchDir, 'node_modules', '.package-lock.json'))) return
  console.log('installing the logs to compare with, once: npm ci --prefix bench')
  const { status } = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], {
    cwd: benchDir,
    stdio: 'inherit',
  })
  if (status !== 0) throw new Error('npm ci in bench/ has failed: the output above says why')
}
