import assert from 'node:assert/strict';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import { FINALIZER, childName } from '../../src/api/names.ts';
import type { NetworkPolicy } from '../../src/api/networkpolicy.ts';
import { eventually } from '../support/await.ts';
import { DEFAULT_RULES, Demo, LABEL_SCENARIO } from '../support/demo.ts';
import type { Fault, Intercept, ProxiedRequest } from '../support/fault-proxy.ts';
import { isWatch, isWrite, resourceOf } from '../support/faults.ts';
import type { ResourceClient } from '../support/kube.ts';
import { LONG_FORM } from '../support/long-form.ts';
import { Oracle, type Outcome } from '../support/oracle.ts';
import { assertSameOutcome, quiet, settled, Workload } from '../support/workload.ts';

/** What the team of a namespace adds to a child; it stays whatever the operator writes. */
const OF_THE_TEAM = { labels: { team: 'a' }, annotations: { 'team/note': 'ours' } };

/** A spec that somebody else's NetworkPolicy has. */
const FOREIGN_SPEC = { podSelector: { matchLabels: { app: 'foreign' } }, policyTypes: ['Ingress'], ingress: [{}] };

describe('a write of the operator that somebody else overtakes', function () {
  this.timeout(60_000);
  let demo: Demo;
  /** What happens to requests that are no watch. */
  let intercept: Intercept;
  /** What happens to each line of a watch. */
  let editLine: (line: string) => string | Promise<string>;
  /** Lets the watches go on that a race has stopped. */
  let endRace = (): void => undefined;

  before(async () => {
    demo = await Demo.start({ faults: true });
    const opened = new Set<string>();
    demo.proxy.intercept = (request) =>
      isWatch(request)
        ? { editLine: (line) => editLine(line), onAnswer: () => opened.add(resourceOf(request)) }
        : intercept(request);
    demo.proxy.cut();
    await eventually(() => {
      for (const resource of ['namespaces', 'networkpolicies', 'baselinepolicies']) assert.ok(opened.has(resource));
    });
  });

  after(() => demo.stop());

  beforeEach(() => {
    intercept = () => 'pass';
    editLine = (line) => line;
  });

  afterEach(() => {
    endRace();
  });

  /** The write that `race` held, and what the operator asked for of the same object from then on. */
  interface Race {
    /** The API server's answer to the write. */
    readonly status: number;
    /** Requests after it. */
    readonly requests: () => ProxiedRequest[];
  }

  /**
   * Lets somebody else act between the operator's view of an object and its write: `provoke` makes the operator write,
   * the first write that `isHeld` picks waits until `act` is done, and goes on to the API server. Watches tell nothing
   * from then until the race is ended, so that only a read can tell what happened.
   */
  async function race(
    isHeld: (request: ProxiedRequest) => boolean,
    provoke: () => Promise<unknown>,
    act: () => Promise<unknown>,
  ): Promise<Race> {
    const { proxy } = demo;
    const ended = Promise.withResolvers<undefined>();
    let held: ProxiedRequest | undefined;
    let status: number | undefined;
    endRace = () => {
      ended.resolve(undefined);
    };
    editLine = async (line) => {
      if (held !== undefined) await ended.promise;
      return line;
    };
    intercept = async (request): Promise<Fault> => {
      if (held !== undefined || !isHeld(request)) return 'pass';
      held = request;
      await act();
      return { onAnswer: (code) => (status = code) };
    };
    await provoke();
    await eventually(() => {
      assert.notEqual(status, undefined, 'the write has no answer yet');
    });
    const first = held;
    assert.ok(first !== undefined && status !== undefined);
    return {
      status,
      requests: () => {
        const since = proxy.requests.slice(proxy.requests.indexOf(first) + 1);
        return since.filter((request) => objectOf(request) === objectOf(first));
      },
    };
  }

  /** Resolves when the operator has sent these methods, and no others, for the object that was raced for. */
  async function followedBy({ requests }: Race, ...methods: readonly string[]): Promise<readonly ProxiedRequest[]> {
    return eventually(() => {
      const sent = requests();
      assert.deepEqual(
        sent.map(({ method }) => method),
        methods,
      );
      return sent;
    });
  }

  function isChildWrite(method: string, namespace: string, name: string): (request: ProxiedRequest) => boolean {
    return (request) =>
      request.method === method && isWrite(request, 'networkpolicies') && objectOf(request) === `${namespace}/${name}`;
  }

  /** Puts a NetworkPolicy of somebody else in the place of a child. */
  async function replaceByForeign(children: ResourceClient<NetworkPolicy>, name: string): Promise<NetworkPolicy> {
    await children.delete(name);
    return children.create({ metadata: { name }, spec: FOREIGN_SPEC });
  }

  it('heals a spec by a second PATCH, based on a fresh read', async () => {
    const [namespace = ''] = await demo.settled('patch', 1);
    const children = demo.kube.networkPolicies(namespace);
    const name = childName('patch', 'default-deny');
    const { spec } = await children.get(name);
    let changed: NetworkPolicy | undefined;
    const lost = await race(
      isChildWrite('PATCH', namespace, name),
      () => children.merge(name, { spec: { ingress: [{}] } }),
      async () => (changed = await children.merge(name, { metadata: OF_THE_TEAM, spec: { egress: [{}] } })),
    );
    assert.equal(lost.status, 409);
    const [, patch] = await followedBy(lost, 'GET', 'PATCH');
    assert.equal(revisionIn(patch), changed?.metadata.resourceVersion);
    endRace();

    await demo.counted('patch', { 'default-deny Modified healed': 1 });
    const healed = await children.get(name);
    assert.deepEqual(healed.spec, spec);
    assertKept(healed);
  });

  it('heals metadata by a second PUT, based on a fresh read', async () => {
    const [namespace = ''] = await demo.settled('put', 1);
    const children = demo.kube.networkPolicies(namespace);
    const name = childName('put', 'allow-dns');
    const { metadata } = await children.get(name);
    let changed: NetworkPolicy | undefined;
    const lost = await race(
      isChildWrite('PUT', namespace, name),
      () => children.merge(name, { metadata: { labels: null, ownerReferences: null } }),
      async () => (changed = await children.merge(name, { metadata: OF_THE_TEAM })),
    );
    assert.equal(lost.status, 409);
    // One read for the cache, one for what the write is to keep.
    const [, , put] = await followedBy(lost, 'GET', 'GET', 'PUT');
    assert.equal(revisionIn(put), changed?.metadata.resourceVersion);
    endRace();

    await demo.counted('put', { 'allow-dns Metadata healed': 1 });
    const healed = await children.get(name);
    assert.deepEqual(healed.metadata.labels, { ...metadata.labels, ...OF_THE_TEAM.labels });
    assert.deepEqual(healed.metadata.ownerReferences, metadata.ownerReferences);
    assertKept(healed);
  });

  it('deletes a child by a second DELETE, based on a fresh read', async () => {
    const [namespace = ''] = await demo.settled('delete', 1);
    const children = demo.kube.networkPolicies(namespace);
    const name = childName('delete', 'default-deny');
    let changed: NetworkPolicy | undefined;
    const lost = await race(
      isChildWrite('DELETE', namespace, name),
      () => demo.optOut(namespace),
      async () => (changed = await children.merge(name, { metadata: OF_THE_TEAM })),
    );
    assert.equal(lost.status, 409);
    const [, deletion] = await followedBy(lost, 'GET', 'DELETE');
    assert.equal(revisionIn(deletion), changed?.metadata.resourceVersion);
    endRace();
    await demo.holds(namespace, 'delete', []);
    assert.deepEqual(await demo.drift('delete'), {});
  });

  it('deletes children at once although the status of their policy is another one by then', async () => {
    const [namespace = ''] = await demo.settled('judged', 1);
    await demo.compliant('judged', 1);
    const path = '/apis/baselinepolicy.dev/v1alpha1/baselinepolicies/judged';
    const read = await race(
      ({ method, url }) => method === 'GET' && url.pathname === path,
      () => demo.optOut(namespace),
      () =>
        demo.kube.request('PATCH', `${path}/status`, {
          body: { status: { observedGeneration: 7 } },
          contentType: 'application/merge-patch+json',
        }),
    );
    assert.equal(read.status, 200);
    await demo.holds(namespace, 'judged', []);
    assert.deepEqual(
      read.requests().filter(({ method }) => method === 'GET'),
      [],
      'what the policy wants was read once',
    );
    endRace();
    await demo.compliant('judged', 0);
  });

  it('keeps children when the spec of their policy is another one by then', async () => {
    const [namespace = ''] = await demo.settled('changed', 1);
    await demo.compliant('changed', 1);
    const path = '/apis/baselinepolicy.dev/v1alpha1/baselinepolicies/changed';
    const matchLabels = { [LABEL_SCENARIO]: null, 'kubernetes.io/metadata.name': namespace };
    const read = await race(
      ({ method, url }) => method === 'GET' && url.pathname === path,
      () => demo.optOut(namespace),
      () => demo.kube.baselinePolicies.merge('changed', { spec: { namespaceSelector: { matchLabels } } }),
    );
    assert.equal(read.status, 200);
    endRace();
    await demo.compliant('changed', 1);
    await demo.holds(namespace, 'changed');
    assert.deepEqual(
      demo.proxy.requests.filter(({ method, url }) => method === 'DELETE' && url.pathname.includes(`/${namespace}/`)),
      [],
    );
  });

  it('makes a child anew that was deleted before its PATCH', async () => {
    const [namespace = ''] = await demo.settled('gone', 1);
    const children = demo.kube.networkPolicies(namespace);
    const name = childName('gone', 'default-deny');
    const lost = await race(
      isChildWrite('PATCH', namespace, name),
      () => children.merge(name, { spec: { ingress: [{}] } }),
      () => children.delete(name),
    );
    assert.equal(lost.status, 404);
    await followedBy(lost, 'GET', 'POST');
    endRace();
    await demo.holds(namespace, 'gone');
    await demo.counted('gone', { 'default-deny Missing healed': 1 });
  });

  for (const [method, provoke] of [
    ['PATCH', (namespace, name) => demo.kube.networkPolicies(namespace).merge(name, { spec: { ingress: [{}] } })],
    ['PUT', (namespace, name) => demo.kube.networkPolicies(namespace).merge(name, { metadata: { labels: null } })],
    ['DELETE', (namespace) => demo.optOut(namespace)],
  ] as readonly [string, (namespace: string, name: string) => Promise<unknown>][]) {
    it(`leaves an object of somebody else alone that took the place of a child before its ${method}`, async () => {
      const scenario = `foreign-${method.toLowerCase()}`;
      const [namespace = ''] = await demo.settled(scenario, 1);
      const children = demo.kube.networkPolicies(namespace);
      const name = childName(scenario, 'default-deny');
      let foreign: NetworkPolicy | undefined;
      const lost = await race(
        isChildWrite(method, namespace, name),
        () => provoke(namespace, name),
        async () => (foreign = await replaceByForeign(children, name)),
      );
      assert.equal(lost.status, 409);
      await followedBy(lost, 'GET');
      endRace();
      if (method === 'DELETE') await demo.holds(namespace, scenario, ['default-deny']);
      else await demo.counted(scenario, { 'default-deny NameConflict reported': 1 });
      assert.deepEqual(await children.get(name), foreign);
      await followedBy(lost, 'GET');
    });
  }

  it('leaves an object of somebody else alone that took the place of a child before its POST', async () => {
    const scenario = 'foreign-post';
    await demo.settled(scenario, 1);
    const namespace = demo.name('taken');
    const name = childName(scenario, 'allow-dns');
    let foreign: NetworkPolicy | undefined;
    const lost = await race(
      isChildWrite('POST', namespace, name),
      () => demo.kube.namespaces.create({ metadata: { name: namespace, labels: { scenario } } }),
      async () =>
        (foreign = await demo.kube.networkPolicies(namespace).create({ metadata: { name }, spec: FOREIGN_SPEC })),
    );
    assert.equal(lost.status, 409);
    await followedBy(lost, 'GET');
    endRace();
    await demo.counted(scenario, { 'allow-dns NameConflict reported': 1 });
    assert.deepEqual(await demo.kube.networkPolicies(namespace).get(name), foreign);
    await followedBy(lost, 'GET');
    // Closing the namespace without its DNS would break it.
    await demo.holds(namespace, scenario, ['allow-dns', 'allow-monitoring']);
  });

  it('believes a fresh read also of what a watch has lost', async () => {
    const [namespace = ''] = await demo.settled('unseen', 1);
    await demo.compliant('unseen', 1);
    const children = demo.kube.networkPolicies(namespace);
    const name = childName('unseen', 'allow-monitoring');
    const statuses: number[] = [];
    let lost = 0;
    let later = 0;
    intercept = (request) =>
      isChildWrite('PATCH', namespace, name)(request) ? { onAnswer: (status) => statuses.push(status) } : 'pass';
    editLine = (line) => {
      if (line.includes('later.unseen')) later++;
      if (lost > 0 || !line.includes('team/note')) return line;
      lost++;
      return '';
    };
    await children.merge(name, { metadata: OF_THE_TEAM });
    await children.create({ metadata: { name: 'later.unseen' }, spec: FOREIGN_SPEC });
    await eventually(() => {
      assert.deepEqual({ lost, later }, { lost: 1, later: 1 });
    });
    await demo.change('unseen', { rules: { allowMonitoring: { ports: [{ port: 9090 }] } } });
    await demo.compliant('unseen', 1);
    assert.deepEqual(statuses, [409, 200]);
    const written = await children.get(name);
    assert.deepEqual(written.spec?.ingress?.[0]?.ports, [{ port: 9090, protocol: 'TCP' }]);
    assertKept(written);
    assert.deepEqual(await demo.drift('unseen'), {});
  });

  it('writes a status without touching a spec that was edited before', async () => {
    const [namespace = ''] = await demo.createNamespaces('status', 1);
    const rules = { allowSameNamespace: { enabled: true } };
    const lost = await race(
      (request) => request.method === 'PATCH' && request.url.pathname.endsWith('/baselinepolicies/status/status'),
      () => demo.policy('status'),
      () => demo.change('status', { rules }),
    );
    endRace();
    assert.equal(lost.status, 200);
    await demo.holds(namespace, 'status', [...DEFAULT_RULES, 'allow-same-namespace']);
    const { spec, status } = await demo.compliant('status', 1);
    assert.equal(spec.rules?.allowSameNamespace?.enabled, true);
    assert.equal(status?.observedGeneration, 2);
  });

  it('adds its finalizer to those that others have added before', async () => {
    const [namespace = ''] = await demo.createNamespaces('finalizer', 1);
    const finalizers = ['example.com/keep'];
    const { baselinePolicies } = demo.kube;
    const lost = await race(
      isPolicyPatch('finalizer'),
      () => demo.policy('finalizer'),
      () => baselinePolicies.merge('finalizer', { metadata: { finalizers }, spec: { description: 'Edited' } }),
    );
    // What came meanwhile is told by the watch, here.
    endRace();
    assert.equal(lost.status, 409);
    await demo.holds(namespace, 'finalizer');
    const { metadata, spec } = await demo.compliant('finalizer', 1);
    assert.deepEqual(metadata.finalizers, [...finalizers, FINALIZER]);
    assert.equal(spec.description, 'Edited');
    await baselinePolicies.merge('finalizer', { metadata: { finalizers: [FINALIZER] } });
  });

  it('takes its finalizer off, and brings none back that others have taken off before', async () => {
    const { baselinePolicies } = demo.kube;
    await demo.settled('release', 1);
    await baselinePolicies.merge('release', { metadata: { finalizers: ['example.com/keep', FINALIZER] } });
    const lost = await race(
      isPolicyPatch('release'),
      () => baselinePolicies.delete('release'),
      () => baselinePolicies.merge('release', { metadata: { finalizers: [FINALIZER] } }),
    );
    endRace();
    assert.equal(lost.status, 409);
    await demo.gone(['release']);
  });
});

