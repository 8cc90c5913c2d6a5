import { fileURLToPath } from 'node:url'
import { defineConfig, type ViteUserConfig } from 'vitest/config'
import { SYNCING_FOLDERS, withSwitches } from './sync-sites.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Runs the library with a switch at each of its syncs. */
const config: ViteUserConfig = defineConfig({
  plugins: [
    {
      name: 'sync-switches',
      enforce: 'pre',
      transform: (code, id) => {
        const isSyncing = SYNCING_FOLDERS.some((folder) => id.startsWith(`${root}${folder}/`))
        return isSyncing ? { code: withSwitches(id, code), map: null } : null
      },
    },
  ],
  test: {
    root,
    include: ['spec/sabotage/*.sabotage.ts'],
    environment: 'node',
    // Far more than any test takes; without a sync, something may wait forever.
    testTimeout: 1_200_000,
    hookTimeout: 1_200_000,
    maxWorkers: 1,
    reporters: ['verbose'],
  },
})

export default config
