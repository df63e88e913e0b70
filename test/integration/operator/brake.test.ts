import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { delimiter, dirname } from 'node:path';
import { promisify } from 'node:util';
import { findAsset } from '../../../hack/envtest/assets.ts';
import type { BaselinePolicy } from '../../../src/api/baselinepolicy.ts';
import { eventually } from '../../support/await.ts';
import { conditionOf, Demo, versions } from '../../support/demo.ts';

const NAMESPACES = 12;
const NOBODY = { namespaceSelector: { matchLabels: { scenario: 'nobody' } } };

describe('The deletion brake', function () {
  this.timeout(60_000);
  let demo: Demo;

  before(async () => {
    demo = await Demo.start();
  });
  after(() => demo.stop());
  afterEach(() => demo.remove());

  const isHeld = (policy: string) => demo.operator.metric(`baseline_policy_deletion_held{policy="${policy}"}`);

  /** All children of some namespaces, by namespace and name, with their versions. */
  async function childrenOf(namespaces: readonly string[]): Promise<Record<string, Record<string, string>>> {
    const entries = namespaces.map(async (name) => [name, versions(await demo.children(name))] as const);
    return Object.fromEntries(await Promise.all(entries));
  }

  /** Resolves with the policy when its status says that deletions are held. */
  async function held(policy: string): Promise<BaselinePolicy> {
    return demo.status(policy, (status) => {
      assert.equal(conditionOf(status, 'DeletionHeld')?.status, 'True', JSON.stringify(status.conditions));
    });
  }

  it('holds a selector that suddenly matches nothing, until somebody approves as the message says', async () => {
    const policy = demo.name('approved');
    const namespaces = await demo.settled(policy, NAMESPACES);
    const before = await childrenOf(namespaces);
    assert.equal(await isHeld(policy), 0);
    await demo.change(policy, NOBODY);
    const { status, metadata } = await held(policy);
    assert.equal(conditionOf(status, 'Stalled')?.status, 'True');
    assert.equal(conditionOf(status, 'Ready')?.status, 'False');
    assert.equal(conditionOf(status, 'Reconciling'), undefined);
    assert.equal(await isHeld(policy), 1);
    const message = conditionOf(status, 'DeletionHeld')?.message ?? '';
    assert.match(message, /would delete 36 of 36 NetworkPolicies in 12 namespaces/);

    // Neither an event in a namespace nor the approval of another generation gets past it.
    const [some = ''] = namespaces;
    await demo.label(some, { seen: 'again' });
    const approval = 'baselinepolicy.dev/approve-deletion-of-generation';
    const annotations = { [approval]: String((metadata.generation ?? 0) - 1) };
    await demo.kube.baselinePolicies.merge(policy, { metadata: { annotations } });
    const bystander = demo.name('bystander');
    const [other = ''] = await demo.settled(bystander, 1);
    await demo.holds(other, bystander);
    assert.deepEqual(await childrenOf(namespaces), before);

    const { resourceVersion } = (await demo.kube.networkPolicies().page()).metadata;
    using watch = await demo.kube.networkPolicies().watch({ resourceVersion });
    const command = /kubectl annotate .+$/.exec(message)?.[0] ?? 'false';
    await promisify(execFile)('sh', ['-c', command], {
      env: {
        PATH: [dirname(findAsset('kubectl')), process.env['PATH'] ?? ''].join(delimiter),
        KUBECONFIG: demo.controlPlane.kubeconfig,
        // Where kubectl keeps its cache.
        HOME: dirname(demo.controlPlane.kubeconfig),
      },
    });
    await eventually(() => {
      assert.equal(watch.events.length, 3 * NAMESPACES);
    });
    const gone = watch.events.map(({ type, object }) => ({ type, ...object.metadata }));
    assert.ok(gone.every(({ type }) => type === 'DELETED'));
    for (const namespace of namespaces) {
      assert.equal(gone.find((child) => child.namespace === namespace)?.name, `${policy}.default-deny`);
    }
    assert.equal(await isHeld(policy), 0);
    assert.deepEqual(await demo.drift(policy), {});
  });

  it('keeps holding through a restart of the operator, and lets go when the selector is restored', async () => {
    const policy = demo.name('restored');
    const namespaces = await demo.settled(policy, NAMESPACES);
    const before = await childrenOf(namespaces);
    await demo.change(policy, NOBODY);
    await held(policy);
    await demo.restartOperator();
    await eventually(async () => {
      assert.equal(await isHeld(policy), 1);
    });
    const added = demo.name('added');
    const [namespace = ''] = await demo.settled(added, 1);
    await demo.holds(namespace, added);
    await held(policy);
    assert.deepEqual(await childrenOf(namespaces), before);

    await demo.change(policy, { namespaceSelector: { matchLabels: { scenario: policy } } });
    const { status } = await demo.compliant(policy, NAMESPACES);
    assert.equal(conditionOf(status, 'DeletionHeld'), undefined);
    assert.equal(conditionOf(status, 'Stalled'), undefined);
    assert.equal(await isHeld(policy), 0);
    assert.deepEqual(await childrenOf(namespaces), before);
    assert.deepEqual(await demo.drift(policy), {});
  });

  it('holds what was changed while no operator ran', async () => {
    const policy = demo.name('down');
    const namespaces = await demo.settled(policy, NAMESPACES);
    const before = await childrenOf(namespaces);
    assert.equal(await demo.operator.stop(), 0);
    await demo.change(policy, NOBODY);
    await demo.restartOperator();
    await held(policy);
    assert.deepEqual(await childrenOf(namespaces), before);
  });

  it('lets a selector go that deletes few, and a namespace that leaves by its label, however many it has', async () => {
    const policy = demo.name('label');
    const spec = { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] };
    const additionalPolicies = Array.from({ length: 12 }, (_, index) => ({ name: `extra-${index}`, spec }));
    const [namespace = ''] = await demo.settled(policy, 1, { additionalPolicies });
    assert.equal((await demo.children(namespace)).size, 15);
    await demo.optOut(namespace);
    await demo.holds(namespace, policy, []);

    const few = demo.name('few');
    const namespaces = await demo.settled(few, 3);
    await demo.change(few, NOBODY);
    for (const name of namespaces) await demo.holds(name, few, []);
    assert.deepEqual([await isHeld(policy), await isHeld(few)], [0, 0]);
  });
});
