import assert from 'node:assert/strict';
import type { ControlPlane } from '../../hack/envtest/control-plane.ts';
import { childName } from '../../src/api/names.ts';
import { consistently, eventually } from '../support/await.ts';
import { Demo, LABEL_SCENARIO } from '../support/demo.ts';
import type { Intercept } from '../support/fault-proxy.ts';
import { expired, isList, isWatch, isWrite, resourceOf, type Watched } from '../support/faults.ts';
import { LONG_FORM } from '../support/long-form.ts';
import { Oracle, type Outcome } from '../support/oracle.ts';
import { assertSameOutcome, FIRST_SPEC, quiet, Workload } from '../support/workload.ts';

const RUN = 'past';
const WATCHED: readonly Watched[] = ['baselinepolicies', 'namespaces', 'networkpolicies'];
/** How long the operator reads what is old, after it has begun to; milliseconds. */
const PAST_MS = 2_000;
/** More writes than an API server makes by itself in some minutes. */
const REVISIONS_OF_THE_PAST = 500;
/** Longer than the tests take: what was true at any time of theirs. */
const ALL_THE_TIME_MS = 3_600_000;

/** Resources whose reads go to the older API server, together. */
const TRAVELS: readonly (readonly Watched[])[] = LONG_FORM
  ? [WATCHED, ...WATCHED.map((one) => [one]), ...WATCHED.map((one) => WATCHED.filter((other) => other !== one))]
  : [WATCHED, ['namespaces'], ['networkpolicies']];

