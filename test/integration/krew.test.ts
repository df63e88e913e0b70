import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { findAsset } from '../../hack/envtest/assets.ts';
import { VERSION } from '../../src/version.ts';
import { PROJECT } from '../support/kubectl.ts';

const SOURCE = 'https://github.com/example/baseline';

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program; resolves with how it ended, also when it failed. */
async function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv, cwd = PROJECT): Promise<Ended> {
  try {
    return { code: 0, ...(await promisify(execFile)(program, args, { env, cwd })) };
  } catch (error) {
    const { code, stdout, stderr } = error as Ended;
    return { code, stdout, stderr };
  }
}

/** Builds, packs and installs as krew does: the archive unpacked, a symbolic link to `bin` on the PATH. */
describe('The plugin by krew', function () {
  this.timeout(240_000);
  let folder: string;
  let manifest: { spec: { version: string; platforms: [{ uri: string; sha256: string; bin: string }] } };
  /** Where krew puts links to plugins. */
  let links: string;
  let system: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'krew-'));
    // As it is in a checkout, with a bundle of its own.
    const checkout = join(folder, 'checkout');
    await mkdir(join(checkout, 'hack'), { recursive: true });
    await promisify(execFile)(process.execPath, ['hack/build.ts', `--outdir=${join(checkout, 'dist')}`], {
      cwd: PROJECT,
    });
    for (const path of ['hack/krew', 'LICENSE']) {
      await cp(join(PROJECT, path), join(checkout, path), { recursive: true });
    }
    const release = join(folder, 'release');
    const packed = await run('hack/krew/package.sh', [VERSION, SOURCE, release], process.env, checkout);
    assert.equal(packed.code, 0, packed.stderr);
    manifest = parse(await readFile(join(release, 'baseline.yaml'), 'utf8')) as typeof manifest;
    const [{ uri, sha256, bin }] = manifest.spec.platforms;
    const archive = join(release, uri.slice(uri.lastIndexOf('/') + 1));
    assert.equal(
      createHash('sha256')
        .update(await readFile(archive))
        .digest('hex'),
      sha256,
    );
    const store = join(folder, 'store');
    links = join(folder, 'bin');
    for (const path of [store, links]) await mkdir(path);
    await run('tar', ['-xzf', archive, '-C', store], process.env);
    await symlink(join('..', 'store', bin), join(links, 'kubectl-baseline'));
    // What a shell script needs, without any Node.
    system = join(folder, 'system');
    await mkdir(system);
    for (const program of ['sh', 'dirname', 'readlink']) {
      const { stdout } = await run('sh', ['-c', `command -v ${program}`], process.env);
      await symlink(stdout.trim(), join(system, program));
    }
  });

  after(() => rm(folder, { recursive: true }));

  const plugin = (args: readonly string[], ...path: readonly string[]): Promise<Ended> =>
    run('kubectl', args, {
      PATH: [dirname(findAsset('kubectl')), links, ...path, system].join(delimiter),
      HOME: folder,
    });

  it('has a manifest with the version, and an address in the release of that version', () => {
    assert.equal(manifest.spec.version, `v${VERSION}`);
    assert.equal(
      manifest.spec.platforms[0].uri,
      `${SOURCE}/releases/download/v${VERSION}/baseline-policy-operator-${VERSION}.tar.gz`,
    );
  });

  it('is found and started by kubectl', async () => {
    const { code, stdout, stderr } = await plugin(['baseline', '--version'], dirname(process.execPath));
    assert.deepEqual([code, stderr], [0, '']);
    assert.ok(stdout.includes(VERSION), stdout);
  });

  it('says that Node is missing', async () => {
    const { code, stderr } = await plugin(['baseline', '--version']);
    assert.equal(code, 2);
    assert.match(stderr, /^kubectl-baseline: expected Node 24 or newer on the PATH, found none: https:\S+\n$/);
  });

  it('says that Node is too old', async () => {
    const old = join(folder, 'old');
    await mkdir(old);
    await writeFile(join(old, 'node'), '#!/bin/sh\necho v22.11.0\n', { mode: 0o755 });
    const { code, stderr } = await plugin(['baseline', '--version'], old);
    assert.equal(code, 2);
    assert.ok(stderr.includes(`expected Node 24 or newer on the PATH, found v22.11.0 (${old}/node)`), stderr);
  });
});