/** Kinds of writes of the operator, but for Leases and Events. */
const KINDS = [
  'POST networkpolicies',
  'PATCH networkpolicies',
  'PUT networkpolicies',
  'DELETE networkpolicies',
  'PATCH baselinepolicies',
  'PATCH baselinepolicies/status',
] as const;

type Kind = (typeof KINDS)[number];

describe('a write that the API server does,', function () {
  this.timeout(180_000);
  let demo: Demo;
  let oracle: Oracle;
  let live: Outcome;
  let removed: Outcome;

  before(async () => {
    demo = await Demo.start({ faults: true, flags: ['--kube-api-timeout=2s'] });
    oracle = await Oracle.start(demo.kube);
    const workload = new Workload(demo, oracle, 'clean');
    await workload.perform();
    // A status is written at most every two seconds.
    await eventually(() => quiet(demo.proxy, 3_000), { timeout: 60_000 });
    live = await oracle.outcome('clean');
    await workload.remove();
    removed = await oracle.outcome('clean');
  });

  after(async () => {
    await oracle[Symbol.asyncDispose]();
    await demo.stop();
  });

  /**
   * The first time that a write comes, there is no answer to it; of each kind for so many writes. Counts them by kind.
   */
  function unanswered(
    kinds: readonly Kind[],
    fault: 'lose-answer' | 'withhold-answer',
    most: number,
    hits: Map<Kind, number>,
  ): Intercept {
    const seen = new Set<string>();
    return (request) => {
      const kind = kinds.find((candidate) => candidate === kindOf(request));
      const write = `${request.method} ${request.url.pathname} ${request.body}`;
      if (kind === undefined || seen.has(write)) return 'pass';
      seen.add(write);
      const before = hits.get(kind) ?? 0;
      if (before >= most) return 'pass';
      hits.set(kind, before + 1);
      return fault;
    };
  }

  // All kinds in one run; in the long form also each kind alone.
  const choices: readonly (readonly Kind[])[] = LONG_FORM ? [KINDS, ...KINDS.map((kind) => [kind])] : [KINDS];
  for (const [fault, what] of [
    ['lose-answer', 'but breaks the connection'],
    ['withhold-answer', 'but does not answer in time'],
  ] as const) {
    for (const [index, kinds] of choices.entries()) {
      const which = kinds === KINDS ? '' : ` (${kinds.join()})`;
      it(`${what}, counts once and is not done again${which}`, async () => {
        const run = `${fault.slice(0, fault.indexOf('-'))}${index}`;
        const hits = new Map<Kind, number>();
        // Each withheld answer costs two seconds.
        const most = fault === 'lose-answer' || LONG_FORM ? Infinity : 5;
        demo.proxy.intercept = unanswered(kinds, fault, most, hits);
        const workload = new Workload(demo, oracle, run);
        await workload.perform();
        await settled(demo.proxy);
        await assertSameOutcome(demo, oracle, run, live);
        await workload.remove();
        await eventually(async () => {
          assert.deepEqual(await oracle.outcome(run), removed);
        });
        await oracle.assertNothingOpenedOrBroken();
        demo.proxy.intercept = () => 'pass';
        assert.deepEqual([...hits.keys()].sort(), [...kinds].sort(), 'kinds of writes without an answer');
      });
    }
  }
});

