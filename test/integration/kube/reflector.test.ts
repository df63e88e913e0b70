import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { PassThrough } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { parse } from 'yaml';
import { ControlPlane } from '../../../hack/envtest/control-plane.ts';
import type { KubernetesObject } from '../../../src/api/metadata.ts';
import { KubeClient, RESOURCES, type ResourceType, type Scope } from '../../../src/kube/client.ts';
import { APIError } from '../../../src/kube/errors.ts';
import { loadClusterAccess } from '../../../src/kube/kubeconfig.ts';
import { Reflector, type ReflectorOptions } from '../../../src/kube/reflector.ts';
import { compareResourceVersions } from '../../../src/kube/resource-version.ts';
import { Store, type CachedObject } from '../../../src/kube/store.ts';
import { Transport } from '../../../src/kube/transport.ts';
import { createLogger } from '../../../src/observability/log.ts';
import { consistently, eventually } from '../../support/await.ts';
import { FaultProxy, type Fault, type LineEdit, type ProxiedRequest } from '../../support/fault-proxy.ts';
import { expired } from '../../support/faults.ts';
import { KubeClient as TestClient, type Manifest, type ResourceClient } from '../../support/kube.ts';

interface ConfigMap extends KubernetesObject {
  data?: Record<string, string>;
}

interface Held extends CachedObject {
  readonly value: string | undefined;
}

const CONFIG_MAPS: ResourceType = { apiVersion: 'v1', plural: 'configmaps' };
/** The API server has no watch cache for them, so that its answers depend on what etcd still has. */
const SECRETS: ResourceType = { apiVersion: 'v1', plural: 'secrets' };

function trim(object: KubernetesObject): Held {
  const { namespace = '', name, uid = '', resourceVersion = '' } = object.metadata;
  return { namespace, name, uid, resourceVersion, value: (object as ConfigMap).data?.['value'] };
}

