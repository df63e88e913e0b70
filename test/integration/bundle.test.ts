import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { API_VERSION, KIND } from '../../src/api/baselinepolicy.ts';
import { LABEL_ENFORCE } from '../../src/api/names.ts';
import { VERSION } from '../../src/version.ts';
import { ControlPlane } from '../../hack/envtest/control-plane.ts';
import { eventually } from '../support/await.ts';
import { Folder, runCLI, type CLIResult } from '../support/cli.ts';
import { installCRD } from '../support/crd.ts';
import { KubeClient } from '../support/kube.ts';
import { scrape } from '../support/scrape.ts';
import { SHOP } from '../support/shop.ts';
import { installServiceAccount } from '../support/service-account.ts';

const BUILD = join(import.meta.dirname, '../../hack/build.ts');

/** Runs a script by this Node; resolves when it has ended. */
async function run(script: string, args: readonly string[], options: { cwd?: string } = {}): Promise<CLIResult> {
  const child = spawn(process.execPath, [script, ...args], { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

describe('The bundle', function () {
  this.timeout(240_000);
  /** Far from node_modules: what is not in the bundle is not found. */
  let folder: string;
  let operator: string;
  let plugin: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bundle-'));
    await promisify(execFile)(process.execPath, [BUILD, `--outdir=${folder}`]);
    operator = join(folder, 'main.js');
    plugin = join(folder, 'kubectl-baseline.js');
  });

  after(() => rm(folder, { recursive: true }));

  it('has the operator, that tells its version and what is wrong with its flags', async () => {
    assert.deepEqual(await run(operator, ['--version']), {
      code: 0,
      stdout: `baseline-policy-operator ${VERSION}\n`,
      stderr: '',
    });
    const { code, stderr } = await run(operator, ['--kubeconfig=/no/such']);
    assert.equal(code, 2, stderr);
  });

  it('has an operator that fills a namespace, has a certificate for its metrics, and stops as asked', async () => {
    await using controlPlane = await ControlPlane.start({ controllerManager: false });
    await using kube = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
    await installCRD(kube);
    const endpoints = ['--metrics-bind-address=127.0.0.1:0', '--metrics-secure', '--health-probe-bind-address=0'];
    const serviceAccount = await installServiceAccount(controlPlane, kube);
    const args = [operator, `--kubeconfig=${serviceAccount}`, '--log-format=text', ...endpoints];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (output += text));
    }
    const exit = once(child, 'exit') as Promise<[number | null]>;
    try {
      await kube.namespaces.create({ metadata: { name: 'shop', labels: { [LABEL_ENFORCE]: 'true' } } });
      await eventually(() =>
        kube.baselinePolicies.create({ apiVersion: API_VERSION, kind: KIND, metadata: { name: 'baseline' }, spec: {} }),
      );
      await eventually(
        async () => {
          const names = (await kube.networkPolicies('shop').list()).map(({ metadata }) => metadata.name);
          assert.deepEqual(
            names.sort(),
            ['baseline.allow-dns', 'baseline.allow-monitoring', 'baseline.default-deny'],
            output,
          );
        },
        { timeout: 30_000 },
      );
      // What makes the certificate is one of the packages that are read only when they are needed.
      const [, port = ''] = /metrics=127\.0\.0\.1:(\d+)/.exec(output) ?? [];
      assert.equal((await scrape(port)).status, 401);
      child.kill('SIGTERM');
      assert.deepEqual((await exit)[0], 0, output);
      assert.match(output, /Stopped\n$/);
    } finally {
      child.kill('SIGKILL');
      await exit;
    }
  });

  it('has a plugin that answers as that from source does, also when it is wrong', async () => {
    using files = new Folder({ 'shop.yaml': SHOP });
    const lines = [
      ['--version'],
      ['--help'],
      ['can', 'shop/frontend', 'shop/db', '--port', '5432', '-f', files.path],
      ['lint', '-f', files.path],
      ['can', 'shop/frontend'],
      ['can', 'a', 'b', '--prot', '5'],
    ];
    for (const line of lines) {
      const expected = await runCLI(line);
      assert.notEqual(expected.stdout + expected.stderr, '');
      assert.deepEqual(await run(plugin, line), expected, line.join(' '));
    }
  });

  it('has a plugin that draws, by WebAssembly', async () => {
    using files = new Folder({ 'shop.yaml': SHOP });
    const { code, stdout, stderr } = await run(plugin, ['connections', '-f', files.path, '-o', 'svg']);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /<svg /);
  });

  it('is lazy: what few need is not read at the start', async () => {
    const lazy = ['node_modules/@kubernetes/client-node/', 'node_modules/@hpcc-js/', 'node_modules/@peculiar/x509/'];
    const files = await readdir(folder);
    const texts = await Promise.all(files.map((name) => readFile(join(folder, name), 'utf8')));
    // What main.js loads while it reads the credentials.
    const run = files[texts.findIndex((text) => text.includes('// src/run.ts\n'))] ?? '';
    for (const [script, part] of Object.entries({
      'main.js': 'config.ts',
      [run]: 'kube/lease.ts',
      'kubectl-baseline.js': 'cli/program.ts',
    })) {
      // A comment names each file that is in a bundle.
      const source = await eagerSource(folder, script);
      assert.ok(source.includes(`// src/${part}\n`), script);
      for (const path of lazy) assert.ok(!source.includes(`// ${path}`), `${script}: ${path}`);
    }
    for (const path of lazy)
      assert.ok(
        texts.some((text) => text.includes(`// ${path}`)),
        path,
      );
  });

  it('names the licence of each package that is in it', async () => {
    const licenses = await readFile(join(folder, 'LICENSES.txt'), 'utf8');
    for (const name of ['@hpcc-js/wasm-graphviz', '@kubernetes/client-node', 'undici', 'winston', 'yaml', 'yargs']) {
      const text = await readFile(join(import.meta.dirname, `../../node_modules/${name}/LICENSE`), 'utf8').catch(
        () => '',
      );
      assert.match(licenses, new RegExp(`^${name} [\\d.]+: \\S+$`, 'm'));
      assert.ok(licenses.includes(text.trim().replaceAll('\r\n', '\n')), name);
    }
    assert.doesNotMatch(licenses, /^esbuild /m);
  });
});

/** The text of a script, and of all that it imports statically, and so on. */
async function eagerSource(folder: string, name: string, seen = new Set<string>()): Promise<string> {
  if (seen.has(name)) return '';
  seen.add(name);
  const source = await readFile(join(folder, name), 'utf8');
  const imports = [...source.matchAll(/^(?:import\b[^;]*?from |import )"\.\/([\w-]+\.js)";$/gms)];
  const parts = await Promise.all(imports.map(([, imported = '']) => eagerSource(folder, imported, seen)));
  return [source, ...parts].join('\n');
}
