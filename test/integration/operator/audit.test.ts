import assert from 'node:assert/strict';
import { childName } from '../../../src/api/names.ts';
import { eventually } from '../../support/await.ts';
import { conditionOf, Demo, DEFAULT_RULES, versions } from '../../support/demo.ts';

describe('Audit mode', function () {
  this.timeout(60_000);
  let demo: Demo;

  before(async () => {
    demo = await Demo.start({ controlPlane: { auditLog: true } });
  });
  after(() => demo.stop());
  afterEach(() => demo.remove());

  const info = (policy: string, mode: string) => `baseline_policy_info{policy="${policy}",mode="${mode}"}`;

  /** Switches a policy to Audit, and resolves when the operator knows. */
  async function switchToAudit(policy: string): Promise<void> {
    await demo.change(policy, { mode: 'Audit' });
    await eventually(async () => {
      assert.equal(await demo.operator.metric(info(policy, 'Audit')), 1);
    });
  }

  it('writes nothing and reports what it would create; Enforce then writes it', async () => {
    const policy = demo.name('dry');
    const namespaces = await demo.createNamespaces(policy, 2);
    const mark = await demo.controlPlane.auditMark();
    await demo.policy(policy, { mode: 'Audit' });
    const { status } = await demo.status(policy, ({ audit }) => {
      assert.deepEqual(audit, { create: 6, update: 0, delete: 0 });
    });
    assert.equal(status?.namespaces?.selected, 2);
    assert.equal(status.namespaces.pending, 0);
    assert.deepEqual(status.networkPolicies, { desired: 6, current: 0 });
    const ready = conditionOf(status, 'Ready');
    assert.equal(ready?.status, 'True');
    assert.match(ready.message, /would create 6, change 0 and delete 0 /);
    assert.equal(await demo.operator.metric(info(policy, 'Audit')), 1);
    assert.deepEqual(await demo.childWrites(mark), []);
    // By reason, each difference once; but what nobody has made yet is no drift.
    const reported = Object.fromEntries(DEFAULT_RULES.map((rule) => [`${rule} Missing reported`, 2]));
    assert.deepEqual(await demo.drift(policy), reported);
    assert.deepEqual(status.drift, { detectedTotal: 0, healedTotal: 0 });

    await demo.change(policy, { mode: 'Enforce' });
    for (const namespace of namespaces) await demo.holds(namespace, policy);
    const enforced = await demo.compliant(policy, 2);
    assert.equal(enforced.status?.audit, undefined);
    assert.equal((await demo.operator.metrics()).has(info(policy, 'Audit')), false);
    assert.equal(await demo.operator.metric(info(policy, 'Enforce')), 1);
    assert.deepEqual(await demo.drift(policy), reported);
    assert.equal((await demo.childWrites(mark)).length, 6);
  });

  it('leaves the children that are there, reports drift instead of healing; Enforce then heals', async () => {
    const policy = demo.name('back');
    const [first = '', second = ''] = await demo.settled(policy, 2);
    await switchToAudit(policy);
    const mark = await demo.controlPlane.auditMark();
    const networkPolicies = demo.kube.networkPolicies(first);
    await networkPolicies.merge(childName(policy, 'default-deny'), { spec: { policyTypes: ['Ingress'] } });
    await networkPolicies.delete(childName(policy, 'allow-dns'));
    const { ownerReferences } = (await demo.child(second, policy, 'allow-dns')).metadata;
    await demo.kube.networkPolicies(second).create({ metadata: { name: 'extra', ownerReferences }, spec: {} });
    const before = [versions(await demo.children(first)), versions(await demo.children(second))];
    const { status } = await demo.status(policy, ({ audit }) => {
      assert.deepEqual(audit, { create: 1, update: 1, delete: 1 });
    });
    assert.deepEqual(status?.namespaces, { selected: 2, compliant: 0, drifted: 2, failed: 0, pending: 0 });
    assert.equal(status.drift?.detectedTotal, 3);
    assert.equal(status.drift.healedTotal, 0);
    const reported = { 'default-deny Modified reported': 1, 'other Unexpected reported': 1 };
    assert.deepEqual(await demo.drift(policy), { ...reported, 'allow-dns Missing reported': 1 });
    const unhealed = `baseline_policy_drifted_networkpolicies{policy="${policy}"}`;
    assert.equal(await demo.operator.metric(unhealed), 3);

    // A new namespace is work for later, and no reason to count the drift of others again.
    const late = await demo.namespace(policy);
    await eventually(async () => {
      assert.equal(await demo.operator.metric(unhealed), 6);
    });
    const all = {
      ...reported,
      'allow-dns Missing reported': 2,
      'allow-monitoring Missing reported': 1,
      'default-deny Missing reported': 1,
    };
    assert.deepEqual(await demo.drift(policy), all);
    assert.deepEqual(await demo.childWrites(mark), []);
    assert.deepEqual([versions(await demo.children(first)), versions(await demo.children(second))], before);

    await demo.change(policy, { mode: 'Enforce' });
    for (const namespace of [first, second, late]) await demo.holds(namespace, policy);
    await demo.counted(policy, {
      ...all,
      'allow-dns Missing healed': 1,
      'default-deny Modified healed': 1,
      'other Unexpected healed': 1,
    });
  });

  it('reports the children that a new selector would delete, and keeps them', async () => {
    const policy = demo.name('leaving');
    const [namespace = ''] = await demo.settled(policy, 1);
    const before = versions(await demo.children(namespace));
    await demo.change(policy, { mode: 'Audit', namespaceSelector: { matchLabels: { scenario: 'nobody' } } });
    const { status } = await demo.status(policy, ({ audit }) => {
      assert.deepEqual(audit, { create: 0, update: 0, delete: 3 });
    });
    assert.equal(status?.namespaces?.pending, 0);
    assert.equal(status.namespaces.selected, 0);
    assert.deepEqual(versions(await demo.children(namespace)), before);
    const reported = Object.fromEntries(DEFAULT_RULES.map((rule) => [`${rule} Unexpected reported`, 1]));
    assert.deepEqual(await demo.drift(policy), reported);
    assert.equal(status.drift?.detectedTotal, 0);

    // So does the operator that is started next.
    await demo.restartOperator();
    await demo.label(namespace, { seen: 'again' });
    await demo.status(policy, ({ audit, namespaces }) => {
      assert.deepEqual([audit?.delete, namespaces?.pending], [3, 0]);
    });
    assert.deepEqual(versions(await demo.children(namespace)), before);
  });

  it('ends with the policy: its children are removed all the same', async () => {
    const policy = demo.name('ends');
    const [namespace = ''] = await demo.settled(policy, 1);
    await switchToAudit(policy);
    await demo.remove(policy);
    assert.equal((await demo.children(namespace)).size, 0);
  });
});
