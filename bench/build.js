// Makes of the benchmark and lib/ what is run: like what is published, files of many modules, since Node.js takes several
// times as long to load two hundred, and what that leaves to be collected would be measured with the open of a log.
import { build } from 'rolldown'

await build({
  input: { run: 'bench/run.ts', child: 'bench/child.ts' },
  // The other logs are found in bench/node_modules.
  external: /^[^./]/,
  platform: 'node',
  output: { dir: 'bench/dist', format: 'esm', minify: false, chunkFileNames: 'shared/[name].js' },
})
