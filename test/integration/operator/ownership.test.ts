import assert from 'node:assert/strict';
import type { KubernetesObject } from '../../../src/api/metadata.ts';
import { childName } from '../../../src/api/names.ts';
import { eventually } from '../../support/await.ts';
import { conditionOf, Demo, DEFAULT_RULES, versions } from '../../support/demo.ts';

interface EventObject extends KubernetesObject {
  reason: string;
  note: string;
  regarding: { kind: string; name: string };
}

describe('A NetworkPolicy belongs to one BaselinePolicy or to somebody else', function () {
  this.timeout(60_000);
  let demo: Demo;

  before(async () => {
    demo = await Demo.start();
  });
  after(() => demo.stop());
  afterEach(() => demo.remove());

  const openToAll = { podSelector: {}, policyTypes: ['Ingress'], ingress: [{}] };

  it('two policies on one namespace keep their own children, and do not touch those of each other', async () => {
    const scenario = demo.name('base');
    const team = demo.name('team');
    const namespace = await demo.namespace(scenario);
    await demo.policy(scenario);
    await demo.holds(namespace, scenario);
    const ofBase = await demo.children(namespace);
    await demo.policy(scenario, { rules: { allowSameNamespace: { enabled: true } } }, team);
    const teamRules = [...DEFAULT_RULES, 'allow-same-namespace'];
    const both = [...ofBase.keys(), ...teamRules.map((rule) => childName(team, rule))].sort();
    await eventually(async () => {
      assert.deepEqual([...(await demo.children(namespace)).keys()].sort(), both);
    });
    await demo.reconciled(scenario, 1);
    await demo.reconciled(team, 1);

    // A heal and a change of one of them are no business of the other.
    const networkPolicies = demo.kube.networkPolicies(namespace);
    await networkPolicies.delete(childName(team, 'allow-dns'));
    await demo.counted(team, { 'allow-dns Missing healed': 1 });
    await demo.change(team, { rules: { defaultDeny: { policyTypes: ['Ingress'] } } });
    await eventually(async () => {
      assert.deepEqual((await demo.child(namespace, team, 'default-deny')).spec?.policyTypes, ['Ingress']);
    });
    await demo.remove(team);
    const left = await demo.children(namespace);
    assert.deepEqual(versions(left), versions(ofBase));
    assert.deepEqual(await demo.drift(scenario), {});
  });

  it('a policy that is created again under its name makes new children, and takes none of the old', async () => {
    const policy = demo.name('again');
    const [namespace = ''] = await demo.settled(policy, 1, { deletionPolicy: 'Orphan' });
    const orphans = await demo.children(namespace);
    await demo.remove(policy);
    await demo.policy(policy);
    // The orphans hold the names of the new policy's children, and are not its own.
    await demo.status(policy, ({ failures }) => {
      assert.deepEqual(
        failures?.map(({ rule, reason }) => `${rule} ${reason}`),
        ['allow-dns NameConflict', 'allow-monitoring NameConflict', 'default-deny NameConflict'],
      );
    });
    for (const name of orphans.keys()) await demo.kube.networkPolicies(namespace).delete(name);
    await eventually(async () => {
      const made = await demo.children(namespace);
      assert.deepEqual([...made.keys()], [...orphans.keys()]);
      for (const { metadata } of made.values()) assert.equal(metadata.ownerReferences?.[0]?.name, policy);
    });
  });

  it('an object of others with the name of a child is told about, never touched, and closes nothing', async () => {
    const policy = demo.name('conflict');
    const [namespace, other] = [await demo.namespace(policy), await demo.namespace(policy)];
    const name = childName(policy, 'allow-dns');
    const networkPolicies = demo.kube.networkPolicies(namespace);
    const foreign = await networkPolicies.create({
      metadata: { name, labels: { 'app.kubernetes.io/managed-by': 'baseline-policy-operator' } },
      spec: openToAll,
    });
    await demo.policy(policy);
    await demo.holds(other, policy);
    const { status } = await demo.status(policy, ({ failures, namespaces }) => {
      assert.deepEqual(namespaces, { selected: 2, compliant: 1, drifted: 0, failed: 1, pending: 0 });
      assert.deepEqual(failures?.map((failure) => [failure.namespace, failure.rule, failure.reason].join(' ')).sort(), [
        `${namespace} allow-dns NameConflict`,
        `${namespace} default-deny WaitingForAllows`,
      ]);
    });
    assert.equal(conditionOf(status, 'Ready')?.status, 'False');
    assert.match(conditionOf(status, 'Ready')?.message ?? '', new RegExp(`${namespace}.*${name}`));
    await demo.holds(namespace, policy, ['allow-dns', 'allow-monitoring']);
    await demo.counted(policy, { 'allow-dns NameConflict reported': 1 });

    // Work on the namespace brings neither a second count nor a write.
    await networkPolicies.delete(childName(policy, 'allow-monitoring'));
    await demo.holds(namespace, policy, ['allow-dns', 'allow-monitoring']);
    const expected = { 'allow-dns NameConflict reported': 1, 'allow-monitoring Missing healed': 1 };
    await demo.counted(policy, expected);
    const now = await networkPolicies.get(name);
    assert.equal(now.metadata.resourceVersion, foreign.metadata.resourceVersion);
    await eventually(async () => {
      const events = await demo.kube.resource<EventObject>('events.k8s.io/v1', 'events', 'default').list();
      const told = events.filter(({ reason, note }) => reason === 'NameConflict' && note.includes(name));
      assert.deepEqual(told.map(({ regarding }) => `${regarding.kind} ${regarding.name}`).sort(), [
        `BaselinePolicy ${policy}`,
        `Namespace ${namespace}`,
      ]);
    });

    await networkPolicies.delete(name);
    await demo.holds(namespace, policy);
    await demo.reconciled(policy, 2);
    const { metadata } = await demo.child(namespace, policy, 'allow-dns');
    assert.notEqual(metadata.uid, foreign.metadata.uid);
    // Making for the first time what was in nobody's hands is not drift.
    assert.deepEqual(await demo.drift(policy), expected);
  });

  it('an object of others that takes the place of a deleted child stays, and is a conflict', async () => {
    const policy = demo.name('usurped');
    const [namespace = ''] = await demo.settled(policy, 1);
    const name = childName(policy, 'allow-monitoring');
    const networkPolicies = demo.kube.networkPolicies(namespace);
    // A stopped operator cannot be faster than whoever takes the place.
    demo.operator.signal('SIGSTOP');
    await networkPolicies.delete(name);
    const foreign = await networkPolicies.create({ metadata: { name }, spec: openToAll });
    demo.operator.signal('SIGCONT');
    await demo.counted(policy, { 'allow-monitoring NameConflict reported': 1 });
    await demo.holds(await demo.namespace(policy), policy);
    const now = await networkPolicies.get(name);
    assert.equal(now.metadata.resourceVersion, foreign.metadata.resourceVersion);
    assert.deepEqual(await demo.drift(policy), { 'allow-monitoring NameConflict reported': 1 });
  });
});