/** `namespace/name` of the object that a request is about, also of one that is to be created; of a list the namespace. */
function objectOf({ method, url, body }: ProxiedRequest): string {
  const [, namespace = '', name = ''] = /\/namespaces\/([^/]+)\/[^/]+(?:\/([^/]+))?/.exec(url.pathname) ?? [];
  return `${namespace}/${method === 'POST' ? (JSON.parse(body) as KubernetesObject).metadata.name : name}`;
}

function kindOf(request: ProxiedRequest): string {
  const subresource = request.url.pathname.endsWith('/status') ? '/status' : '';
  return `${request.method} ${resourceOf(request)}${subresource}`;
}

function isPolicyPatch(policy: string): (request: ProxiedRequest) => boolean {
  return ({ method, url }) => method === 'PATCH' && url.pathname.endsWith(`/baselinepolicies/${policy}`);
}

/** The resourceVersion that a write insists on. */
function revisionIn(request: ProxiedRequest | undefined): unknown {
  assert.ok(request !== undefined);
  const body: unknown = JSON.parse(request.body);
  switch (request.method) {
    case 'PATCH':
      return (body as { path: string; value: unknown }[]).find(({ path }) => path === '/metadata/resourceVersion')
        ?.value;
    case 'PUT':
      return (body as KubernetesObject).metadata.resourceVersion;
    default:
      return (body as { preconditions?: { resourceVersion?: string } }).preconditions?.resourceVersion;
  }
}

function assertKept({ metadata }: NetworkPolicy): void {
  const { labels = {}, annotations = {} } = metadata;
  assert.deepEqual({ team: labels['team'], note: annotations['team/note'] }, { team: 'a', note: 'ours' });
}
