import eslint from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** Modules that reach outside the process, or tell the time: pure folders must not import them. */
const impure = ['node:*', '@kubernetes/*', 'undici', 'winston', 'prom-client', 'p-queue'];

/** What talks to the API server: for src/kube alone. */
const apiClients = ['undici', '@kubernetes/client-node'].map((name) => ({
  name,
  message: 'Only src/kube talks to the API server.',
}));

export default defineConfig(
  { ignores: ['node_modules', 'bin', 'coverage', 'dist'] },
  eslint.configs.recommended,
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  { languageOptions: { parserOptions: { projectService: { allowDefaultProject: ['eslint.config.js'] } } } },
  {
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      eqeqeq: 'error',
      'no-console': 'error',
    },
  },
  {
    // Only src/kube talks to the API server.
    files: ['src/**/*.ts'],
    ignores: ['src/kube/**'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          paths: apiClients,
        },
      ],
    },
  },
  {
    // What a namespace gets, and what policies allow, are pure functions: no I/O, no clock, no logger, no randomness.
    files: ['src/policy/**/*.ts', 'src/analysis/**/*.ts', 'src/api/**/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            { group: impure, message: 'This folder is pure: it imports no I/O, no clock and no logger.' },
            {
              group: ['**/kube/**', '**/controller/**', '**/reconcilers/**', '**/observability/**', '**/cli/**'],
              message: 'The layers point inwards: api <- policy <- analysis; nothing here knows the outer ones.',
            },
          ],
        },
      ],
      'no-restricted-globals': ['error', 'fetch', 'setTimeout', 'setInterval', 'performance', 'process'],
      'no-restricted-properties': [
        'error',
        { object: 'Date', property: 'now', message: 'Pass the time in.' },
        { object: 'Math', property: 'random', message: 'Pass the random number in.' },
      ],
    },
  },
  {
    // The plugin is no operator: it reads, and shares with it what is pure and what reads.
    files: ['src/cli/**/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          paths: apiClients,
          patterns: [
            {
              group: ['**/controller/**', '**/reconcilers/**', '**/observability/**'],
              message: 'kubectl-baseline knows api, policy, analysis and kube.',
            },
          ],
        },
      ],
    },
  },
  {
    files: ['test/**/*.ts', 'hack/**/*.ts'],
    rules: { 'no-console': 'off', '@typescript-eslint/no-unused-expressions': 'off' },
  },
);
