// Makes of lib/ what is published: one file for each entry point, and one for what several of them share. Node.js takes
// four times as long to find, read and compile two hundred files one by one. Nothing is renamed or made shorter, so that
// a stack still says where it was. The types come from tsc, file by file, without a check:
// isolatedDeclarations makes each file say what it exports, and `npm run typecheck` checks.
import { build } from 'rolldown'

await build({
  input: {
    index: 'lib/index.ts',
    'testing/index': 'lib/testing/index.ts',
    'offline/index': 'lib/offline/index.ts',
    'cli/main': 'lib/cli/main.ts',
    'cli/load-example-main': 'lib/cli/load-example-main.ts',
  },
  // What users install stays theirs: packages are found beside this one, not copied into it.
  external: /^[^./]/,
  platform: 'node',
  output: {
    dir: 'dist',
    format: 'esm',
    minify: false,
    // One level deep, as the programs in cli/ are: what is found by its place relative to them still is.
    chunkFileNames: 'shared/[name].js',
  },
})
