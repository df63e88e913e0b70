import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { stringify } from 'yaml';
import { KubeconfigError, loadClusterAccess } from '../../../src/kube/kubeconfig.ts';

describe('loadClusterAccess', () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'kubeconfig-test-'));
  });

  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  const path = (name: string) => join(folder, name);

  function write(name: string, content: string | object): string {
    mkdirSync(dirname(path(name)), { recursive: true });
    writeFileSync(path(name), typeof content === 'string' ? content : stringify(content));
    return path(name);
  }

  /** A kubeconfig whose entries are all called `name`. */
  function config(name: string, cluster: object = {}, user: object = { token: `token-${name}` }) {
    return {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name, cluster: { server: `https://${name}.example:6443`, ...cluster } }],
      users: [{ name, user }],
      contexts: [{ name, context: { cluster: name, user: name } }],
      'current-context': name,
    };
  }

  async function refusal(file: string | undefined, env: NodeJS.ProcessEnv = {}): Promise<string> {
    try {
      await loadClusterAccess(file, { HOME: folder, ...env });
    } catch (error) {
      assert.ok(error instanceof KubeconfigError, String(error));
      return error.message.replaceAll(folder, '…');
    }
    throw new assert.AssertionError({ message: 'Expected a KubeconfigError, got access' });
  }

  async function host(file: string | undefined, env: NodeJS.ProcessEnv = {}): Promise<string> {
    return (await loadClusterAccess(file, { HOME: folder, ...env })).server.hostname;
  }

  it('gives the server, the certificate to trust, and the headers', async () => {
    const ca = 'a certificate';
    const file = write('config', config('a', { 'certificate-authority-data': Buffer.from(ca).toString('base64') }));
    const access = await loadClusterAccess(file, {});
    assert.equal(access.server.href, 'https://a.example:6443/');
    assert.deepEqual(access.tls, { ca });
    assert.equal(access.proxy, undefined);
    assert.deepEqual(await access.headers(), { Authorization: 'Bearer token-a' });
    assert.deepEqual(access.renewal, { kind: 'none' });
  });

  it('takes another context than the current one', async () => {
    const [a, b] = [config('a'), config('b')];
    const both = {
      ...a,
      clusters: [...a.clusters, ...b.clusters],
      users: [...a.users, ...b.users],
      contexts: [...a.contexts, ...b.contexts],
    };
    const access = await loadClusterAccess(write('config', both), {}, 'b');
    assert.equal(access.server.hostname, 'b.example');
    assert.deepEqual(await access.headers(), { Authorization: 'Bearer token-b' });
  });

  it('gives a client certificate, and files relative to the kubeconfig', async () => {
    write('pki/ca.crt', 'ca');
    const data = (text: string) => Buffer.from(text).toString('base64');
    const user = { 'client-certificate-data': data('certificate'), 'client-key-data': data('key') };
    const cluster = { 'certificate-authority': 'pki/ca.crt', 'tls-server-name': 'kubernetes' };
    const { tls, headers } = await loadClusterAccess(write('config', config('a', cluster, user)), {});
    assert.deepEqual(tls, {
      ca: 'ca',
      cert: 'certificate',
      key: 'key',
      servername: 'kubernetes',
    });
    assert.deepEqual(await headers(), {});
  });

  it('gives the path of the server, and its proxy', async () => {
    const cluster = { server: 'https://rancher.example/k8s/clusters/c-1', 'proxy-url': 'http://proxy.example:3128' };
    const access = await loadClusterAccess(write('config', config('a', cluster)), {});
    assert.equal(access.server.pathname, '/k8s/clusters/c-1');
    assert.equal(access.proxy, 'http://proxy.example:3128');
  });

  it('does not verify the server when it is told so', async () => {
    const file = write('config', config('a', { 'insecure-skip-tls-verify': true }));
    assert.equal((await loadClusterAccess(file, {})).tls.rejectUnauthorized, false);
  });

  it('asks a credential plugin', async () => {
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
    const { headers, renewal } = await loadClusterAccess(write('config', config('a', {}, { exec })), {});
    assert.deepEqual(await headers(), { Authorization: 'Bearer from-plugin' });
    assert.deepEqual(renewal, { kind: 'library' });
  });

  it('reads a token from a file that is rotated', async () => {
    // This is how client-node describes the service account of a pod.
    const path = write('token', 'first');
    const provider = { name: 'tokenFile', config: { tokenFile: path } };
    const access = await loadClusterAccess(write('config', config('a', {}, { 'auth-provider': provider })), {});
    assert.deepEqual(await access.headers(), { Authorization: 'Bearer first' });
    assert.deepEqual(access.renewal, { kind: 'token-file', path });
  });

  describe('looks for credentials', () => {
    it('in the given file before $KUBECONFIG before ~/.kube/config', async () => {
      const given = write('given', config('given'));
      const env = { KUBECONFIG: write('env', config('env')) };
      write('.kube/config', config('home'));
      assert.equal(await host(given, env), 'given.example');
      assert.equal(await host(undefined, env), 'env.example');
      assert.equal(await host(undefined), 'home.example');
      assert.equal(await host(undefined, { KUBECONFIG: '' }), 'home.example');
    });

    it('in all files of $KUBECONFIG, of which some may be missing', async () => {
      const first = write('first', { ...config('first'), 'current-context': '' });
      const second = write('second', config('second'));
      const list = (...files: string[]) => ({ KUBECONFIG: files.join(delimiter) });
      assert.equal(await host(undefined, list(path('missing'), first, second)), 'second.example');
      assert.equal(await host(undefined, list(second, path('missing'))), 'second.example');
    });

    it('for the first of several files that name the same, as kubectl does', async () => {
      const first = write('first', config('shared', { server: 'https://first.example' }));
      const second = write('second', config('shared', { server: 'https://second.example' }));
      const third = write('third', config('third'));
      assert.equal(await host(undefined, { KUBECONFIG: [first, second, third].join(delimiter) }), 'first.example');
    });
  });

  describe('says what is wrong', () => {
    it('with no credentials at all', async () => {
      assert.equal(
        await refusal(undefined),
        'No cluster to talk to: --kubeconfig and $KUBECONFIG are not set, this is no pod, and …/.kube/config ' +
          'does not exist. Give --kubeconfig FILE.',
      );
    });

    it('with a file that does not exist', async () => {
      assert.equal(await refusal(path('missing')), '--kubeconfig: the file …/missing does not exist');
      assert.equal(
        await refusal(undefined, { KUBECONFIG: path('missing') }),
        'KUBECONFIG: the file …/missing does not exist',
      );
    });

    it('with files of $KUBECONFIG that are all missing', async () => {
      assert.equal(
        await refusal(undefined, { KUBECONFIG: [path('a'), path('b')].join(delimiter) }),
        'KUBECONFIG: none of the files …/a, …/b exists',
      );
    });

    const broken: readonly [what: string, content: string | object, message: RegExp][] = [
      ['a file that is no YAML', 'clusters: [', /^--kubeconfig: …\/config is no kubeconfig: /],
      ['an empty file', '', /^--kubeconfig: …\/config is no kubeconfig: /],
      ['a cluster without a server', { clusters: [{ name: 'a', cluster: {} }] }, /is no kubeconfig: .*server/],
    ];
    for (const [what, content, message] of broken) {
      it(`with ${what}`, async () => {
        assert.match(await refusal(write('config', content)), message);
      });
    }

    it('with a folder in place of a file', async () => {
      assert.match(await refusal(folder), /^--kubeconfig: … is no kubeconfig: EISDIR/);
    });

    it('with a current-context that is absent, or that names nothing', async () => {
      const absent = Object.fromEntries(Object.entries(config('a')).filter(([key]) => key !== 'current-context'));
      assert.equal(
        await refusal(write('config', absent)),
        '…/config: expected a current-context that names a cluster, found none',
      );
      assert.equal(
        await refusal(write('config', { ...config('a'), 'current-context': 'b' })),
        '…/config: expected a current-context that names a cluster, found "b"',
      );
    });

    it('with a context whose user does not exist', async () => {
      assert.equal(
        await refusal(write('config', { ...config('a'), users: [] })),
        '…/config: context a: expected the name of a user, found "a", which is none',
      );
    });

    for (const server of ['a.example:6443', 'localhost:6443', 'ftp://a.example']) {
      it(`with the server ${server}`, async () => {
        assert.equal(
          await refusal(write('config', config('a', { server }))),
          `…/config: cluster a: expected an http or https URL in server, found ${server}`,
        );
      });
    }

    for (const proxy of ['socks5://localhost:1080', 'proxy.example:3128']) {
      it(`with the proxy ${proxy}`, async () => {
        assert.equal(
          await refusal(write('config', config('a', { 'proxy-url': proxy }))),
          `…/config: cluster a: expected an HTTP proxy in proxy-url, found ${proxy}`,
        );
      });
    }

    it('with a certificate file that does not exist', async () => {
      const file = write('config', config('a', { 'certificate-authority': 'missing.crt' }));
      assert.match(await refusal(file), /^…\/config: no credentials: ENOENT.*…\/missing.crt/);
    });

    it('that is no YAML, without what is in it', async () => {
      const message = await refusal(write('config', 'users:\n- user: {token: "s3cret}\n  name: a\n'));
      assert.match(message, /^--kubeconfig: …\/config is no kubeconfig: /);
      assert.ok(!message.includes('s3cret') && !message.includes('\n'), message);
    });

    it('with a credential plugin that fails', async () => {
      const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: 'false', interactiveMode: 'Never' };
      const message = await refusal(write('config', config('a', {}, { exec })));
      assert.match(message, /^…\/config: no credentials: /);
    });
  });
});
