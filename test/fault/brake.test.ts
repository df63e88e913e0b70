import assert from 'node:assert/strict';
import { childName } from '../../src/api/names.ts';
import { consistently, eventually } from '../support/await.ts';
import { conditionOf, Demo, LABEL_SCENARIO, versions } from '../support/demo.ts';
import { isWrite } from '../support/faults.ts';
import type { NetworkPolicyEvent } from '../support/history.ts';
import { LONG_FORM } from '../support/long-form.ts';
import type { OperatorProcess } from '../support/operator.ts';
import { Oracle } from '../support/oracle.ts';
import { ELECTION_FLAGS } from '../support/service-account.ts';
import { quiet } from '../support/workload.ts';

const NAMESPACES = 12;
const CHILDREN = 3 * NAMESPACES;
const SELECTOR = '/spec/namespaceSelector';
const APPROVAL = 'baselinepolicy.dev/approve-deletion-of-generation';
/** As the defaults, but a fifth of their times. */
const ELECTION = [
  ...ELECTION_FLAGS,
  '--leader-election-lease-duration=3s',
  '--leader-election-renew-deadline=2s',
  '--leader-election-retry-period=400ms',
];

/** A selector by the label of a scenario. */
function selecting(scenario: string): { matchLabels: Record<string, string> } {
  return { matchLabels: { [LABEL_SCENARIO]: scenario } };
}

