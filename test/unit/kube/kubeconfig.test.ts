import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { stringify } from 'yaml';
import { KubeconfigError } from '../../../src/kube/kubeconfig-error.ts';
import type { KubeconfigOverrides } from '../../../src/kube/kubeconfig-overrides.ts';
import { loadClusterAccess, loadContextAccess } from '../../../src/kube/kubeconfig.ts';

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
    const { access } = await loadContextAccess(write('config', both), {}, { context: 'b' });
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

  describe('with overrides', () => {
    const data = (text: string): string => Buffer.from(text).toString('base64');
    const certificate = { 'client-certificate-data': data('own certificate'), 'client-key-data': data('own key') };
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: 'false', interactiveMode: 'Never' };

    /** A context `a` of namespace shop, and entries b, c (of a client certificate) and e (of a plugin that fails). */
    const several = () => ({
      ...config('a'),
      clusters: [
        ...config('a', { 'certificate-authority-data': data('own ca'), 'tls-server-name': 'kubernetes' }).clusters,
        ...config('b', { 'insecure-skip-tls-verify': true }).clusters,
      ],
      users: [
        ...config('a').users,
        ...config('b', {}, { as: 'jane', token: 'token-b' }).users,
        ...config('c', {}, certificate).users,
        ...config('e', {}, { exec }).users,
      ],
      contexts: [
        { name: 'a', context: { cluster: 'a', user: 'a', namespace: 'shop' } },
        { name: 'b', context: { cluster: 'b', user: 'b' } },
        { name: 'nobody', context: { cluster: 'a', user: 'nobody' } },
      ],
    });

    /** What is loaded, as far as overrides change it; files of the flags are in the folder. */
    async function loaded(overrides: KubeconfigOverrides, { file = write('config', several()) } = {}) {
      const { access, namespace } = await loadContextAccess(file, {}, overrides);
      return { server: access.server.href, namespace, ...access.tls, ...(await access.headers()) };
    }

    const a = { server: 'https://a.example:6443/', namespace: 'shop', ca: 'own ca', servername: 'kubernetes' };
    const asA = { ...a, Authorization: 'Bearer token-a' };
    const b = { server: 'https://b.example:6443/', namespace: 'default', rejectUnauthorized: false };

    const cases: readonly [what: string, overrides: () => KubeconfigOverrides, expected: object][] = [
      ['none', () => ({}), asA],
      ['a context', () => ({ context: 'b' }), { ...b, Authorization: 'Bearer token-b', 'Impersonate-User': 'jane' }],
      ['a cluster', () => ({ cluster: 'b' }), { ...b, namespace: 'shop', Authorization: 'Bearer token-a' }],
      ['a user', () => ({ user: 'b' }), { ...a, Authorization: 'Bearer token-b', 'Impersonate-User': 'jane' }],
      [
        'a server, for which the name in the kubeconfig is not',
        () => ({ server: 'https://other.example/prefix/' }),
        {
          server: 'https://other.example/prefix/',
          namespace: 'shop',
          ca: 'own ca',
          Authorization: 'Bearer token-a',
        },
      ],
      [
        'a server and its name',
        () => ({ server: 'https://192.0.2.1', 'tls-server-name': 'api' }),
        { ...asA, server: 'https://192.0.2.1/', servername: 'api' },
      ],
      ['a name of the server', () => ({ 'tls-server-name': 'api' }), { ...asA, servername: 'api' }],
      [
        'an authority in place of the own',
        () => ({ 'certificate-authority': write('ca.crt', 'ca') }),
        { ...asA, ca: 'ca' },
      ],
      [
        'an authority in place of none',
        () => ({ cluster: 'b', 'certificate-authority': write('ca.crt', 'ca') }),
        { server: b.server, namespace: 'shop', ca: 'ca', Authorization: 'Bearer token-a' },
      ],
      [
        'no verification in place of an authority',
        () => ({ 'insecure-skip-tls-verify': true }),
        {
          server: a.server,
          namespace: 'shop',
          servername: 'kubernetes',
          rejectUnauthorized: false,
          Authorization: 'Bearer token-a',
        },
      ],
      ['a token', () => ({ token: 't' }), { ...a, Authorization: 'Bearer t' }],
      ['a token in place of a certificate', () => ({ user: 'c', token: 't' }), { ...a, Authorization: 'Bearer t' }],
      ['a token in place of a plugin', () => ({ user: 'e', token: 't' }), { ...a, Authorization: 'Bearer t' }],
      [
        'a token, with the impersonation of the kubeconfig',
        () => ({ user: 'b', token: 't' }),
        { ...a, Authorization: 'Bearer t', 'Impersonate-User': 'jane' },
      ],
      [
        'a client certificate',
        () => ({ 'client-certificate': write('tls.crt', 'cert'), 'client-key': write('tls.key', 'key') }),
        { ...asA, cert: 'cert', key: 'key' },
      ],
      [
        'a client certificate for the own key',
        () => ({ user: 'c', 'client-certificate': write('tls.crt', 'cert') }),
        { ...a, cert: 'cert', key: 'own key' },
      ],
      [
        'impersonation',
        () => ({ as: 'joe', 'as-group': ['dev', 'ops'], 'as-uid': '7' }),
        {
          ...asA,
          'Impersonate-User': 'joe',
          'Impersonate-Group': ['dev', 'ops'],
          'Impersonate-Uid': '7',
        },
      ],
      [
        'groups of the user that the kubeconfig impersonates',
        () => ({ user: 'b', 'as-group': ['dev'] }),
        { ...a, Authorization: 'Bearer token-b', 'Impersonate-User': 'jane', 'Impersonate-Group': ['dev'] },
      ],
      [
        'a server without TLS, which gets no credentials',
        () => ({ server: 'http://127.0.0.1:8001', as: 'joe' }),
        {
          server: 'http://127.0.0.1:8001/',
          namespace: 'shop',
          ca: 'own ca',
          rejectUnauthorized: false,
          'Impersonate-User': 'joe',
        },
      ],
    ];
    for (const [what, overrides, expected] of cases) {
      it(`takes ${what}`, async () => {
        assert.deepEqual(await loaded(overrides()), expected);
      });
    }

    it('takes a server without any kubeconfig', async () => {
      const { access, namespace } = await loadContextAccess(
        undefined,
        { HOME: folder },
        { server: 'https://a.example', token: 't' },
      );
      assert.equal(access.server.href, 'https://a.example/');
      assert.deepEqual([access.tls, await access.headers()], [{}, { Authorization: 'Bearer t' }]);
      assert.equal(namespace, 'default');
      const anonymous = await loadContextAccess(undefined, { HOME: folder }, { server: 'https://a.example' });
      assert.deepEqual(await anonymous.access.headers(), {});
    });

    it('takes a cluster and a user without a current context', async () => {
      const file = write('config', { ...several(), 'current-context': '' });
      assert.deepEqual(await loaded({ cluster: 'a', user: 'a' }, { file }), { ...asA, namespace: 'default' });
      assert.deepEqual(await loaded({ cluster: 'a' }, { file }), { ...a, namespace: 'default' });
    });

    const wrong: readonly [what: string, overrides: () => KubeconfigOverrides, message: string | RegExp][] = [
      ['a context', () => ({ context: 'x' }), '--context: expected a context of …/config (a, b, nobody), found x'],
      ['a cluster', () => ({ cluster: 'x' }), '--cluster: expected a cluster of …/config (a, b), found x'],
      ['a user', () => ({ user: 'x' }), '--user: expected a user of …/config (a, b, c, e), found x'],
      ['a server', () => ({ server: 'a:6443' }), '--server: expected an http or https URL, found a:6443'],
      [
        'two ways to trust',
        () => ({ 'insecure-skip-tls-verify': true, 'certificate-authority': 'ca.crt' }),
        '--insecure-skip-tls-verify: expected without --certificate-authority, got both',
      ],
      [
        'a file that is not there',
        () => ({ 'certificate-authority': path('none.crt') }),
        /^--certificate-authority: expected a PEM file: ENOENT.*…\/none.crt/,
      ],
      [
        'a certificate without a key',
        () => ({ 'client-certificate': write('tls.crt', 'cert') }),
        '--client-certificate: expected with --client-key, or with a key in the kubeconfig',
      ],
      [
        'a key without a certificate',
        () => ({ 'client-key': write('tls.key', 'key') }),
        '--client-key: expected with --client-certificate, or with one in the kubeconfig',
      ],
      ['a group alone', () => ({ 'as-group': ['dev'] }), '--as-group: expected with --as, got it alone'],
      ['a UID alone', () => ({ 'as-uid': '7' }), '--as-uid: expected with --as, got it alone'],
      [
        'a token without TLS',
        () => ({ server: 'http://a.example', token: 't' }),
        '--token: expected an https URL in --server, found http://a.example',
      ],
      [
        'a token without TLS in other letters',
        () => ({ server: 'HTTP://a.example', token: 't' }),
        '--token: expected an https URL in --server, found HTTP://a.example',
      ],
      [
        'a user that the context names in vain',
        () => ({ context: 'nobody', server: 'https://b.example' }),
        '…/config: context nobody: expected the name of a user, found "nobody", which is none',
      ],
    ];
    for (const [what, overrides, message] of wrong) {
      it(`refuses ${what}`, async () => {
        await assert.rejects(loaded(overrides()), (error) => {
          assert.ok(error instanceof KubeconfigError, String(error));
          const found = error.message.replaceAll(folder, '…');
          if (typeof message === 'string') assert.equal(found, message);
          else assert.match(found, message);
          return true;
        });
      });
    }
  });
});
