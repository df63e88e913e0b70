import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { readClusterAccess } from '../../../src/kube/cluster-access.ts';

describe('readClusterAccess', () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cluster-access-test-'));
  });

  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  function kubeconfig(user: object): string {
    const path = join(folder, 'config');
    const ca = Buffer.from('a certificate').toString('base64');
    const config = {
      clusters: [{ name: 'a', cluster: { server: 'https://a.example:6443/below', 'certificate-authority-data': ca } }],
      users: [{ name: 'a', user }],
      contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }],
      'current-context': 'a',
    };
    writeFileSync(path, stringify(config));
    return path;
  }

  it('gives the server, the certificate to trust, and a token that does not change', async () => {
    const access = await readClusterAccess(kubeconfig({ token: 'fixed' }), process.env);
    assert.equal(access.server.href, 'https://a.example:6443/below');
    assert.deepEqual(access.tls, { ca: 'a certificate' });
    assert.equal(access.proxy, undefined);
    assert.deepEqual(await access.headers(), { Authorization: 'Bearer fixed' });
  });

  it('finds the kubeconfig in the environment that it is given', async () => {
    const access = await readClusterAccess(undefined, { ...process.env, KUBECONFIG: kubeconfig({ token: 'fixed' }) });
    assert.equal(access.server.hostname, 'a.example');
  });

  it('reads a token file each time it is asked for headers', async () => {
    const tokenFile = join(folder, 'token');
    writeFileSync(tokenFile, 'first\n');
    const user = { 'auth-provider': { name: 'tokenFile', config: { tokenFile } } };
    const { headers } = await readClusterAccess(kubeconfig(user), process.env);
    assert.deepEqual(await headers(), { Authorization: 'Bearer first' });
    writeFileSync(tokenFile, 'second\n');
    assert.deepEqual(await headers(), { Authorization: 'Bearer second' });
  });

  it('leaves a credential plugin to the library', async () => {
    const credential = {
      apiVersion: 'client.authentication.k8s.io/v1',
      kind: 'ExecCredential',
      status: { token: 'from-plugin' },
    };
    const exec = {
      apiVersion: 'client.authentication.k8s.io/v1',
      command: 'echo',
      args: [JSON.stringify(credential)],
      interactiveMode: 'Never',
    };
    const { headers } = await readClusterAccess(kubeconfig({ exec }), process.env);
    assert.deepEqual(await headers(), { Authorization: 'Bearer from-plugin' });
  });

  it('throws the KubeconfigError of the process', async () => {
    const missing = join(folder, 'missing');
    await assert.rejects(readClusterAccess(missing, process.env), {
      name: 'KubeconfigError',
      message: `--kubeconfig: the file ${missing} does not exist`,
    });
  });

  it('says what helps when the process has too little memory', async () => {
    const env = { ...process.env, NODE_OPTIONS: '--max-old-space-size=8' };
    await assert.rejects(readClusterAccess(kubeconfig({ token: 'fixed' }), env), {
      name: 'KubeconfigError',
      message:
        'Expected the process that reads the kubeconfig to end by itself, got SIGABRT: ' +
        'it has too little memory; give --max-old-space-size in NODE_OPTIONS more',
    });
  });
});