describe('Reflector', function () {
  this.timeout(30_000);
  let controlPlane: ControlPlane;
  let proxy: FaultProxy;
  let world: TestClient;
  let transport: Transport;
  let namespace: string;
  let maps: ResourceClient<ConfigMap>;
  let store: Store<Held>;
  let reflector: Reflector;
  let restarts: number;
  let events: number;
  let ends: number;
  let log: PassThrough;
  let namespaces = 0;

  before(async () => {
    controlPlane = await ControlPlane.start({
      controllerManager: false,
      apiServerFlags: ['--watch-cache-sizes=secrets#0'],
    });
    world = TestClient.fromKubeconfig(controlPlane.kubeconfig);
  });

  after(async () => {
    await world.close();
    await controlPlane.stop();
  });

  beforeEach(async () => {
    proxy = await FaultProxy.start(controlPlane.kubeconfig);
    transport = new Transport({
      access: await loadClusterAccess(proxy.kubeconfig, {}),
      userAgent: 'test',
      connections: 4,
      timeoutMs: 5_000,
    });
    namespace = `reflector-${++namespaces}`;
    await world.namespaces.create({ metadata: { name: namespace } });
    maps = world.resource('v1', 'configmaps', namespace);
    newReflector();
  });

  afterEach(async () => {
    await reflector.stop();
    await transport.close();
    await proxy.close();
  });

  function newReflector(options: Partial<ReflectorOptions> = {}): void {
    store = new Store(trim);
    restarts = 0;
    events = 0;
    ends = 0;
    log = new PassThrough();
    reflector = new Reflector({
      client: new KubeClient(transport),
      type: CONFIG_MAPS,
      scope: { namespace },
      store,
      logger: createLogger({ level: 'debug', format: 'json', stream: log }),
      observer: {
        observeWatchRestart: () => restarts++,
        observeWatchEvent: () => events++,
        observeWatchEnd: () => ends++,
      },
      pageSize: 500,
      // The shortest waits.
      random: () => 0,
      ...options,
    });
  }

  async function synced(): Promise<void> {
    reflector.start();
    await reflector.whenSynced();
    await eventually(() => {
      assert.ok(watches().length > 0);
    });
  }

  const isWatch = ({ url }: ProxiedRequest) => url.searchParams.has('watch');
  const watches = () => proxy.requests.filter(isWatch);
  const lists = () => proxy.requests.filter((request) => !isWatch(request));

  /** Each fault is for one of the requests that `wanted` names, in their order; all others pass. */
  function inject(wanted: (request: ProxiedRequest) => boolean, ...faults: (Fault | (() => Promise<Fault>))[]): void {
    proxy.intercept = (request) => {
      const fault = wanted(request) ? faults.shift() : undefined;
      return typeof fault === 'function' ? fault() : (fault ?? 'pass');
    };
  }

  const isPageTwo = ({ url }: ProxiedRequest) => url.searchParams.has('continue');
  const isList = (request: ProxiedRequest) => !isWatch(request);

  async function create(name: string, value = 'first', resource = maps): Promise<void> {
    await resource.create({ metadata: { name }, data: { value } });
  }

  const createMany = (count: number) =>
    Promise.all(Array.from({ length: count }, (_, index) => create(`many-${String(index).padStart(2, '0')}`)));

  const names = () => [...store.values()].map(({ name }) => name).sort();

  /** Waits until the store holds what the API server has, and that is `expected`, when given. */
  async function holds(expected?: readonly string[], resource = maps): Promise<void> {
    const kept = (held: CachedObject) => `${held.name} ${held.uid} ${held.resourceVersion}`;
    await eventually(async () => {
      const real = (await resource.list()).map(trim).map(kept).sort();
      assert.deepEqual([...store.values()].map(kept).sort(), real);
      if (expected !== undefined) assert.deepEqual(names(), [...expected].sort());
    });
  }

  async function logged(): Promise<string[]> {
    await reflector.stop();
    log.end();
    const lines = (await log.toArray()).join('').split('\n');
    return lines.filter((line) => line !== '').map((line) => (JSON.parse(line) as { msg: string }).msg);
  }

  describe('list', () => {
    it('reads all pages, and then watches from there', async () => {
      await createMany(50);
      newReflector({ pageSize: 7 });
      assert.equal(reflector.synced, false);
      await synced();
      assert.equal(reflector.synced, true);
      assert.equal(store.size, 50);
      await holds();
      assert.equal(lists().length, 8);
      assert.ok(lists().every(({ url }) => url.searchParams.get('limit') === '7'));
      await create('later');
      await holds();
      assert.equal(watches().length, 1);
    });

    it('reads fewer objects a page where they are large, and more again where they are not', async () => {
      // They come after the large ones, by their names.
      await createMany(30);
      const large = Array.from({ length: 9 }, (_, index) => `large-${index}`);
      await Promise.all(large.map((name) => create(name, 'x'.repeat(900_000))));
      await synced();
      await holds();
      const limits = lists().map(({ url }) => Number(url.searchParams.get('limit')));
      assert.deepEqual(limits.slice(0, 5), [500, 125, 31, 7, 1]);
      assert.ok(
        limits.some((limit, index) => limit < (limits[index + 1] ?? 0)),
        limits.join(),
      );
      assert.ok((limits.at(-1) ?? 0) >= 8, limits.join());
    });

    it('reads one object however large it is', async () => {
      await create('largest', 'x'.repeat(1_000_000));
      newReflector({ pageSize: 1 });
      await synced();
      await holds(['largest']);
    });

    it('syncs on an empty list', async () => {
      await synced();
      assert.equal(store.size, 0);
      assert.equal(reflector.failure, undefined);
    });

    it('reads only what its selectors select', async () => {
      await world.namespaces.merge(namespace, { metadata: { labels: { wanted: 'yes' } } });
      const selects = async (scope: Scope) => {
        newReflector({ type: RESOURCES.namespaces, scope });
        await synced();
        assert.deepEqual(names(), [namespace]);
        await reflector.stop();
      };
      await selects({ labelSelector: `wanted=yes,kubernetes.io/metadata.name=${namespace}` });
      await selects({ fieldSelector: `metadata.name=${namespace}` });
    });

    it('drops nothing when a page fails, and tries again', async () => {
      await createMany(20);
      newReflector({ pageSize: 7 });
      await synced();
      inject(isPageTwo, { status: 500, body: { message: 'etcdserver: leader changed' } }, 'reset');
      await maps.delete('many-03');
      await holds();
      reflector.resync();
      await eventually(() => {
        assert.ok(reflector.failure instanceof APIError);
      });
      assert.equal(store.size, 19);
      // One list that fails on its second page, one that is reset there, one that succeeds.
      await eventually(() => {
        assert.equal(lists().length, 3 + 2 + 2 + 3);
        assert.equal(reflector.failure, undefined);
      });
      await holds();
      assert.equal(store.size, 19);
    });

    it('is not synced before its last page', async () => {
      await createMany(10);
      newReflector({ pageSize: 7 });
      inject(isPageTwo, { status: 500 });
      reflector.start();
      await eventually(() => {
        assert.ok(reflector.failure instanceof APIError);
      });
      assert.equal(reflector.synced, false);
      await reflector.whenSynced();
      assert.equal(store.size, 10);
    });

    it('begins anew when its continue token has expired', async () => {
      const secrets = world.resource<ConfigMap>('v1', 'secrets', namespace);
      for (let index = 0; index < 10; index++) await secrets.create({ metadata: { name: `secret-${index}` } });
      newReflector({ type: SECRETS, pageSize: 7 });
      inject(isPageTwo, async () => {
        await secrets.delete('secret-0');
        await create('unrelated');
        await controlPlane.compactEtcd();
        return 'pass';
      });
      await synced();
      await holds(undefined, secrets);
      assert.equal(store.size, 9);
      assert.equal(lists().length, 4);
      assert.equal(reflector.failure, undefined);
    });

    it('refuses a list that is older than what it has seen', async () => {
      await create('a');
      await synced();
      inject(isList, { status: 200, body: { metadata: { resourceVersion: '1' }, items: [] } });
      reflector.resync();
      await eventually(() => {
        assert.match(String(reflector.failure), /expected a list of resourceVersion \d+ or later, got 1/);
      });
      assert.deepEqual(names(), ['a']);
      await eventually(() => {
        assert.equal(reflector.failure, undefined);
      });
      await holds(['a']);
    });

    it('waits for as long as a busy server asks', async () => {
      inject(isList, { status: 429, headers: { 'retry-after': '1' } });
      await synced();
      const [one, two] = lists().map(({ at }) => at);
      assert.ok(one !== undefined && two !== undefined && two - one >= 990);
    });
  });

  describe('watch', () => {
    it('takes in what is created, changed, deleted, and created again', async () => {
      await create('a');
      await synced();
      await create('b');
      await maps.merge('a', { data: { value: 'second' } });
      await holds(['a', 'b']);
      assert.equal(store.get(namespace, 'a')?.value, 'second');
      await maps.delete('a');
      await holds(['b']);
      await create('a', 'third');
      await holds(['a', 'b']);
      assert.equal(store.get(namespace, 'a')?.value, 'third');
      assert.deepEqual([lists().length, watches().length, restarts], [1, 1, 0]);
      assert.equal(events, 1 + 1 + 4, 'the list, the opened watch and each event');
    });

    it('goes on where it was after a reset, without a list', async () => {
      await create('a');
      await create('b');
      await synced();
      let open = (): void => undefined;
      const opened = new Promise<void>((resolve) => (open = resolve));
      inject(isWatch, async () => {
        await opened;
        return 'pass';
      });
      proxy.cut();
      await maps.delete('a');
      await create('c');
      open();
      await holds(['b', 'c']);
      assert.equal(lists().length, 1);
      assert.equal(watches().length, 2);
      assert.equal(restarts, 1);
      assert.equal(reflector.failure, undefined);
    });

    it('goes on where it was when watches fail for a while', async () => {
      await synced();
      inject(isWatch, { status: 429, headers: { 'retry-after': '0' } }, 'reset');
      proxy.cut();
      await create('a');
      await holds(['a']);
      assert.equal(lists().length, 1);
      assert.equal(watches().length, 1 + 2 + 1);
    });

    it('tells once when the API server answers again after failures', async () => {
      let recoveries = 0;
      newReflector({ onRecovered: () => recoveries++ });
      await synced();
      inject(isWatch, { status: 500 });
      proxy.cut();
      await create('a');
      await holds(['a']);
      assert.equal(recoveries, 1);
    });

    it('forgets its failures when it has held until a resync ends it', async () => {
      await synced();
      proxy.cut();
      await eventually(() => {
        assert.equal(watches().length, 2);
      });
      await eventually(() => {
        assert.ok(performance.now() - (watches()[1]?.at ?? 0) > 1_000);
      });
      reflector.resync();
      await eventually(() => {
        assert.equal(watches().length, 3);
      });
      assert.ok((await logged()).includes('Recovered'));
    });

    it('waits longer after each failure', async () => {
      await synced();
      inject(isWatch, { status: 500 }, { status: 500 });
      proxy.cut();
      await eventually(() => {
        assert.equal(watches().length, 4);
      });
      const [, first = 0, second = 0, third = 0] = watches().map(({ at }) => at);
      assert.ok(second - first >= 795 && second - first < 1_500, String(second - first));
      assert.ok(third - second >= 1_595 && third - second < 2_500, String(third - second));
    });

    it('tries at once when told that the API server is back', async () => {
      await synced();
      inject(isWatch, 'reset', { status: 500 }, 'reset');
      proxy.cut();
      await eventually(() => {
        assert.equal(watches().length, 4);
      });
      await eventually(() => {
        reflector.hasten();
        assert.equal(watches().length, 5);
      });
      const [, , , last = 0, hastened = 0] = watches().map(({ at }) => at);
      assert.ok(hastened - last < 3_100, `waited ${hastened - last} ms, as without being told`);
      assert.equal(lists().length, 1);
    });

    it('comes back when a busy server asks it to, and no later each time', async () => {
      await synced();
      const busy: Fault = { status: 429, headers: { 'retry-after': '1' } };
      inject(isWatch, busy, busy, busy);
      proxy.cut();
      await eventually(() => {
        assert.equal(watches().length, 1 + 4);
      });
      const [, ...asked] = watches().map(({ at }) => at);
      for (const [index, at] of asked.slice(1).entries()) {
        const gap = at - (asked[index] ?? 0);
        assert.ok(gap >= 995 && gap < 1_500, String(gap));
      }
      assert.equal(lists().length, 1);
    });

    it('makes a new list after a 410 in the watch, and finds what was deleted meanwhile', async () => {
      const secrets = world.resource<ConfigMap>('v1', 'secrets', namespace);
      await secrets.create({ metadata: { name: 'goes' } });
      await secrets.create({ metadata: { name: 'stays' } });
      newReflector({ type: SECRETS });
      await synced();
      const codes: unknown[] = [];
      const editLine = (line: string): LineEdit => {
        codes.push((JSON.parse(line) as { object: { code?: number } }).object.code);
        return line;
      };
      inject(isWatch, async () => {
        await secrets.delete('goes');
        await create('unrelated');
        await controlPlane.compactEtcd();
        return { editLine };
      });
      proxy.cut();
      await holds(['stays'], secrets);
      assert.deepEqual(codes, [410], 'the API server said so itself');
      assert.equal(lists().length, 2);
      assert.equal(reflector.failure, undefined);
    });

    it('makes a new list after a 410 for the watch, at once', async () => {
      await create('goes');
      await synced();
      inject(isWatch, async () => {
        await maps.delete('goes');
        return { status: 410, body: { reason: 'Expired', message: 'too old resource version' } };
      });
      proxy.cut();
      await holds([]);
      assert.equal(lists().length, 2);
      const refused = watches()[1]?.at ?? 0;
      const listed = lists()[1]?.at ?? Infinity;
      assert.ok(listed - refused < 300, `expected no wait, got ${listed - refused} ms`);
    });

    it('makes a new list at once for a 410 after each failure to connect', async () => {
      await synced();
      inject(isWatch, expired(), 'reset', expired());
      proxy.cut();
      await eventually(() => {
        assert.equal(lists().length, 3);
      });
      const told = watches()[3]?.at ?? 0;
      const listed = lists()[2]?.at ?? 0;
      // The third failure without a watch that held would be waited for 1.6 s.
      assert.ok(listed >= told && listed - told < 1_500, String(listed - told));
      await create('a');
      await holds(['a']);
    });

    it('does not list in a loop when every watch is refused with a 410', async () => {
      await synced();
      proxy.intercept = (request) => (isWatch(request) ? { status: 410, body: { reason: 'Expired' } } : 'pass');
      proxy.cut();
      await eventually(() => {
        assert.ok(watches().length >= 4);
      });
      const [, , third = 0, fourth = 0] = watches().map(({ at }) => at);
      assert.ok(fourth - third >= 795, `expected a wait of 0.8 s, got ${fourth - third} ms`);
    });

    it('does not list in a loop when every watch is garbled', async () => {
      await synced();
      proxy.intercept = (request) => (isWatch(request) ? { status: 200, body: 'garbage\n' } : 'pass');
      proxy.cut();
      await eventually(() => {
        assert.ok(lists().length >= 3);
      });
      const [, second = 0, third = 0] = lists().map(({ at }) => at);
      assert.ok(third - second >= 1_595, `expected a wait of 1.6 s, got ${third - second} ms`);
      assert.equal((await logged()).filter((message) => message === 'Recovered').length, 0);
    });

    const garbled: readonly [what: string, edit: (line: string) => string][] = [
      ['no JSON', (line) => line.replace('{', '<')],
      ['half an object', (line) => `${line.slice(0, line.length / 2)}\n`],
      ['no object', () => 'null\n'],
      ['an unknown type', (line) => line.replace('"ADDED"', '"OTHER"')],
      ['no object in it', () => '{"type":"ADDED"}\n'],
      ['an error without a Status', () => '{"type":"ERROR","object":null}\n'],
      ['an object without metadata', () => '{"type":"ADDED","object":{"metadata":null}}\n'],
      ['an object without a resourceVersion', () => '{"type":"ADDED","object":{"metadata":{"name":"a"}}}\n'],
    ];
    for (const [what, edit] of garbled) {
      it(`makes a new list after an event that is ${what}`, async () => {
        inject(isWatch, { editLine: edit });
        await synced();
        await create('a');
        await eventually(() => {
          assert.match(String(reflector.failure), /^GarbledEventError: expected a watch event, got "/);
        });
        await holds(['a']);
        assert.equal(lists().length, 2);
      });
    }

    it('makes a new list after an error in the watch that is no 410 only when it must', async () => {
      const error = { type: 'ERROR', object: { kind: 'Status', code: 500, message: 'etcd is down' } };
      inject(isWatch, { editLine: () => `${JSON.stringify(error)}\n` });
      await synced();
      await create('a');
      await eventually(() => {
        assert.match(String(reflector.failure), /WATCH configmaps: 500 etcd is down/);
      });
      await holds(['a']);
      assert.equal(lists().length, 1);
    });

    for (const then of ['break', 'end'] as const) {
      it(`loses nothing when it is cut in the middle of a line, by the ${then} of the connection`, async () => {
        inject(isWatch, { editLine: (line) => ({ text: line.slice(0, -10), then }) });
        await synced();
        await create('a');
        await holds(['a']);
        assert.deepEqual([lists().length, watches().length], [1, 2]);
      });
    }

    it('tells of an event once that comes twice, and of no old one that comes late', async () => {
      const changes: (string | undefined)[] = [];
      let old = '';
      inject(isWatch, {
        editLine: (line) => {
          const earlier = old;
          old = line;
          return line + line + earlier;
        },
      });
      await synced();
      store.subscribe((_, after) => changes.push(after?.value));
      await create('a', 'first');
      await maps.merge('a', { data: { value: 'second' } });
      await maps.merge('a', { data: { value: 'third' } });
      await holds(['a']);
      await create('b', 'last');
      await holds(['a', 'b']);
      assert.deepEqual(changes, ['first', 'second', 'third', 'last']);
    });

    it('finds an event that was lost, by a resync', async () => {
      await create('a');
      inject(isWatch, { editLine: (line) => (line.includes('DELETED') ? '' : line) });
      await synced();
      await maps.delete('a');
      await create('b');
      await eventually(() => {
        assert.deepEqual(names(), ['a', 'b']);
      });
      reflector.resync();
      await holds(['b']);
      assert.equal(lists().length, 2);
      assert.equal(reflector.failure, undefined);
    });

    it('is opened again when it has been silent for too long, where it was', async () => {
      newReflector({ idleTimeoutMs: 300 });
      inject(isWatch, { editLine: () => ({ text: '', then: 'silence' }) }, 'black-hole');
      await synced();
      await create('a');
      await holds(['a']);
      assert.ok(restarts >= 2, `expected two restarts, got ${restarts}`);
      assert.equal(lists().length, 1);
      assert.equal(reflector.failure, undefined);
    });

    it('is not taken for silent while events come', async () => {
      newReflector({ idleTimeoutMs: 700 });
      await synced();
      let count = 0;
      await consistently(
        async () => {
          await create(`a-${count++}`);
        },
        { for: 1_500, interval: 100 },
      );
      await holds();
      assert.equal(watches().length, 1);
    });

    it('ends and begins again as a matter of course; bookmarks keep its place', async () => {
      // The API server sends a bookmark two seconds before the end of a watch.
      newReflector({ watchTimeoutSeconds: [3, 3] });
      await synced();
      await world.resource('v1', 'configmaps', 'default').create({ metadata: { name: `elsewhere-${namespace}` } });
      await eventually(() => {
        assert.equal(watches().length, 2);
      });
      const [first, second] = watches().map(({ url }) => url.searchParams);
      assert.equal(first?.get('allowWatchBookmarks'), 'true');
      assert.equal(first.get('timeoutSeconds'), '3');
      const from = first.get('resourceVersion') ?? '';
      const onwards = second?.get('resourceVersion') ?? '';
      assert.ok(compareResourceVersions(onwards, from) > 0, `expected more than ${from}, got ${onwards}`);
      assert.deepEqual([lists().length, restarts, reflector.failure], [1, 1, undefined]);
    });

    it('spreads the ends of watches', async () => {
      newReflector({ random: () => 0.5 });
      await synced();
      assert.equal(watches()[0]?.url.searchParams.get('timeoutSeconds'), '450');
    });

    it('tells the store what has ended, so that late answers to writes are ignored', async () => {
      await synced();
      await create('a');
      const written = await maps.get('a');
      await holds(['a']);
      await maps.delete('a');
      await holds([]);
      store.observeWrite(written);
      assert.equal(store.size, 0);
    });
  });

  it('survives a restart of the API server', async () => {
    await create('a');
    await synced();
    await controlPlane.stopAPIServer('SIGKILL');
    await eventually(() => {
      assert.notEqual(reflector.failure, undefined);
    });
    assert.deepEqual(names(), ['a']);
    await controlPlane.startAPIServer();
    await maps.delete('a');
    await create('b');
    await holds(['b']);
    assert.equal(reflector.synced, true);
    assert.equal(reflector.failure, undefined);
  });

  it('waits for a resource whose CustomResourceDefinition is installed later', async () => {
    let told = 0;
    let found = 0;
    newReflector({ type: RESOURCES.baselinePolicies, scope: {}, onMissing: () => told++, onFound: () => found++ });
    reflector.start();
    await eventually(() => {
      assert.equal(reflector.missing, true);
    });
    assert.equal(reflector.synced, false);
    const file = new URL('../../../crds/baselinepolicy.dev_baselinepolicies.yaml', import.meta.url);
    const crd = parse(await readFile(file, 'utf8')) as Manifest;
    const definitions = world.resource('apiextensions.k8s.io/v1', 'customresourcedefinitions');
    const policy = (name: string) => ({
      apiVersion: 'baselinepolicy.dev/v1alpha1',
      kind: 'BaselinePolicy',
      metadata: { name },
      spec: {},
    });
    const created = (name: string) => eventually(() => world.baselinePolicies.create(policy(name)));
    await definitions.apply(crd);
    await reflector.whenSynced();
    assert.equal(reflector.missing, false);
    await created('later');
    await eventually(() => {
      assert.deepEqual(names(), ['later']);
    });
    assert.equal(told, 1, 'told once, however often the server was asked');
    assert.equal(found, 1);

    await definitions.delete(crd.metadata.name);
    await eventually(() => {
      assert.deepEqual([reflector.missing, told], [true, 2]);
    });
    await eventually(() => definitions.apply(crd));
    await created('again');
    await eventually(() => {
      assert.deepEqual([names(), reflector.missing, found], [['again'], false, 2]);
    });
  });

  describe('stop', () => {
    async function timers(): Promise<number> {
      // The time-out of the test itself starts after the first turn.
      await setImmediate();
      return process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    }

    async function stopsPromptly(): Promise<void> {
      const started = performance.now();
      await reflector.stop();
      assert.equal(ends, 1, 'its end is told');
      const took = performance.now() - started;
      assert.ok(took < 300, `expected less than 0.3 s, got ${took} ms`);
    }

    it('ends a watch, and leaves no timer and no connection', async () => {
      const before = await timers();
      await synced();
      await create('seen');
      await holds(['seen']);
      await stopsPromptly();
      await eventually(() => {
        assert.ok(proxy.open <= 1, 'only the connection for requests may stay open');
      });
      assert.equal(await timers(), before);
      await create('later');
      await consistently(
        () => {
          assert.deepEqual(names(), ['seen']);
        },
        { for: 200 },
      );
    });

    it('ends a wait between two tries', async () => {
      proxy.intercept = () => ({ status: 500 });
      const before = await timers();
      reflector.start();
      await eventually(() => {
        assert.notEqual(reflector.failure, undefined);
      });
      await stopsPromptly();
      assert.equal(await timers(), before);
    });

    it('ends a list and a watch that nobody answers', async () => {
      proxy.intercept = () => 'black-hole';
      reflector.start();
      await eventually(() => {
        assert.equal(lists().length, 1);
      });
      await stopsPromptly();
      newReflector();
      inject(isWatch, 'black-hole');
      await synced();
      await stopsPromptly();
    });

    it('ends while it waits for a connection', async () => {
      proxy.stall();
      reflector.start();
      await eventually(() => {
        assert.equal(proxy.accepted, 1);
      });
      await stopsPromptly();
      proxy.resume();
    });

    it('ends while there is no network', async () => {
      await synced();
      proxy.stall();
      reflector.resync();
      await stopsPromptly();
      proxy.resume();
    });

    it('can be asked for before the start, and twice', async () => {
      await reflector.stop();
      await reflector.stop();
      assert.equal(proxy.requests.length, 0);
    });
  });
});
