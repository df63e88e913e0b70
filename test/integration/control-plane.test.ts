import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ADVERTISED_ADDRESS, ComponentError, ControlPlane } from '../../hack/envtest/control-plane.ts';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import { eventually } from '../support/await.ts';
import { KubeClient, StatusError, type WatchEvent } from '../support/kube.ts';

interface EndpointSlice extends KubernetesObject {
  endpoints: { addresses: string[] }[];
  ports: { port: number }[];
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
    await eventually(() => kube.resource('v1', 'serviceaccounts', 'default').get('default'));
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
