import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { childName } from '../../src/api/names.ts';
import { eventually } from '../support/await.ts';
import { Demo, LABEL_SCENARIO } from '../support/demo.ts';
import { Inspector, type ProcessLevel } from '../support/inspector.ts';
import { StatusError } from '../support/kube.ts';
import { LONG_FORM } from '../support/long-form.ts';
import { Oracle } from '../support/oracle.ts';
import { FIRST_RULES, FIRST_SPEC } from '../support/workload.ts';

const MINUTE_MS = 60_000;
/** The first level is taken after so long, when caches of the engine are warm; the last one at the end. */
const [WARM_UP_MS, TOTAL_MS] = LONG_FORM ? [3 * MINUTE_MS, 30 * MINUTE_MS] : [30_000, 90_000];
const OPERATIONS_PER_SECOND = 20;
const NAMESPACES = 200;
/** How often the API server is restarted in between. */
const API_SERVER_RESTART_MS = LONG_FORM ? 5 * MINUTE_MS : 40_000;
/** A child that was fought over by chance is left alone for a minute or more. */
const SETTLE_TIMEOUT_MS = 5 * MINUTE_MS;
/** Two levels that are so far apart and alike are those of an operator at rest. */
const REST_MS = 5_000;
/** How far a level may be above the first one. */
const TOLERANCE = 0.1;
/** Bound of what an operator may act on that has just changed: the churn does not wait for it. */
const LAG_MS = 20_000;
const RUN = 'soak';

const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));

type Operation = 'edit' | 'delete' | 'label' | 'create' | 'remove' | 'annotate';

const operations = fc.record({
  operation: fc.oneof(
    { weight: 8, arbitrary: fc.constant<Operation>('edit') },
    { weight: 6, arbitrary: fc.constant<Operation>('delete') },
    { weight: 3, arbitrary: fc.constant<Operation>('label') },
    { weight: 1, arbitrary: fc.constant<Operation>('create') },
    { weight: 1, arbitrary: fc.constant<Operation>('remove') },
    { weight: 1, arbitrary: fc.constant<Operation>('annotate') },
  ),
  namespace: fc.nat(NAMESPACES - 1),
  rule: fc.constantFrom(...FIRST_RULES),
});

