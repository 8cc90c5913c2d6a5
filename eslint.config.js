import js from '@eslint/js'
import tseslint from 'typescript-eslint'

/**
 * The layers of lib/, top first. A file may import from its own folder and from folders further
 * down this list, never from one above: `spec/layers.spec.ts` shows that a wrong import fails.
 */
const LAYERS = [
  'cli',
  'kafka',
  'offline',
  'testing',
  'client',
  'broker',
  'storage',
  'record',
  'platform',
  'errors',
]

const PLATFORM_ONLY_MODULES = [
  'fs',
  'node:fs',
  'fs/promises',
  'node:fs/promises',
  'fs-extra',
  'fs-extra/*',
  'proper-lockfile',
]
const PLATFORM_ONLY = 'Only platform/ touches files, locks, time and chance: take it by injection.'

const layerRules = LAYERS.map((layer, depth) => {
  const above = LAYERS.slice(0, depth)
  const patterns = above.map((name) => ({
    group: [`**/${name}/**`, `../${name}/*`],
    message: `${layer}/ lies below ${name}/: imports point down only.`,
  }))
  if (layer !== 'cli' && layer !== 'testing' && layer !== 'offline') {
    patterns.push({
      group: [
        '**/lib/index.ts',
        '../broker.ts',
        '../../broker.ts',
        '../index.ts',
        '../../index.ts',
      ],
      message: `The broker is put together above ${layer}/.`,
    })
  }
  if (layer === 'offline') {
    patterns.push({
      group: [
        ...['testing', 'client', 'broker', 'storage', 'record', 'errors'].map(
          (name) => `../${name}/*`,
        ),
        // What is compressed in a file of somebody else is the same as in a batch.
        '!../record/codecs',
        '../broker.ts',
        '../config.ts',
        '../errors.ts',
      ],
      message: 'offline/ stands on the public surface: import ../index.ts.',
    })
  }
  const files =
    layer === 'platform' || layer === 'cli'
      ? []
      : [{ group: PLATFORM_ONLY_MODULES, message: PLATFORM_ONLY }]
  return {
    files: [`lib/${layer}/**/*.ts`],
    rules: { 'no-restricted-imports': ['error', { patterns: [...patterns, ...files] }] },
  }
})

const clockRules = {
  files: ['lib/**/*.ts'],
  ignores: ['lib/platform/**', 'lib/cli/**'],
  rules: {
    'no-restricted-globals': [
      'error',
      ...[
        ...['setTimeout', 'setInterval', 'performance', 'clearTimeout', 'clearInterval'],
        ...['setImmediate', 'queueMicrotask'],
      ].map((name) => ({ name, message: PLATFORM_ONLY })),
    ],
    'no-restricted-properties': [
      'error',
      { object: 'Date', property: 'now', message: PLATFORM_ONLY },
      { object: 'Math', property: 'random', message: PLATFORM_ONLY },
    ],
  },
}

export default tseslint.config(
  { ignores: ['dist/', 'coverage/', 'site/', 'bench/dist/', 'bench/results/'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/no-unnecessary-condition': [
        'error',
        { allowConstantLoopConditions: true },
      ],
    },
  },
  {
    files: ['lib/**/*.ts'],
    rules: {
      'max-lines': ['error', { max: 350, skipBlankLines: false, skipComments: false }],
      'max-lines-per-function': ['error', { max: 70, skipBlankLines: true, skipComments: true }],
    },
  },
  {
    // Type promises: values are declared for their types alone.
    files: ['**/*.spec-d.ts'],
    rules: {
      '@typescript-eslint/no-unused-vars': 'off',
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      '@typescript-eslint/no-unnecessary-type-arguments': 'off',
    },
  },
  ...layerRules,
  clockRules,
  {
    files: ['**/*.js', '**/*.mjs'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', URL: 'readonly' } },
  },
)
