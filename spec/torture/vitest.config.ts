import { fileURLToPath } from 'node:url'
import { defineConfig, type ViteUserConfig } from 'vitest/config'
import { longestFirst } from '../helpers/longest-first.ts'

/**
 * Parts that run on any machine in a few minutes. The other parts mount file systems, break system
 * calls, or watch a process for a long time.
 */
const SAFE_PARTS = [
  'bit-flips',
  'crash-even',
  'crash-odd',
  'faults',
  'fsync-before-ack',
  'fuzz',
  'kill',
  'kill-life',
  'load',
  'load-life',
  'power-loss',
  'power-loss-life',
  'sync-faults',
  'takeover',
  'told-appends',
]
/** What takes longest in the short size, the first one most. */
const LONGEST_PARTS = ['kill', 'faults', 'crash-odd', 'crash-even', 'bit-flips', 'power-loss']
const { VARVE_PARTS, VARVE_TORTURE } = process.env
const isFull = VARVE_TORTURE === 'full'
const isWhole = isFull || VARVE_PARTS === 'all'

/**
 * The long programme: real processes killed, real file systems cut off, millions of simulated power
 * losses. To run one part alone: `npm run test:torture -- torture/kill`. The short size runs the
 * safe parts, and all parts with `VARVE_PARTS=all`.
 */
const config: ViteUserConfig = defineConfig({
  test: {
    root: fileURLToPath(new URL('../..', import.meta.url)),
    include: (isWhole ? ['*'] : SAFE_PARTS).map((part) => `spec/torture/${part}.torture.ts`),
    environment: 'node',
    globalSetup: 'spec/helpers/temporary-files.ts',
    // Far more than any part takes; a part that hangs still has to end.
    testTimeout: isFull ? 0 : 600_000,
    hookTimeout: isFull ? 0 : 120_000,
    maxWorkers: 2,
    sequence: {
      sequencer: longestFirst(LONGEST_PARTS.map((part) => `/${part}.torture.ts`)),
    },
    reporters: ['verbose'],
  },
})

export default config