describe(`soak of ${TOTAL_MS / MINUTE_MS} minutes, seed ${SEED}`, function () {
  this.timeout(TOTAL_MS + 3 * SETTLE_TIMEOUT_MS);
  let demo: Demo;
  let oracle: Oracle;
  let inspector: Inspector;
  let created = 0;
  const extra = new Set<string>();

  before(async () => {
    demo = await Demo.start({
      controlPlane: { controllerManager: true },
      env: { NODE_OPTIONS: '--inspect=127.0.0.1:0', NODE_V8_COVERAGE: '' },
    });
    oracle = await Oracle.start(demo.kube, LAG_MS);
    for (let n = 0; n < NAMESPACES; n++) await createNamespace(`${RUN}-${n}`);
    await demo.policy(RUN, FIRST_SPEC);
    await demo.compliant(RUN, NAMESPACES, { timeout: 60_000 });
    // An operator that has started on what is there; then it runs to the end.
    await demo.restartOperator();
    // What is remembered up to a bound (series of Events, heals of each child) is remembered of all children from now on.
    await Promise.all(
      Array.from({ length: NAMESPACES }, async (_, n) => {
        for (const rule of FIRST_RULES) await operate({ operation: 'delete', namespace: n, rule });
      }),
    );
    inspector = await Inspector.connect(demo.operator.pid, demo.operator.stderr);
  });

  after(async () => {
    await inspector[Symbol.asyncDispose]();
    await oracle[Symbol.asyncDispose]();
    await demo.stop();
  });

  async function createNamespace(name: string): Promise<void> {
    await demo.kube.namespaces.create({ metadata: { name, labels: { [LABEL_SCENARIO]: RUN } } });
  }

  async function operate({ operation, namespace: n, rule }: { operation: Operation; namespace: number; rule: string }) {
    const namespace = `${RUN}-${n}`;
    const name = childName(RUN, rule);
    const networkPolicies = demo.kube.networkPolicies(namespace);
    switch (operation) {
      case 'edit': {
        const edit = () => networkPolicies.merge(name, { spec: { ingress: [{}] } });
        return rule === 'default-deny' ? oracle.tamper(namespace, name, edit) : edit();
      }
      case 'delete':
        return oracle.tamper(namespace, name, () => networkPolicies.delete(name));
      case 'label': {
        const { metadata } = await demo.kube.namespaces.get(namespace);
        const isIn = metadata.labels?.[LABEL_SCENARIO] === RUN;
        return demo.label(namespace, { [LABEL_SCENARIO]: isIn ? null : RUN });
      }
      case 'create': {
        const fresh = `${RUN}-x${++created}`;
        await createNamespace(fresh);
        extra.add(fresh);
        return;
      }
      case 'remove': {
        const [oldest] = extra;
        if (oldest === undefined) return;
        extra.delete(oldest);
        return demo.kube.namespaces.delete(oldest);
      }
      case 'annotate':
        return demo.kube.namespaces.merge(namespace, { metadata: { annotations: { churn: String(created) } } });
    }
  }

  /** Random operations at a steady rate for a time; those that the API server refuses count too. Says how many. */
  async function churn(ms: number, random: ArrayIterator<Parameters<typeof operate>[0]>): Promise<number> {
    let done = 0;
    let restartAt = performance.now() + API_SERVER_RESTART_MS;
    const started = performance.now();
    while (performance.now() < started + ms) {
      if (performance.now() > restartAt) {
        await demo.controlPlane.restartAPIServer('SIGKILL');
        restartAt = performance.now() + API_SERVER_RESTART_MS;
      }
      const next = random.next();
      assert.ok(next.done !== true, 'more operations than were drawn');
      try {
        await operate(next.value);
      } catch (error) {
        // A child that is not there can be neither edited nor deleted.
        if (!(error instanceof StatusError) || error.status !== 404) throw error;
      }
      done++;
      const ahead = started + (done / OPERATIONS_PER_SECOND) * 1000 - performance.now();
      if (ahead > 0) await delay(ahead);
    }
    return done;
  }

  /** Ends the churn: the same namespaces as at first, all selected, all right. Then what the operator holds. */
  async function settle(): Promise<ProcessLevel> {
    for (const name of extra) await demo.kube.namespaces.delete(name);
    extra.clear();
    for (let n = 0; n < NAMESPACES; n++) await demo.label(`${RUN}-${n}`, { [LABEL_SCENARIO]: RUN });
    await eventually(
      async () => {
        const names = (await demo.kube.namespaces.list()).map(({ metadata }) => metadata.name);
        assert.deepEqual(
          names.filter((name) => name.startsWith(`${RUN}-x`)),
          [],
        );
      },
      { timeout: SETTLE_TIMEOUT_MS, interval: 500 },
    );
    await demo.compliant(RUN, NAMESPACES, { timeout: SETTLE_TIMEOUT_MS, interval: 500 });
    // What the churn left to be done later (Events, back-off of children that were fought over) ends by itself.
    let before = await inspector.level();
    return eventually(
      async () => {
        await delay(REST_MS);
        const level = await inspector.level();
        const changed = [level.timers - before.timers, level.fileDescriptors - before.fileDescriptors];
        before = level;
        assert.deepEqual(changed, [0, 0], 'timers and file descriptors still change');
        return level;
      },
      { timeout: SETTLE_TIMEOUT_MS },
    );
  }

  it('ends converged, and holds no more than in the beginning', async () => {
    // Without bias: a few namespaces that are hit all the time would be fought over.
    const random = fc.sample(fc.noBias(operations), { numRuns: 100_000, seed: SEED })[Symbol.iterator]();
    await churn(WARM_UP_MS, random);
    const first = await settle();
    const done = await churn(TOTAL_MS - WARM_UP_MS, random);
    await settle();

    const least = ((TOTAL_MS - WARM_UP_MS) / 1000) * OPERATIONS_PER_SECOND * 0.8;
    assert.ok(done > least, `expected more than ${least} operations, got ${done}`);
    const last = await eventually(
      async () => {
        const level = await inspector.level();
        for (const key of ['fileDescriptors', 'timers', 'entries', 'heap'] as const) {
          const story = JSON.stringify({ seed: SEED, done, first, level });
          assert.ok(level[key] <= first[key] * (1 + TOLERANCE), `${key} is above what it was: ${story}`);
        }
        return level;
      },
      { timeout: 2 * MINUTE_MS, interval: REST_MS },
    );
    console.log(`      ${JSON.stringify({ seed: SEED, done, first, last })}`);
    for (let n = 0; n < NAMESPACES; n++) await demo.holds(`${RUN}-${n}`, RUN, FIRST_RULES);
    const outcome = await oracle.outcome(RUN);
    const specs = new Map<string, Set<string>>();
    for (const [key, child] of Object.entries(outcome.networkPolicies)) {
      const rule = key.slice(key.indexOf('.') + 1);
      specs.set(rule, (specs.get(rule) ?? new Set()).add(JSON.stringify((child as { spec: unknown }).spec)));
    }
    assert.deepEqual(
      [...specs].map(([rule, texts]) => [rule, texts.size]).sort(),
      FIRST_RULES.map((rule) => [rule, 1]),
    );
    await oracle.assertNothingOpenedOrBroken();
    assert.deepEqual(
      demo.operator.log.filter(({ level }) => level === 'error'),
      [],
    );
  });
});
