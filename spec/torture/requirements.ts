import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** What a part needs from the machine it runs on. */
export type Requirement = 'linux' | 'root' | 'gcc' | 'strace' | 'ext4' | 'xfs' | 'btrfs' | 'loop'

const CHECKS: Readonly<Record<Requirement, () => boolean>> = {
  linux: () => process.platform === 'linux',
  root: () => process.getuid?.() === 0,
  gcc: () => hasCommand('gcc', '--version'),
  // A container may have the command without the right to use it.
  strace: () => hasCommand('strace', '-o', '/dev/null', 'true'),
  ext4: () => hasCommand('mkfs.ext4', '-V') && hasFileSystem('ext4'),
  xfs: () => hasCommand('mkfs.xfs', '-V') && hasFileSystem('xfs'),
  btrfs: () => hasCommand('mkfs.btrfs', '--version') && hasFileSystem('btrfs'),
  loop: () => hasCommand('losetup', '--find'),
}

/** Which of `needs` this machine lacks, as the reason to skip a part; `null` if it has all. */
export function whatIsMissing(...needs: readonly Requirement[]): string | null {
  const missing = needs.filter((each) => !CHECKS[each]())
  return missing.length === 0 ? null : missing.join(', ')
}

function hasCommand(command: string, ...args: readonly string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0
}

function hasFileSystem(name: string): boolean {
  return new RegExp(`\\b${name}\\b`).test(readFileSync('/proc/filesystems', 'utf8'))
}
