import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { ADVERTISED_ADDRESS, type AuditMark, ComponentError, ControlPlane } from '../../hack/envtest/control-plane.ts';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import { eventually } from '../support/await.ts';
import { KubeClient, type ResourceClient, StatusError, type Watch, type WatchEvent } from '../support/kube.ts';

interface EndpointSlice extends KubernetesObject {
  endpoints: { addresses: string[] }[];
  ports: { port: number }[];
}

interface ConfigMap extends KubernetesObject {
  data?: Record<string, string>;
}

describe('control plane', function () {
  this.timeout(60_000);
  let controlPlane: ControlPlane;
  let kube: KubeClient;

  before(async () => {
    controlPlane = await ControlPlane.start({
      auditLog: true,
      // So that watches of ConfigMaps are served by etcd, which forgets when it is compacted.
      apiServerFlags: ['--watch-cache-sizes=configmaps#0'],
    });
    kube = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
  });

  after(async () => {
    await kube.close();
    await controlPlane.stop();
  });

  const configMaps = (namespace = 'default', client = kube) => client.resource('v1', 'configmaps', namespace);

  it('tells the address of the API server in an EndpointSlice, as a cluster does', async () => {
    const slices = kube.resource<EndpointSlice>('discovery.k8s.io/v1', 'endpointslices', 'default');
    const slice = await eventually(() => slices.get('kubernetes'));
    assert.deepEqual(slice.endpoints[0]?.addresses, [ADVERTISED_ADDRESS]);
    assert.equal(slice.ports[0]?.port, Number(new URL(controlPlane.server).port));
  });

  it('runs beside another one, which knows nothing of it', async () => {
    await using other = await ControlPlane.start({ controllerManager: false });
    await using otherKube = KubeClient.fromKubeconfig(other.kubeconfig);
    assert.notEqual(other.server, controlPlane.server);
    await kube.namespaces.create({ metadata: { name: 'only-in-the-first' } });
    assert.equal(await otherKube.namespaces.find('only-in-the-first'), undefined);
    assert.ok(await otherKube.namespaces.find('kube-system'));
  });

  it('has controllers that work as soon as it is started', async () => {
    await using other = await ControlPlane.start();
    await using otherKube = KubeClient.fromKubeconfig(other.kubeconfig);
    assert.ok(await otherKube.resource('v1', 'serviceaccounts', 'default').get('default'));
  });

  it('gives a user only the rights that RBAC gives', async () => {
    await using ann = KubeClient.fromKubeconfig(await controlPlane.kubeconfigFor('ann', ['readers', 'writers']));
    const forbidden = { name: 'StatusError', status: 403, reason: 'Forbidden', message: /User "ann" cannot list/ };
    await assert.rejects(ann.namespaces.list(), forbidden);
    await kube.resource('rbac.authorization.k8s.io/v1', 'clusterrolebindings').create({
      metadata: { name: 'writers-read' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: 'writers' }],
    });
    await eventually(() => ann.namespaces.list());
    await assert.rejects(ann.namespaces.create({ metadata: { name: 'by-ann' } }), { status: 403 });
    assert.ok(await kube.as('bob', ['readers', 'writers']).namespaces.list());
    await assert.rejects(kube.as('bob', ['readers']).namespaces.list(), { message: /User "bob" cannot list/ });
  });

  it('knows a ServiceAccount by its token', async () => {
    const path = await controlPlane.kubeconfigForServiceAccount('default', 'default');
    await using account = KubeClient.fromKubeconfig(path);
    await assert.rejects(account.namespaces.list(), { message: /"system:serviceaccount:default:default" cannot list/ });
  });

  it('removes a deleted namespace with what is in it', async () => {
    await kube.namespaces.create({ metadata: { name: 'short-lived' } });
    await configMaps('short-lived').create({ metadata: { name: 'content' } });
    await kube.namespaces.delete('short-lived');
    await eventually(
      async () => {
        assert.equal(await kube.namespaces.find('short-lived'), undefined);
      },
      { timeout: 30_000 },
    );
    assert.equal(await configMaps('short-lived').find('content'), undefined);
  });

  it('collects the dependents of a deleted owner, and no others', async () => {
    const owner = await configMaps().create({ metadata: { name: 'owner' } });
    const ownerReferences = [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid: owner.metadata.uid }];
    await configMaps().create({ metadata: { name: 'dependent', ownerReferences } });
    await configMaps().create({ metadata: { name: 'independent' } });
    await configMaps().delete('owner', { propagationPolicy: 'Background' });
    await eventually(
      async () => {
        assert.equal(await configMaps().find('dependent'), undefined);
      },
      { timeout: 30_000 },
    );
    assert.ok(await configMaps().find('independent'));
  });

  it('records what a watch sees, in order', async () => {
    const { metadata } = await configMaps().page();
    using watch = await configMaps().watch({
      resourceVersion: metadata.resourceVersion,
      fieldSelector: 'metadata.name=watched',
    });
    await configMaps().create({ metadata: { name: 'watched' } });
    await configMaps().merge('watched', { data: { key: 'merged' } });
    await configMaps().patch('watched', [{ op: 'replace', path: '/data/key', value: 'patched' }]);
    await configMaps().apply({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'watched' },
      data: { key: 'a' },
    });
    await configMaps().replace({ metadata: { name: 'watched' }, data: { key: 'replaced' } });
    await configMaps().delete('watched');
    const seen: string[] = [];
    for await (const { type, object } of watch as AsyncIterable<
      WatchEvent<KubernetesObject & { data?: { key: string } }>
    >) {
      seen.push(`${type} ${object.data?.key ?? ''}`.trim());
      if (type === 'DELETED') break;
    }
    assert.deepEqual(seen, [
      'ADDED',
      'MODIFIED merged',
      'MODIFIED patched',
      'MODIFIED a',
      'MODIFIED replaced',
      'DELETED replaced',
    ]);
  });

  it('keeps its address and data when the API server restarts, also after a crash', async () => {
    await configMaps().create({ metadata: { name: 'lasting' } });
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      using watch = await configMaps().watch();
      await controlPlane.stopAPIServer(signal);
      await watch.ended;
      await assert.rejects(configMaps().get('lasting'), (error) => !(error instanceof StatusError));
      await controlPlane.startAPIServer();
      assert.ok(await eventually(() => configMaps().get('lasting')));
    }
  });

  it('answers 410 to a watch from before a compaction', async () => {
    const { resourceVersion: before } = (await configMaps().create({ metadata: { name: 'old' } })).metadata;
    await configMaps().delete('old');
    using replay = await configMaps().watch({ resourceVersion: before ?? '' });
    await eventually(() => {
      assert.equal(replay.events[0]?.type, 'DELETED');
    });

    await configMaps().create({ metadata: { name: 'new' } });
    const compacted = await controlPlane.compactEtcd();
    assert.ok(compacted > Number(before));
    assert.ok((await controlPlane.etcdRevision()) >= compacted);
    const watch = await configMaps().watch({ resourceVersion: before ?? '' });
    await watch.ended;
    assert.ok(watch.error instanceof StatusError);
    assert.equal(watch.error.status, 410);
    assert.equal(watch.error.reason, 'Expired');
    assert.deepEqual(watch.events, []);
  });

  it('counts requests in the audit log since a mark', async () => {
    const names = Array.from({ length: 25 }, (_, index) => `audited-${index}`);
    await configMaps().create({ metadata: { name: 'before-the-mark' } });
    const mark = await controlPlane.auditMark();
    await Promise.all(names.map((name) => configMaps().create({ metadata: { name } })));
    await assert.rejects(configMaps().create({ metadata: { name: 'audited-0' } }), { status: 409 });
    using watch = await configMaps().watch();
    await eventually(() => {
      assert.ok(watch.events.length >= names.length);
    });

    const events = (await controlPlane.auditEvents(mark)).filter(
      ({ userAgent, objectRef }) => userAgent === 'test' && objectRef?.resource === 'configmaps',
    );
    const creates = events.filter(({ verb, stage }) => verb === 'create' && stage === 'ResponseComplete');
    const created = creates.filter(({ responseStatus }) => responseStatus?.code === 201);
    assert.deepEqual(created.map(({ objectRef }) => objectRef?.name).sort(), [...names].sort());
    assert.deepEqual(new Set(creates.map(({ user }) => user.username)), new Set(['kubernetes-admin']));
    assert.equal(creates.length, names.length + 1);
    assert.deepEqual(
      events.filter(({ verb }) => verb === 'watch').map(({ stage }) => stage),
      ['ResponseStarted'],
    );
    assert.ok((await controlPlane.auditEvents()).length > events.length);
  });
});

