/**
 * Bundles the operator and the plugin, with all packages that they use, into a folder that needs nothing but Node:
 * `main.js`, `kubectl-baseline.js`, what they load later, and the licences of what was bundled.
 * `--outdir DIR` writes elsewhere than to `dist`; what the folder held before is removed.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { build, type OutputFile, type Plugin } from 'esbuild';
import manifest from '../package.json' with { type: 'json' };
import { bundledPackages, licenseText, readPackage } from './build/licenses.ts';

const PROJECT = join(import.meta.dirname, '..');

/** The scripts that are started by name: the operator, the plugin, and the process that the operator starts itself. */
const ENTRY_POINTS: Readonly<Record<string, string>> = {
  main: 'src/main.ts',
  'kubectl-baseline': 'src/cli/main.ts',
  'cluster-access-process': 'src/kube/cluster-access-process.ts',
};

/** CommonJS packages call `require` for modules of Node; a module has none of its own. */
const BANNER = `import { createRequire as createRequireOfBundle } from 'node:module';
const require = createRequireOfBundle(import.meta.url);`;

const LEGAL_COMMENTS = '.LEGAL.txt';

/** Scheme of modules that re-export names of a package: `only:NAME,NAME:PACKAGE`. */
const ONLY = /^only:([^:]+):(.+)$/;

/**
 * What a bundler cannot see in our sources:
 * - `new URL('./name.ts', import.meta.url)`, by which a module finds a script to start, names the bundled script; all
 *   are in one folder. Fails for a script that is no entry point.
 * - `const { name } = await import('package')` needs that name alone, and not the whole package: of client-node, a
 *   tenth.
 */
const sources: Plugin = {
  name: 'sources',
  setup(bundler) {
    bundler.onLoad({ filter: /\/src\/.*\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8');
      const contents = source
        .replaceAll(/new URL\('\.\/([\w-]+)\.ts', import\.meta\.url\)/g, (_, name: string) => {
          const script = relative(PROJECT, join(path, '..', `${name}.ts`));
          if (ENTRY_POINTS[name] === script) return `new URL('./${name}.js', import.meta.url)`;
          throw new Error(
            `${relative(PROJECT, path)}: expected the URL of an entry point of the bundle, got ${script}`,
          );
        })
        .replaceAll(
          /const \{ ([\w, ]+) \} = await import\('(@?\w[^']*)'\)/g,
          (_, names: string, name: string) => `const { ${names} } = await import('only:${names}:${name}')`,
        );
      return { contents, loader: 'ts' };
    });
    bundler.onResolve({ filter: ONLY }, ({ path, resolveDir }) => ({
      path,
      namespace: 'only',
      pluginData: resolveDir,
    }));
    bundler.onLoad({ filter: ONLY, namespace: 'only' }, ({ path, pluginData }) => {
      const [, names, name] = ONLY.exec(path) ?? [];
      return { contents: `export { ${names ?? ''} } from '${name ?? ''}'`, resolveDir: pluginData as string };
    });
  },
};

const { outdir } = parseArgs({ options: { outdir: { type: 'string', default: 'dist' } } }).values;
const folder = resolve(PROJECT, outdir);

const { outputFiles, metafile } = await build({
  absWorkingDir: PROJECT,
  entryPoints: ENTRY_POINTS,
  outdir: folder,
  bundle: true,
  // What is imported lazily stays a file of its own, and is not read until it is needed.
  splitting: true,
  chunkNames: 'chunk-[hash]',
  format: 'esm',
  platform: 'node',
  target: 'node24',
  minify: false,
  keepNames: true,
  legalComments: 'external',
  banner: { js: BANNER },
  // tsconfig.json says how types are checked, nothing of the result.
  tsconfigRaw: {},
  plugins: [sources],
  metafile: true,
  write: false,
  logLevel: 'warning',
});

const packages = await Promise.all(bundledPackages(metafile).map((root) => readPackage(join(PROJECT, root))));
const comments = outputFiles.filter(({ path }) => path.endsWith(LEGAL_COMMENTS)).map(({ text }) => text);
const scripts = outputFiles.filter(({ path }) => !path.endsWith(LEGAL_COMMENTS));

await rm(folder, { recursive: true, force: true });
await mkdir(folder, { recursive: true });
await Promise.all([
  ...scripts.map(({ path, contents }: OutputFile) => writeFile(path, contents)),
  // Tells Node that the scripts are modules, wherever the folder is.
  writeFile(join(folder, 'package.json'), text({ name: manifest.name, version: manifest.version, type: 'module' })),
  writeFile(join(folder, 'LICENSES.txt'), licenseText(packages, comments)),
]);

const bytes = scripts.reduce((sum, { contents }) => sum + contents.length, 0);
console.log(
  `Wrote ${scripts.length} scripts (${(bytes / 1e6).toFixed(1)} MB) of ${packages.length} packages to ${outdir}/`,
);

function text(json: object): string {
  return `${JSON.stringify(json, null, 2)}\n`;
}
