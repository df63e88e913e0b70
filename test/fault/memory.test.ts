import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { API_VERSION, KIND } from '../../src/api/baselinepolicy.ts';
import { eventually } from '../support/await.ts';
import { Demo, LABEL_SCENARIO } from '../support/demo.ts';
import { isWrite } from '../support/faults.ts';
import { OperatorProcess } from '../support/operator.ts';
import { Oracle } from '../support/oracle.ts';
import { FIRST_RULES, FIRST_SPEC } from '../support/workload.ts';

/** Beside other tests all takes several times as long; milliseconds. */
const TIMEOUT_MS = 240_000;

/** Most memory that an operator with a heap of 128 MB may ever have resident; megabytes. */
const MAX_RESIDENT_MB = 256;

describe('an operator with little memory', function () {
  this.timeout(600_000);
  let demo: Demo;
  let oracle: Oracle;

  before(async () => {
    demo = await Demo.start({ faults: true });
    assert.equal(await demo.operator.stop(), 0);
    oracle = await Oracle.start(demo.kube);
  });

  after(async () => {
    await oracle[Symbol.asyncDispose]();
    await demo.stop();
  });

  it('fills 2,000 namespaces and finds them right after a restart with a heap of 128 MB', async () => {
    const count = 2_000;
    await createNamespaces('capped', count);
    await demo.policy('capped', FIRST_SPEC);
    await using first = await startWithHeap(128);
    await demo.compliant('capped', count, { timeout: TIMEOUT_MS, interval: 200 });
    await assertEachCreatedOnce('capped', count);
    assertResidentWithin(MAX_RESIDENT_MB, first);
    assert.equal(await first.stop(), 0);
    assert.equal(first.stderr, '');

    const before = (await oracle.events('capped')).length;
    await using second = await startWithHeap(128);
    await eventually(
      async () => {
        const compliant = await second.metric('baseline_policy_namespaces{policy="capped",state="compliant"}');
        assert.equal(compliant, count);
      },
      { timeout: TIMEOUT_MS },
    );
    assertResidentWithin(MAX_RESIDENT_MB, second);
    assert.equal(await second.stop(), 0);
    assert.equal(second.stderr, '');
    assert.equal((await oracle.events('capped')).length, before, 'changes by an operator that found all right');
  });

  it('says what it died of when its heap is full in the midst of a fill, and another one with more goes on', async () => {
    const count = 100;
    await createNamespaces('starved', count);
    // The fill takes longer than the heap lasts.
    demo.proxy.intercept = (request) => (isWrite(request, 'networkpolicies') ? { delayMs: 250 } : 'pass');
    await using first = await startWithHeap(56, '--concurrency=1');
    await demo.policy('starved', FIRST_SPEC);
    await eventually(
      async () => {
        assert.ok((await created('starved')) >= FIRST_RULES.length);
      },
      { timeout: TIMEOUT_MS },
    );
    const exited = first.exited();
    await createLargePoliciesUntil(exited);
    assert.equal(await exited, null, 'the operator ended by itself');
    assert.match(first.stderr, /^FATAL ERROR: .*JavaScript heap out of memory$/m);
    const done = await created('starved');
    assert.ok(done < count * FIRST_RULES.length, 'the heap was full too late to be in the midst');

    demo.proxy.intercept = () => 'pass';
    await demo.startOperator();
    await demo.compliant('starved', count, { timeout: TIMEOUT_MS, interval: 200 });
    await assertEachCreatedOnce('starved', count);
    assert.equal(demo.operator.stderr, '');
  });

  /** An operator whose JavaScript heap may grow to so many megabytes. */
  async function startWithHeap(megabytes: number, ...flags: string[]): Promise<OperatorProcess> {
    const env = { NODE_OPTIONS: `--max-old-space-size=${megabytes}` };
    return OperatorProcess.start({ kubeconfig: demo.proxy.kubeconfig, flags, env });
  }

  /** Namespaces of a scenario; the client sends 32 requests at a time. */
  async function createNamespaces(scenario: string, count: number): Promise<void> {
    const names = Array.from({ length: count }, (_, index) => `${scenario}-${index + 1}`);
    const labels = { [LABEL_SCENARIO]: scenario };
    await Promise.all(names.map((name) => demo.kube.namespaces.create({ metadata: { name, labels } })));
  }

  /**
   * Creates BaselinePolicies that select nothing and take half a megabyte each in the cache of an operator, two bytes
   * for each character as one is not of Latin-1, until it has ended.
   */
  async function createLargePoliciesUntil(exited: Promise<unknown>): Promise<void> {
    const end = { seen: false };
    void exited.then(() => {
      end.seen = true;
    });
    const annotations = { 'test/large': `ł${'x'.repeat(250_000)}` };
    for (let n = 1; !end.seen; n++) {
      assert.ok(n <= 400, 'expected the heap to be full of fewer BaselinePolicies');
      const metadata = { name: `large-${n}`, annotations };
      await demo.kube.baselinePolicies.create({ apiVersion: API_VERSION, kind: KIND, metadata, spec: {} });
    }
  }

  /** How many children a watcher has seen created in the namespaces of a scenario. */
  async function created(scenario: string): Promise<number> {
    const events = await oracle.events(scenario);
    return events.filter(({ resource, type }) => resource === 'networkpolicies' && type === 'ADDED').length;
  }

  async function assertEachCreatedOnce(scenario: string, count: number): Promise<void> {
    const { counts } = await oracle.outcome(scenario);
    assert.equal(Object.keys(counts).length, count * FIRST_RULES.length);
    const others = Object.entries(counts).filter(([, { added, deleted }]) => added !== 1 || deleted !== 0);
    assert.deepEqual(others, [], 'children that were not created exactly once');
    await oracle.assertNothingOpenedOrBroken();
  }
});

/** Fails when the process has ever had more memory resident, as Linux tells it; megabytes. */
function assertResidentWithin(limit: number, { pid }: OperatorProcess): void {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const peak = Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)?.[1]) / 1024;
  if (process.env['F1']) console.log({ peak });
  assert.ok(peak < limit, `expected a peak below ${limit} MB, got ${Math.round(peak)} MB`);
}