describe('control plane: fork', function () {
  this.timeout(60_000);
  const resources = new AsyncDisposableStack();
  let controlPlane: ControlPlane;
  let fork: ControlPlane;
  let original: KubeClient;
  let forked: KubeClient;
  /** Watches of the original that were open during the fork, served by etcd and by the API server's watch cache. */
  let watch: Watch<ConfigMap>;
  let cachedWatch: Watch<KubernetesObject>;
  /** The writes that the original had answered when the fork was asked for. */
  let answered: readonly ConfigMap[];

  const configMaps = (client: KubeClient) => client.resource<ConfigMap>('v1', 'configmaps', 'default');

  before(async () => {
    controlPlane = resources.use(
      await ControlPlane.start({ auditLog: true, apiServerFlags: ['--watch-cache-sizes=configmaps#0'] }),
    );
    original = resources.use(KubeClient.fromKubeconfig(controlPlane.kubeconfig));
    watch = await configMaps(original).watch();
    cachedWatch = await original.namespaces.watch();
    await using writing = new AsyncDisposableStack();
    const writers = Array.from({ length: 4 }, (_, index) =>
      writing.use(new Writer(configMaps(original), `writer-${index}`)),
    );
    await eventually(() => {
      for (const { answers } of writers) assert.ok(answers.length >= 25);
    });
    answered = writers.flatMap(({ answers }) => answers);
    fork = resources.use(await controlPlane.fork());
    forked = resources.use(KubeClient.fromKubeconfig(fork.kubeconfig));
  });

  after(() => resources.disposeAsync());

  it('serves the objects of before, with their UIDs and resourceVersions, and none of later', async () => {
    const names = Array.from({ length: 20 }, (_, index) => `later-${index}`);
    await Promise.all(names.map((name) => configMaps(original).create({ metadata: { name } })));
    await original.namespaces.merge('kube-public', { metadata: { labels: { later: 'yes' } } });

    const before = await original.namespaces.get('kube-system');
    assert.ok(before.metadata.uid);
    assert.deepEqual(await forked.namespaces.get('kube-system'), before);
    const [changed, old] = await Promise.all([original, forked].map((client) => client.namespaces.get('kube-public')));
    assert.equal(old?.metadata.uid, changed?.metadata.uid);
    assert.equal(old?.metadata.labels?.['later'], undefined);
    assert.ok(Number(old?.metadata.resourceVersion) < Number(changed?.metadata.resourceVersion));
    for (const name of names) {
      assert.ok(await configMaps(original).find(name));
      assert.equal(await configMaps(forked).find(name), undefined);
    }
    for (const list of [configMaps, (client: KubeClient) => client.namespaces]) {
      const [now, then] = await Promise.all([list(original).page(), list(forked).page()]);
      assert.ok(Number(then.metadata.resourceVersion) < Number(now.metadata.resourceVersion));
    }
  });

  it('has the state that the original had after one of its writes, with each that was answered before', async () => {
    const items = (await configMaps(forked).list()).filter(({ metadata }) => metadata.name.startsWith('writer-'));
    const last = Math.max(...items.map(revision));
    for (const object of answered) assert.ok(revision(object) <= last);
    await eventually(() => {
      assert.ok(revision(watch.events.at(-1)?.object) > last);
    });

    const state = new Map<string, ConfigMap>();
    for (const { object } of watch.events) {
      const { metadata, data } = object;
      if (metadata.name.startsWith('writer-') && revision(object) <= last) {
        state.set(metadata.name, { metadata, ...(data && { data }) });
      }
    }
    assert.deepEqual(new Map(items.map((item) => [item.metadata.name, item])), state);
  });

  it('lets the watches of the original go on, with every write of before, meanwhile and after', async () => {
    await configMaps(original).create({ metadata: { name: 'last' } });
    await original.namespaces.create({ metadata: { name: 'last' } });
    await eventually(() => {
      for (const { events } of [watch, cachedWatch]) {
        assert.ok(events.some(({ object }) => object.metadata.name === 'last'));
      }
    });
    const seen = new Map(watch.events.map(({ object }) => [object.metadata.name, revision(object)]));
    assert.deepEqual(
      new Map((await configMaps(original).list()).map((object) => [object.metadata.name, revision(object)])),
      seen,
    );
    for (const { error } of [watch, cachedWatch]) assert.equal(error, undefined);
  });

  it('knows the users of the original, by token, by certificate and as ServiceAccounts', async () => {
    assert.equal(fork.adminToken, controlPlane.adminToken);
    assert.equal(fork.caData, controlPlane.caData);
    const kubeconfigs = [
      controlPlane.kubeconfig,
      await controlPlane.kubeconfigFor('ann'),
      await controlPlane.kubeconfigForServiceAccount('default', 'default'),
    ];
    const users = ['kubernetes-admin', 'ann', 'system:serviceaccount:default:default'];
    for (const [index, path] of kubeconfigs.entries()) {
      const redirected = join(dirname(fork.kubeconfig), `redirected-${index}`);
      writeFileSync(redirected, readFileSync(path, 'utf8').replace(controlPlane.server, fork.server));
      for (const kubeconfig of [path, redirected]) {
        await using client = KubeClient.fromKubeconfig(kubeconfig);
        const review = await client.request('POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews', {
          body: { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
        });
        assert.equal((review as { status: { userInfo: { username: string } } }).status.userInfo.username, users[index]);
      }
    }
  });

  it('lives a life of its own, without controllers, with an audit log of its own', async () => {
    assert.deepEqual([...fork.processes.keys()], ['etcd', 'kube-apiserver']);
    const [mark, forkedMark] = await Promise.all([controlPlane.auditMark(), fork.auditMark()]);
    await configMaps(forked).create({ metadata: { name: 'only-in-the-fork' } });
    assert.equal(await configMaps(original).find('only-in-the-fork'), undefined);
    const creates = async (where: ControlPlane, since: AuditMark) =>
      (await where.auditEvents(since)).filter(({ verb, userAgent }) => verb === 'create' && userAgent === 'test');
    assert.deepEqual(await creates(controlPlane, mark), []);
    assert.deepEqual(
      (await creates(fork, forkedMark)).map(({ objectRef }) => objectRef?.name),
      ['only-in-the-fork'],
    );
  });

  it('tells of the address that the original told of, also after a restart', async () => {
    const slices = (client: KubeClient) =>
      client.resource<EndpointSlice>('discovery.k8s.io/v1', 'endpointslices', 'default').get('kubernetes');
    const told = await slices(original);
    assert.deepEqual(await slices(forked), told);
    await fork.restartAPIServer();
    assert.deepEqual(await eventually(() => slices(forked)), told);
  });
});

describe('control plane: ends', function () {
  this.timeout(60_000);
  let temporary: string;
  const given = process.env['TMPDIR'];

  beforeEach(() => {
    temporary = mkdtempSync(join(tmpdir(), 'ends-'));
    process.env['TMPDIR'] = temporary;
  });

  afterEach(() => {
    if (given === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = given;
    rmSync(temporary, { recursive: true });
  });

  it('leaves nothing when it is stopped, within two seconds', async () => {
    const controlPlane = await ControlPlane.start();
    const pids = [...controlPlane.processes.values()];
    assert.equal(pids.length, 3);
    const start = performance.now();
    await controlPlane.stop();
    assert.ok(performance.now() - start < 2000);
    assert.deepEqual(pids.filter(isAlive), []);
    assert.deepEqual(readdirSync(temporary), []);
    await controlPlane.stop();
  });

  it('ends apart from its fork, and neither leaves anything', async () => {
    const controlPlane = await ControlPlane.start({ controllerManager: false });
    const fork = await controlPlane.fork();
    const pids = [...controlPlane.processes.values()];
    const forkPids = [...fork.processes.values()];
    await controlPlane.stop();
    assert.deepEqual([...pids, ...forkPids].filter(isAlive), forkPids);
    assert.deepEqual(readdirSync(temporary), [basename(dirname(fork.kubeconfig))]);
    await using kube = KubeClient.fromKubeconfig(fork.kubeconfig);
    assert.ok(await kube.namespaces.get('default'));
    await assert.rejects(controlPlane.fork(), { message: /^Expected a control plane that runs/ });
    await fork.stop();
    assert.deepEqual(forkPids.filter(isAlive), []);
    assert.deepEqual(readdirSync(temporary), []);
  });

  it('tells why a component failed, and leaves nothing', async () => {
    await assert.rejects(ControlPlane.start({ apiServerFlags: ['--no-such-flag'] }), (error) => {
      assert.ok(error instanceof ComponentError);
      assert.equal(error.component, 'kube-apiserver');
      assert.match(error.message, /^kube-apiserver ended with code 1.*unknown flag: --no-such-flag/s);
      return true;
    });
    assert.deepEqual(readdirSync(temporary), []);
  });

  it('tells at its stop that a component crashed before', async () => {
    const controlPlane = await ControlPlane.start({ controllerManager: false });
    const etcd = controlPlane.processes.get('etcd');
    assert.ok(etcd);
    process.kill(etcd, 'SIGKILL');
    assert.match((await controlPlane.failed).message, /^etcd was ended by SIGKILL/);
    await assert.rejects(controlPlane.stop(), ComponentError);
    assert.deepEqual(readdirSync(temporary), []);
  });

  for (const signal of ['SIGKILL', 'SIGINT'] as const) {
    it(`leaves nothing when the process that started it gets ${signal}`, async () => {
      const starter = spawn(process.execPath, [join(import.meta.dirname, '../../hack/envtest/main.ts')], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      const exit = once(starter, 'exit');
      const pids = await announcedProcesses(starter);
      try {
        assert.equal(pids.length, 3);
        assert.deepEqual(pids.filter(isAlive), pids);
        assert.equal(readdirSync(temporary).length, 1);
      } finally {
        starter.kill(signal);
      }
      const [code] = (await exit) as [number | null];
      assert.equal(code, signal === 'SIGINT' ? 0 : null);
      await eventually(() => {
        assert.deepEqual(pids.filter(isAlive), []);
        assert.deepEqual(readdirSync(temporary), []);
      });
    });
  }
});

/** Creates ConfigMaps one after the other and changes the one before, as fast as answers come, until it is disposed. */
class Writer implements AsyncDisposable {
  /** What the API server answered, so far. */
  readonly answers: ConfigMap[] = [];
  readonly #ended: Promise<void>;
  #stopped = false;

  constructor(configMaps: ResourceClient<ConfigMap>, name: string) {
    this.#ended = this.#write(configMaps, name);
    this.#ended.catch(() => undefined); // the disposal tells
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    await this.#ended;
  }

  async #write(configMaps: ResourceClient<ConfigMap>, name: string): Promise<void> {
    for (let count = 0; !this.#stopped; count++) {
      this.answers.push(await configMaps.create({ metadata: { name: `${name}-${count}` } }));
      if (count > 0) this.answers.push(await configMaps.merge(`${name}-${count - 1}`, { data: { next: `${count}` } }));
    }
  }
}

function revision(object: KubernetesObject | undefined): number {
  return Number(object?.metadata.resourceVersion);
}

/** False for a process that has ended, also when nobody has collected it yet. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  return !existsSync('/proc/self/stat') || !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
}

async function announcedProcesses(starter: ChildProcess): Promise<number[]> {
  assert.ok(starter.stderr);
  let output = '';
  for await (const chunk of starter.stderr.setEncoding('utf8') as AsyncIterable<string>) {
    output += chunk;
    const processes = /until Ctrl-C \((.*)\)/.exec(output)?.[1];
    if (processes !== undefined) return processes.match(/\d+/g)?.map(Number) ?? [];
  }
  throw new Error(`Expected a line that names the processes, got: ${output}`);
}
