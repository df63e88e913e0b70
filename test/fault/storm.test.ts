import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { childName } from '../../src/api/names.ts';
import { consistently, eventually } from '../support/await.ts';
import { conditionOf, DEFAULT_RULES, Demo, LABEL_SCENARIO, versions } from '../support/demo.ts';
import { isWatch, isWrite, resourceOf } from '../support/faults.ts';
import type { HistoryEvent } from '../support/history.ts';
import type { Namespace, Watch } from '../support/kube.ts';
import { LONG_FORM } from '../support/long-form.ts';
import { Oracle } from '../support/oracle.ts';
import { quiet } from '../support/workload.ts';

const STORM = 200;
const STORM_MS = 10_000;
/** Of these names, the first ones do not come back. */
const LOST = 50;
/** How soon after its creation a namespace is deleted: before it has any child, among its children, after the last. */
const LIVES_MS = [0, 5, 20, 60, 200, 1_000];

/** What is on its way to a namespace when that is deleted and created again may come to the new one; milliseconds. */
const LAG_MS = 2_000;

describe('A storm of namespaces that are created, deleted and created again', function () {
  this.timeout(LONG_FORM ? 400_000 : 180_000);
  let demo: Demo;
  let oracle: Oracle;

  before(async () => {
    // Namespaces go by the work of the kube-controller-manager.
    demo = await Demo.start({ faults: true, controlPlane: { controllerManager: true } });
    oracle = await Oracle.start(demo.kube, LAG_MS);
  });

  /** Watches that a test holds back, by resource; each is let go at its end, also when it fails. */
  let veils = new Map<string, PromiseWithResolvers<unknown>>();

  afterEach(() => {
    demo.proxy.intercept = () => 'pass';
    for (const veil of veils.values()) veil.resolve(undefined);
  });

  after(async () => {
    await oracle[Symbol.asyncDispose]();
    await demo.stop();
  });

  /** Creates a namespace, lets it live for a time and deletes it; resolves when it is gone. */
  async function live(watch: Watch<Namespace>, name: string, run: string, lifeMs: number): Promise<void> {
    await create(name, run);
    if (lifeMs > 0) await delay(lifeMs);
    await demo.kube.namespaces.delete(name);
    for await (const { type, object } of watch) {
      if (type === 'DELETED' && object.metadata.name === name) return;
    }
  }

  async function create(name: string, run: string): Promise<void> {
    await demo.kube.namespaces.create({ metadata: { name, labels: { [LABEL_SCENARIO]: run } } });
  }

  async function versionsIn(namespaces: readonly string[]): Promise<unknown[]> {
    return Promise.all(namespaces.map(async (namespace) => versions(await demo.children(namespace))));
  }

  /** What was created and deleted in a namespace since one of this name was last created. */
  function lastLife(events: readonly HistoryEvent[], namespace: string): HistoryEvent[] {
    const birth = events.findLast(
      ({ resource, name, type }) => resource === 'namespaces' && name === namespace && type === 'ADDED',
    );
    assert.ok(birth, namespace);
    return events.filter(
      (event) =>
        event.resource === 'networkpolicies' &&
        event.namespace === namespace &&
        event.type !== 'MODIFIED' &&
        event.revision > birth.revision,
    );
  }

  for (const run of LONG_FORM ? ['storm', 'gale', 'gust'] : ['storm']) {
    it(`leaves exactly their children in those that are there at the end (${run})`, async () => {
      const bystander = `bystander-of-${run}`;
      const bystanders = await demo.settled(bystander, 5);
      // Not selected, with objects that are named like children.
      const stranger = demo.name('stranger');
      await demo.kube.namespaces.create({ metadata: { name: stranger } });
      for (const rule of DEFAULT_RULES) {
        const name = childName(run, rule);
        await demo.kube.networkPolicies(stranger).create({ metadata: { name }, spec: { podSelector: {} } });
      }
      await demo.policy(run);
      await demo.compliant(run, 0);
      const before = await versionsIn([...bystanders, stranger]);
      const retriesBefore = await demo.operator.metric('workqueue_retries_total{name="namespace"}');
      const refused = new Map<string, number>();
      let created = 0;
      demo.proxy.intercept = (request) => {
        if (request.method === 'GET' || !isWrite(request, 'networkpolicies')) return 'pass';
        const namespace = request.url.pathname.split('/')[5] ?? '';
        return {
          onAnswer: (status) => {
            if (status >= 400) refused.set(namespace, (refused.get(namespace) ?? 0) + 1);
            else created++;
          },
        };
      };

      const { metadata } = await demo.kube.namespaces.page({ limit: 1 });
      using watch = await demo.kube.namespaces.watch({ resourceVersion: metadata.resourceVersion });
      const started = performance.now();
      const lives: Promise<void>[] = [];
      for (let n = 1; n <= STORM; n++) {
        const name = `${run}-${n}`;
        const lifeMs = LIVES_MS[n % LIVES_MS.length] ?? 0;
        lives.push(live(watch, name, run, lifeMs).then(() => (n > LOST ? create(name, run) : undefined)));
        await delay(Math.max(0, started + (n * STORM_MS) / STORM - performance.now()));
      }
      const stormMs = performance.now() - started;
      assert.ok(stormMs < 2 * STORM_MS, `the storm took ${stormMs} ms`);
      await Promise.all(lives);

      const left = STORM - LOST;
      await demo.compliant(run, left, { timeout: 60_000 });
      await quiet(demo.proxy, 10_000);
      const names = Array.from({ length: left }, (_, index) => `${run}-${LOST + 1 + index}`);
      for (const name of names) await demo.holds(name, run);
      assert.deepEqual(await versionsIn([...bystanders, stranger]), before);

      // Each child was made once for the namespace that is there, and none taken away.
      const events = await oracle.events(run);
      for (const name of names) {
        const life = lastLife(events, name);
        const made = life.map(({ type, name: child }) => `${type} ${child}`).sort();
        assert.deepEqual(made, DEFAULT_RULES.map((rule) => `ADDED ${childName(run, rule)}`).sort(), name);
      }
      await oracle.assertNothingOpenedOrBroken();

      // What comes too late for a namespace that is going is refused, and tried again until the operator knows: at most
      // two writes at a time, after 5 ms, 10 ms, 20 ms, … and in each of two lives.
      const refusals = [...refused.values()].reduce((sum, count) => sum + count, 0);
      assert.ok(refusals > 0, 'no write came too late: the storm was too mild');
      assert.ok(refusals <= 5 * STORM, `${refusals} writes were refused`);
      assert.ok(Math.max(...refused.values()) <= 2 * 2 * 12, JSON.stringify([...refused]));
      assert.ok(created <= DEFAULT_RULES.length * (STORM + left), `${created} children were written`);
      assert.deepEqual(
        demo.operator.log.filter(({ level }) => level === 'warn' || level === 'error'),
        [],
      );
      assert.deepEqual(await demo.drift(run), {});
      const { status } = await demo.kube.baselinePolicies.get(run);
      assert.equal(status?.drift?.detectedTotal, 0);

      // Nothing of the dead is left: not in the counts, not in the queues.
      const metrics = await demo.operator.metrics();
      const gauges = DEFAULT_RULES.map((rule) =>
        metrics.get(`baseline_policy_networkpolicies{policy="${run}",rule="${rule}"}`),
      );
      assert.deepEqual(gauges, [left, left, left]);
      await demo.reconciled(run, left);
      const retries = (metrics.get('workqueue_retries_total{name="namespace"}') ?? 0) - retriesBefore;
      assert.ok(retries <= refusals, `${retries} retries of ${refusals} refused writes`);
      const adds = 'workqueue_adds_total{name="namespace"}';
      await consistently(
        async () => {
          const now = await demo.operator.metrics();
          assert.equal(now.get('workqueue_depth{name="namespace"}'), 0);
          assert.equal(now.get('workqueue_depth{name="baselinepolicy"}'), 0);
          assert.equal(now.get(adds), metrics.get(adds));
        },
        { for: 1_000, interval: 200 },
      );
    });
  }

  it('is over for a namespace as soon as the API server takes it for the new one, and no longer for the old', async () => {
    const run = 'doubted';
    const known = await demo.settled(run, 2);
    let refusals = 0;
    let isBehind = true;
    // As its admission plugin NamespaceLifecycle answers by a cache that is behind.
    demo.proxy.intercept = (request) => {
      if (!isBehind || !isWrite(request, 'networkpolicies')) return 'pass';
      refusals++;
      const details = { causes: [{ reason: 'NamespaceTerminating', message: 'namespace is being terminated' }] };
      const body = {
        kind: 'Status',
        status: 'Failure',
        code: 403,
        reason: 'Forbidden',
        message: 'terminating',
        details,
      };
      return { status: 403, body };
    };
    const namespace = await demo.namespace(run);
    await demo.status(run, ({ namespaces, conditions }) => {
      assert.deepEqual(namespaces, { selected: 3, compliant: 2, drifted: 0, failed: 0, pending: 1 });
      assert.equal(conditionOf({ conditions: conditions ?? [] }, 'Ready')?.reason, 'RollingOut');
    });
    const behind = performance.now();
    isBehind = false;
    const refusedBefore = refusals;
    assert.ok(refusedBefore > 0);
    await demo.holds(namespace, run);
    await demo.compliant(run, known.length + 1);
    const behindMs = performance.now() - behind;
    assert.ok(behindMs < 10_000, `${behindMs} ms`);
    assert.ok(refusedBefore <= 2 * 12, `${refusedBefore} writes were refused`);
    assert.deepEqual(
      demo.operator.log.filter(({ level }) => level === 'warn' || level === 'error'),
      [],
    );
    assert.deepEqual(await demo.drift(run), {});
  });

  for (const [when, hidden] of [
    ['while it goes', ['namespaces']],
    ['when there is another one', ['namespaces', 'networkpolicies']],
    ['after there is another one', ['networkpolicies']],
  ] as const) {
    it(`takes no child for drift that went with its namespace, before that is told: seen ${when}`, async () => {
      const run = demo.name('veiled');
      const [namespace = ''] = await demo.settled(run, 2);
      const { uid } = (await demo.kube.namespaces.get(namespace)).metadata;
      veils = new Map(hidden.map((resource) => [resource as string, Promise.withResolvers<unknown>()]));
      const late = new Set<string>();
      demo.proxy.intercept = (request) => {
        const resource = resourceOf(request);
        if (!isWatch(request) || !veils.has(resource)) return 'pass';
        return {
          editLine: async (line) => {
            if (line.includes(namespace)) late.add(resource);
            await veils.get(resource)?.promise;
            return line;
          },
        };
      };
      const watching = demo.proxy.requests.length;
      demo.proxy.cut();
      await eventually(() => {
        const opened = demo.proxy.requests.slice(watching).filter((request) => isWatch(request));
        const watched = new Set(opened.map((request) => resourceOf(request)));
        for (const resource of ['baselinepolicies', 'namespaces', 'networkpolicies']) {
          assert.ok(watched.has(resource), resource);
        }
      });

      await demo.kube.namespaces.delete(namespace);
      await eventually(async () => {
        await assert.rejects(demo.kube.namespaces.get(namespace), { status: 404 });
      });
      await create(namespace, run);
      assert.notEqual((await demo.kube.namespaces.get(namespace)).metadata.uid, uid);
      // In this order, and the second not before the first has been dealt with.
      if (veils.has('namespaces')) veils.get('networkpolicies')?.resolve(undefined);
      if (veils.has('networkpolicies')) await demo.holds(namespace, run);
      for (const resource of hidden) veils.get(resource)?.resolve(undefined);
      await demo.compliant(run, 2);
      await demo.holds(namespace, run);
      assert.deepEqual(late, new Set(hidden));
      assert.deepEqual(await demo.drift(run), {});
      const { status } = await demo.kube.baselinePolicies.get(run);
      assert.equal(status?.drift?.detectedTotal, 0);
    });
  }
});