describe('A selector that suddenly matches nothing', function () {
  this.timeout(LONG_FORM ? 300_000 : 120_000);
  let demo: Demo;
  let oracle: Oracle;

  before(async () => {
    demo = await Demo.start({ faults: true });
    oracle = await Oracle.start(demo.kube);
  });

  after(async () => {
    await oracle[Symbol.asyncDispose]();
    await demo.stop();
  });

  afterEach(async () => {
    demo.proxy.intercept = () => 'pass';
    await demo.remove();
    await oracle.assertNothingOpenedOrBroken();
  });

  /** All children of some namespaces, by namespace and name, with their versions. */
  async function childrenOf(namespaces: readonly string[]): Promise<Record<string, Record<string, string>>> {
    const entries = namespaces.map(async (name) => [name, versions(await demo.children(name))] as const);
    return Object.fromEntries(await Promise.all(entries));
  }

  /** Resolves when the status says that the deletions of the present generation are held. */
  async function isHeld(policy: string, count = CHILDREN): Promise<void> {
    await demo.status(
      policy,
      (status) => {
        assert.equal(conditionOf(status, 'DeletionHeld')?.status, 'True', JSON.stringify(status.conditions));
        const message = conditionOf(status, 'DeletionHeld')?.message ?? '';
        assert.ok(message.includes(`would delete ${count} of ${count} NetworkPolicies`), message);
      },
      { timeout: 30_000 },
    );
  }

  /** Resolves when this operator itself holds the deletions, and not only the status of an earlier one. */
  async function holds(operator: OperatorProcess, policy: string): Promise<void> {
    await eventually(
      async () => {
        assert.equal(await operator.metric(`baseline_policy_deletion_held{policy="${policy}"}`), 1);
      },
      { timeout: 30_000 },
    );
  }

  async function approve(policy: string): Promise<void> {
    const { metadata } = await demo.kube.baselinePolicies.get(policy);
    const annotations = { [APPROVAL]: String(metadata.generation) };
    await demo.kube.baselinePolicies.merge(policy, { metadata: { annotations } });
  }

  /** The children of a run that went, in their order. */
  async function gone(run: string): Promise<NetworkPolicyEvent[]> {
    const events = await oracle.events(run);
    return events.flatMap((event) => (event.resource === 'networkpolicies' && event.type === 'DELETED' ? [event] : []));
  }

  async function assertDenyWentFirst(run: string, namespaces: readonly string[]): Promise<void> {
    const events = await gone(run);
    for (const namespace of namespaces) {
      const first = events.find((event) => event.namespace === namespace);
      assert.equal(first?.name, childName(run, 'default-deny'), namespace);
    }
  }

  /**
   * Lets a number of writes of these pass, and then neither any write nor its answer: what the operator does after that
   * is not done.
   */
  function stopAfter(count: number, method: string, ...resources: string[]): Promise<undefined> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    let left = count;
    let committed = 0;
    demo.proxy.intercept = (request) => {
      if (!isWrite(request, 'networkpolicies', 'baselinepolicies')) return 'pass';
      if (left === 0) return 'reset';
      if (request.method !== method || !isWrite(request, ...resources)) return 'pass';
      left--;
      return {
        onAnswer: () => {
          if (++committed === count) resolve(undefined);
        },
      };
    };
    return promise;
  }

  it('by whatever mistake deletes nothing', async () => {
    const mistakes: Record<string, (policy: string) => object[]> = {
      value: (policy) => [{ op: 'replace', path: SELECTOR, value: selecting(`${policy}x`) }],
      key: (policy) => [{ op: 'replace', path: SELECTOR, value: { matchLabels: { [`${LABEL_SCENARIO}x`]: policy } } }],
      empty: () => [{ op: 'replace', path: SELECTOR, value: selecting('') }],
      // The default selects by another label.
      missing: () => [{ op: 'remove', path: SELECTOR }],
      excluded: (policy) => [
        {
          op: 'add',
          path: '/spec/excludedNamespaces',
          value: Array.from({ length: NAMESPACES }, (_, index) => `${policy}-${index + 1}`),
        },
      ],
    };
    const runs = await Promise.all(
      Object.entries(mistakes).map(async ([name, operations]) => {
        const namespaces = Array.from({ length: NAMESPACES }, (_, index) => `${name}-${index + 1}`);
        for (const namespace of namespaces) {
          await demo.kube.namespaces.create({ metadata: { name: namespace, labels: { [LABEL_SCENARIO]: name } } });
        }
        await demo.policy(name);
        await demo.compliant(name, NAMESPACES);
        return { name, namespaces, operations: operations(name), before: await childrenOf(namespaces) };
      }),
    );
    await Promise.all(runs.map(({ name, operations }) => demo.kube.baselinePolicies.patch(name, operations)));
    await Promise.all(runs.map(({ name }) => isHeld(name)));
    await quiet(demo.proxy, 2_500);
    for (const { namespaces, before } of runs) assert.deepEqual(await childrenOf(namespaces), before);
  });

  it('is held from the crash of the operator on, whenever that comes, and by each leader that follows', async () => {
    await demo.restartOperator(ELECTION);
    const policy = demo.name('held');
    const namespaces = await demo.settled(policy, NAMESPACES);
    await demo.compliant(policy, NAMESPACES);
    const before = await childrenOf(namespaces);

    // Killed before anything could say that the deletions are held.
    demo.proxy.intercept = (request) => (isWrite(request, 'baselinepolicies') ? 'reset' : 'pass');
    await demo.change(policy, { namespaceSelector: selecting('nobody') });
    await holds(demo.operator, policy);
    await demo.killOperator();
    const { status } = await demo.kube.baselinePolicies.get(policy);
    assert.equal(conditionOf(status, 'DeletionHeld'), undefined, 'the status was written in spite of the fault');
    demo.proxy.intercept = () => 'pass';
    await demo.startOperator(ELECTION);
    await holds(demo.operator, policy);
    await isHeld(policy);
    assert.deepEqual(await childrenOf(namespaces), before);

    // Killed when the status says so; a follower with warm caches takes over.
    await using follower = await demo.startAnotherOperator(ELECTION);
    assert.equal(
      follower.log.some(({ msg }) => msg === 'Became leader'),
      false,
    );
    await demo.killOperator();
    await follower.logged('Became leader', 30_000);
    await holds(follower, policy);

    // And once more after the spec has changed in another field, which makes another generation of the same selector.
    await demo.change(policy, { description: 'edited while held' });
    await isHeld(policy);
    assert.equal(await follower.stop(), 0);
    await demo.startOperator();
    await holds(demo.operator, policy);
    await quiet(demo.proxy, 2_500);
    assert.deepEqual(await childrenOf(namespaces), before);

    await demo.change(policy, { namespaceSelector: selecting(policy), description: '' });
    const { status: restored } = await demo.compliant(policy, NAMESPACES);
    assert.equal(conditionOf(restored, 'DeletionHeld'), undefined);
    assert.deepEqual(await childrenOf(namespaces), before);
    assert.deepEqual(await gone(policy), []);
  });

  it('and is approved goes in order, also through a crash in the midst of the deletions', async () => {
    for (const deletes of LONG_FORM ? [1, 2, NAMESPACES, NAMESPACES + 2, CHILDREN - 1] : [NAMESPACES + 2]) {
      const policy = demo.name('approved');
      const namespaces = await demo.settled(policy, NAMESPACES);
      await demo.change(policy, { namespaceSelector: selecting('nobody') });
      await isHeld(policy);
      const stopped = stopAfter(deletes, 'DELETE', 'networkpolicies');
      await approve(policy);
      await stopped;
      await demo.killOperator();
      assert.equal((await gone(policy)).length, deletes);
      demo.proxy.intercept = () => 'pass';
      await demo.startOperator();
      for (const name of namespaces) await demo.holds(name, policy, [], { timeout: 30_000 });
      await demo.compliant(policy, 0);
      assert.equal((await gone(policy)).length, CHILDREN);
      await assertDenyWentFirst(policy, namespaces);
    }
  });

  it('and was approved for an earlier generation is held again when an operator crashed in the midst', async () => {
    const policy = demo.name('revoked');
    const namespaces = await demo.settled(policy, NAMESPACES);
    await demo.change(policy, { namespaceSelector: selecting('nobody') });
    await isHeld(policy);
    const stopped = stopAfter(3, 'DELETE', 'networkpolicies');
    await approve(policy);
    await stopped;
    await demo.killOperator();
    demo.proxy.intercept = () => 'pass';
    const left = await childrenOf(namespaces);
    // Somebody saw what happens, and made another mistake in haste.
    await demo.change(policy, { namespaceSelector: selecting('nobody-either') });
    await demo.startOperator();
    await isHeld(policy, CHILDREN - 3);
    await quiet(demo.proxy, 2_500);
    assert.deepEqual(await childrenOf(namespaces), left);
    assert.equal((await gone(policy)).length, 3);
    await demo.change(policy, { namespaceSelector: selecting(policy) });
    await demo.compliant(policy, NAMESPACES);
    for (const name of namespaces) await demo.holds(name, policy);
  });

  it('holds nothing up when all namespaces lose their label, one by one: that is no change of the selector', async () => {
    const policy = demo.name('labels');
    const namespaces = await demo.settled(policy, NAMESPACES);
    await demo.compliant(policy, NAMESPACES);
    for (const name of namespaces.slice(0, 6)) await demo.optOut(name);
    for (const name of namespaces.slice(0, 6)) await demo.holds(name, policy, []);
    await demo.compliant(policy, 6);
    // The rest while nobody looks.
    await demo.killOperator();
    for (const name of namespaces.slice(6)) await demo.optOut(name);
    await demo.startOperator();
    for (const name of namespaces) await demo.holds(name, policy, [], { timeout: 30_000 });
    await assertDenyWentFirst(policy, namespaces);
    await demo.compliant(policy, 0);
  });

  it('holds nothing up when the policy is deleted and created anew: children go in order, and come in order', async () => {
    const policy = demo.name('replaced');
    const namespaces = await demo.settled(policy, NAMESPACES);
    await demo.change(policy, { namespaceSelector: selecting('nobody') });
    await isHeld(policy);
    // The deletion is explicit, whatever was held.
    const stopped = stopAfter(NAMESPACES + 2, 'DELETE', 'networkpolicies');
    await demo.kube.baselinePolicies.delete(policy);
    await stopped;
    await demo.killOperator();
    demo.proxy.intercept = () => 'pass';
    await demo.startOperator();
    await demo.gone([policy]);
    assert.equal((await gone(policy)).length, CHILDREN);
    await assertDenyWentFirst(policy, namespaces);

    await demo.policy(policy);
    await demo.compliant(policy, NAMESPACES);
    for (const name of namespaces) await demo.holds(name, policy);
    assert.equal((await gone(policy)).length, CHILDREN);
    await consistently(
      async () => {
        assert.equal(await demo.operator.metric(`baseline_policy_deletion_held{policy="${policy}"}`), 0);
      },
      { for: 500, interval: 100 },
    );
  });
});