describe('an older API server', function () {
  this.timeout(180_000);
  let demo: Demo;
  /** Judges by what is. */
  let oracle: Oracle;
  /** Judges by what was at any time, as befits an operator that has only ever seen what was. */
  let lenient: Oracle;
  /** Serves what was when the policy did not want allow-same-namespace, and other things were otherwise; see below. */
  let past: ControlPlane;
  /** What is, before each test and after it. */
  let present: Outcome;

  const namespace = (n: number): string => `${RUN}-${n}`;
  const child = (rule: string): string => childName(RUN, rule);

  before(async () => {
    demo = await Demo.start({ faults: true });
    [oracle, lenient] = await Promise.all([Oracle.start(demo.kube), Oracle.start(demo.kube, ALL_THE_TIME_MS)]);
    const workload = new Workload(demo, oracle, RUN);
    const { kube } = demo;
    await workload.fill(8);
    await demo.operator.stop();

    // Whoever believes that this is the present has something to create, to change, to mend and to delete.
    await demo.change(RUN, { rules: { allowSameNamespace: { enabled: false } } });
    await tamper(1, 'default-deny', () =>
      kube.networkPolicies(namespace(1)).merge(child('default-deny'), { spec: { ingress: [{}] } }),
    );
    await kube.networkPolicies(namespace(2)).merge(child('allow-monitoring'), { metadata: { labels: null } });
    await tamper(3, 'allow-dns', () => kube.networkPolicies(namespace(3)).delete(child('allow-dns')));
    for (const n of [4, 5]) await demo.optOut(namespace(n));
    await createNamespace(9);
    past = await demo.controlPlane.fork();
    await leaveBehind();

    // None of its wishes is right any more. The namespace 5 was never without its children; they were touched.
    await optIn(5);
    for (const name of (await demo.children(namespace(5))).keys()) {
      await kube.networkPolicies(namespace(5)).merge(name, { metadata: { annotations: { touched: 'yes' } } });
    }
    await demo.startOperator();
    await workload.compliant(8);
    await demo.holds(namespace(4), RUN, []);
    await demo.change(RUN, { rules: { ...FIRST_SPEC.rules, allowMonitoring: { ports: [{ port: 9090 }] } } });
    await optIn(4);
    await demo.optOut(namespace(9));
    await createNamespace(10);
    await demo.holds(namespace(9), RUN, []);
    await workload.compliant(9);
    await eventually(() => quiet(demo.proxy, 3_000), { timeout: 30_000 });
    present = await oracle.outcome(RUN);
  });

  // One that has seen the present, and has not had to wait for anything.
  beforeEach(async () => {
    await demo.restartOperator();
  });

  afterEach(() => {
    demo.proxy.intercept = () => 'pass';
  });

  after(async () => {
    await Promise.all([oracle[Symbol.asyncDispose](), lenient[Symbol.asyncDispose]()]);
    await demo.stop();
    await past.stop();
  });

  for (const resources of TRAVELS) {
    it(`changes nothing when it watches ${naming(resources)} on it`, async () => {
      const watched = new Set<string>();
      travel(resources, (request) => {
        if (isWatch(request)) watched.add(resourceOf(request));
        return 'pass';
      });
      demo.proxy.cut();
      await eventually(() => {
        assert.deepEqual([...watched].sort(), resources);
      });
      await assertUnmoved(resources);
      await assertReturn();
    });
  }

  for (const resources of TRAVELS) {
    it(`refuses to list ${naming(resources)} on it, and changes nothing`, async () => {
      const listed = new Map<string, number>();
      travel(resources, (request) => {
        const resource = resourceOf(request);
        if (isList(request)) listed.set(resource, (listed.get(resource) ?? 0) + 1);
        return isWatch(request) ? expired() : 'pass';
      });
      demo.proxy.cut();
      await eventually(async () => {
        for (const resource of resources) assert.ok((listed.get(resource) ?? 0) >= 2, resource);
        const ready = await fetch(`${demo.operator.url('health')}/readyz?verbose`);
        assert.equal(ready.status, 500);
        const text = await ready.text();
        for (const resource of resources) {
          assert.match(text, new RegExp(`cache-${resource} failed: .*the API server lags behind`));
        }
      });
      await assertUnmoved(resources);
      await assertReturn();
    });
  }

  /** What a child is deleted for, and how it is taken back before anything was deleted. */
  const reasons: readonly { what: Watched; give: () => Promise<unknown>; takeBack: () => Promise<unknown> }[] = [
    { what: 'namespaces', give: () => demo.optOut(namespace(6)), takeBack: () => optIn(6) },
    {
      what: 'baselinepolicies',
      give: () => demo.change(RUN, { rules: { defaultDeny: { enabled: false } } }),
      takeBack: () => demo.change(RUN, { rules: { defaultDeny: { enabled: true } } }),
    },
  ];
  for (const { what, give, takeBack } of reasons) {
    it(`deletes nothing for what the watch of ${what} has not told yet is over`, async () => {
      const before = await versions();
      const told = Promise.withResolvers<undefined>();
      let tries = 0;
      let isHeld = false;
      let mayPassFrom = Number.POSITIVE_INFINITY;
      demo.proxy.intercept = (request) => {
        if (isWatch(request, what)) {
          return {
            editLine: async (line) => {
              if (isHeld) await told.promise;
              return line;
            },
          };
        }
        if (request.method !== 'DELETE' || !isWrite(request, 'networkpolicies')) return 'pass';
        tries++;
        return request.at > mayPassFrom ? 'pass' : 'reset';
      };
      demo.proxy.cut();
      await give();
      await eventually(() => {
        assert.ok(tries > 0);
      });
      isHeld = true;
      await takeBack();
      // What was on its way then was right to be sent.
      mayPassFrom = performance.now() + 1_000;
      await consistently(
        async () => {
          assert.deepEqual(await versions(), before);
        },
        { for: 1_000 + PAST_MS, interval: 100 },
      );
      told.resolve(undefined);
      await demo.compliant(RUN, 9);
      assert.deepEqual(await versions(), before);
      await oracle.assertNothingOpenedOrBroken();
    });
  }

  it('overwrites and deletes nothing when it is started on it, which has no memory of the present', async () => {
    const before = await versions();
    const end = await oracle.outcome(RUN);
    await demo.operator.stop();
    const answers = new Set<string>();
    const created = new Set<string>();
    const assertRefused = (): void => {
      assert.deepEqual([...answers].sort(), ['DELETE 409', 'PATCH 409', 'POST 409', 'PUT 409']);
    };
    travel(WATCHED, async (request) => {
      // The answer to a write of the status tells the present spec: not before all is tried that the old one asks for.
      if (isWrite(request, 'baselinepolicies')) await eventually(assertRefused);
      if (!isWrite(request, 'networkpolicies')) return 'pass';
      const { method, url } = request;
      const isMistaken = url.pathname.includes(`/${namespace(9)}/`);
      return { onAnswer: (status) => (isMistaken ? created : answers).add(`${method} ${status}`) };
    });
    await demo.startOperator();
    await eventually(assertRefused);
    // A new object has no UID and no resourceVersion to insist on: this is not promised.
    await eventually(() => {
      assert.ok(created.has('POST 201'));
    });
    await consistently(
      async () => {
        assertRefused();
        assert.deepEqual(withoutNamespace(9, await versions()), before);
      },
      { for: PAST_MS, interval: 100 },
    );

    demo.proxy.intercept = () => 'pass';
    demo.proxy.cut();
    await demo.holds(namespace(9), RUN, [], { timeout: 30_000 });
    assert.deepEqual(await versions(), before);
    await assertSameOutcome(demo, lenient, RUN, end, { counts: true, driftTotals: true });
  });

  /**
   * Writes until resourceVersions are beyond those that the older API server still gives to its own Lease in the time of
   * these tests: no resourceVersion of the past may mean something in the present.
   */
  async function leaveBehind(): Promise<void> {
    const configMaps = demo.kube.resource('v1', 'configmaps', 'default');
    const ahead = (await past.etcdRevision()) - (await demo.controlPlane.etcdRevision());
    await Promise.all(
      Array.from({ length: Math.max(0, ahead) + REVISIONS_OF_THE_PAST }, (_, n) =>
        configMaps.create({ metadata: { name: `revision-${n}` } }),
      ),
    );
  }

  /** Sends the reads of these resources to the older API server, unless something else shall happen to them. */
  function travel(resources: readonly string[], decide: Intercept): void {
    demo.proxy.intercept = async (request) => {
      if (request.method !== 'GET') return decide(request);
      if (!resources.includes(resourceOf(request))) return 'pass';
      const fault = await decide(request);
      return fault === 'pass' ? { server: past.server } : fault;
    };
  }

  /**
   * Gives the operator cause to look at each namespace, as far as it sees that, lets a tenant delete a child, and fails
   * when any other child does not stay what it is.
   */
  async function assertUnmoved(resources: readonly string[]): Promise<void> {
    const before = await versions();
    const since = demo.proxy.requests.length;
    for (let n = 1; n <= 10; n++) await demo.label(namespace(n), { seen: String(since) });
    await tamper(7, 'allow-dns', () => demo.kube.networkPolicies(namespace(7)).delete(child('allow-dns')));
    const deleted = `${namespace(7)}/${child('allow-dns')}`;
    before.delete(deleted);
    await consistently(
      async () => {
        const now = await versions();
        now.delete(deleted);
        assert.deepEqual(now, before);
      },
      { for: PAST_MS, interval: 100 },
    );
    const writes = demo.proxy.requests.slice(since).filter((request) => isWrite(request, 'networkpolicies'));
    const heals = resources.includes('networkpolicies') ? [] : ['POST'];
    assert.deepEqual(
      writes.map(({ method }) => method),
      heals,
    );
  }

  /** Lets the operator read what is, and fails unless it heals what was done meanwhile, and nothing was wrong. */
  async function assertReturn(): Promise<void> {
    demo.proxy.intercept = () => 'pass';
    demo.proxy.cut();
    await eventually(
      async () => {
        assert.deepEqual((await oracle.outcome(RUN)).networkPolicies, present.networkPolicies);
      },
      { timeout: 30_000, interval: 100 },
    );
    await eventually(() => demo.operator.ready(), { timeout: 30_000 });
    await demo.compliant(RUN, 9);
    await oracle.assertNothingOpenedOrBroken();
  }

  async function tamper(n: number, rule: string, act: () => Promise<unknown>): Promise<void> {
    await lenient.tamper(namespace(n), child(rule), () => oracle.tamper(namespace(n), child(rule), act));
  }

  async function createNamespace(n: number): Promise<void> {
    await demo.kube.namespaces.create({ metadata: { name: namespace(n), labels: { [LABEL_SCENARIO]: RUN } } });
  }

  async function optIn(n: number): Promise<void> {
    await demo.label(namespace(n), { [LABEL_SCENARIO]: RUN });
  }

  /** UID and resourceVersion of each NetworkPolicy there is, by namespace and name. */
  async function versions(): Promise<Map<string, string>> {
    const children = await demo.kube.networkPolicies().list();
    return new Map(
      children
        .filter(({ metadata }) => metadata.namespace !== 'default')
        .map(({ metadata: { namespace: where = '', name, uid = '', resourceVersion = '' } }) => {
          return [`${where}/${name}`, `${uid}@${resourceVersion}`];
        }),
    );
  }

  function withoutNamespace(n: number, all: ReadonlyMap<string, string>): Map<string, string> {
    return new Map([...all].filter(([key]) => !key.startsWith(`${namespace(n)}/`)));
  }
});

function naming(resources: readonly string[]): string {
  return resources.length === WATCHED.length ? 'all' : resources.join(' and ');
}
