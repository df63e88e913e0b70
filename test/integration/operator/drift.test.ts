import assert from 'node:assert/strict';
import type { KubernetesObject } from '../../../src/api/metadata.ts';
import { childName } from '../../../src/api/names.ts';
import type { NetworkPolicy } from '../../../src/api/networkpolicy.ts';
import { eventually } from '../../support/await.ts';
import { conditionOf, Demo, DEFAULT_RULES } from '../../support/demo.ts';

interface EventObject extends KubernetesObject {
  reason: string;
  action: string;
  type: string;
  note: string;
  reportingController: string;
  regarding: { kind: string; name: string; uid: string };
}

describe('Drift', function () {
  this.timeout(60_000);
  let demo: Demo;

  before(async () => {
    demo = await Demo.start();
  });
  after(() => demo.stop());
  afterEach(() => demo.remove());

  const inNamespace = (namespace: string) => demo.kube.networkPolicies(namespace);

  /** Resolves with the child when it is as it was before, but for the resourceVersion, and what others added. */
  async function healed(before: NetworkPolicy): Promise<NetworkPolicy> {
    const { namespace = '', name, labels, ownerReferences } = before.metadata;
    return eventually(async () => {
      const now = await inNamespace(namespace).get(name);
      assert.deepEqual(now.spec, before.spec);
      assert.deepEqual({ ...now.metadata.labels, ...labels }, now.metadata.labels, 'a label is missing');
      assert.deepEqual(now.metadata.ownerReferences, ownerReferences);
      return now;
    });
  }

  /** Asserts that drift was counted like this and, after later work of the operator, is not counted any further. */
  async function countedOnce(policy: string, expected: Record<string, number>): Promise<void> {
    await demo.counted(policy, expected);
    await demo.holds(await demo.namespace(policy), policy);
    assert.deepEqual(await demo.drift(policy), expected);
  }

  const cases: {
    what: string;
    rule: string;
    reason: 'Modified' | 'Metadata';
    damage: (child: NetworkPolicy) => object[];
  }[] = [
    {
      what: 'an edited spec',
      rule: 'allow-dns',
      reason: 'Modified',
      damage: () => [{ op: 'remove', path: '/spec/egress/0/ports/1' }],
    },
    {
      what: 'a rule that lets everyone in, on a child without ingress',
      rule: 'allow-dns',
      reason: 'Modified',
      damage: () => [
        { op: 'add', path: '/spec/ingress', value: [{}] },
        { op: 'replace', path: '/spec/policyTypes', value: ['Ingress', 'Egress'] },
      ],
    },
    {
      what: 'a rule that lets everyone in, on default-deny',
      rule: 'default-deny',
      reason: 'Modified',
      damage: () => [{ op: 'add', path: '/spec/ingress', value: [{}] }],
    },
    {
      what: 'a narrowed podSelector',
      rule: 'default-deny',
      reason: 'Modified',
      damage: () => [{ op: 'add', path: '/spec/podSelector/matchLabels', value: { app: 'other' } }],
    },
    {
      what: 'stripped labels',
      rule: 'allow-monitoring',
      reason: 'Metadata',
      damage: () => [{ op: 'remove', path: '/metadata/labels' }],
    },
    {
      what: 'a stripped ownerReference',
      rule: 'default-deny',
      reason: 'Metadata',
      damage: () => [{ op: 'remove', path: '/metadata/ownerReferences' }],
    },
    {
      what: 'stripped labels and ownerReference at once',
      rule: 'allow-dns',
      reason: 'Metadata',
      damage: () => [
        { op: 'remove', path: '/metadata/labels' },
        { op: 'remove', path: '/metadata/ownerReferences' },
      ],
    },
    {
      what: 'a changed value of our label',
      rule: 'allow-dns',
      reason: 'Metadata',
      damage: () => [{ op: 'replace', path: '/metadata/labels/baselinepolicy.dev~1rule', value: 'default-deny' }],
    },
    {
      what: 'a spec and labels changed at once',
      rule: 'allow-monitoring',
      reason: 'Modified',
      damage: () => [
        { op: 'remove', path: '/metadata/labels' },
        { op: 'replace', path: '/spec/ingress', value: [{}] },
      ],
    },
  ];

  for (const { what, rule, reason, damage } of cases) {
    it(`heals ${what} in place, and counts it once as ${reason}`, async () => {
      const policy = demo.name('edit');
      const [namespace = ''] = await demo.settled(policy, 1);
      const before = await demo.child(namespace, policy, rule);
      const damaged = await inNamespace(namespace).patch(before.metadata.name, damage(before));
      const after = await healed(before);
      assert.equal(after.metadata.uid, before.metadata.uid);
      assert.notEqual(after.metadata.resourceVersion, damaged.metadata.resourceVersion);
      await countedOnce(policy, { [`${rule} ${reason} healed`]: 1 });
    });
  }

  it('heals a deleted child by a new one, and counts it once as Missing', async () => {
    const policy = demo.name('deleted');
    const [namespace = ''] = await demo.settled(policy, 1);
    for (const rule of DEFAULT_RULES) {
      const before = await demo.child(namespace, policy, rule);
      await inNamespace(namespace).delete(before.metadata.name);
      const after = await healed(before);
      assert.notEqual(after.metadata.uid, before.metadata.uid);
    }
    await countedOnce(policy, Object.fromEntries(DEFAULT_RULES.map((rule) => [`${rule} Missing healed`, 1])));
  });

  it('removes an object that somebody made in our name, and counts it once as Unexpected', async () => {
    const policy = demo.name('extra');
    const [namespace = ''] = await demo.settled(policy, 1);
    const { metadata } = await demo.child(namespace, policy, 'allow-dns');
    const { ownerReferences, labels } = metadata;
    for (const name of ['free-name', childName(policy, 'allow-everything')]) {
      await inNamespace(namespace).create({
        metadata: { name, labels, ownerReferences },
        spec: { podSelector: {}, policyTypes: ['Ingress'], ingress: [{}] },
      });
      await demo.holds(namespace, policy);
    }
    // The rule of such an object is what its maker says: no series of its own.
    await countedOnce(policy, { 'other Unexpected healed': 2 });
  });

  it('is not what others add to the metadata of a child; it stays through a heal', async () => {
    const policy = demo.name('additions');
    const [namespace = '', other = ''] = await demo.settled(policy, 2);
    const before = await demo.child(namespace, policy, 'allow-dns');
    const added = {
      labels: { team: 'a' },
      annotations: { 'example.com/note': 'seen' },
      finalizers: ['example.com/hold'],
    };
    const { metadata } = await inNamespace(namespace).merge(before.metadata.name, { metadata: added });
    await inNamespace(other).delete(childName(policy, 'allow-dns'));
    await demo.counted(policy, { 'allow-dns Missing healed': 1 });
    const untouched = await demo.child(namespace, policy, 'allow-dns');
    assert.equal(untouched.metadata.resourceVersion, metadata.resourceVersion);

    const child = before.metadata.name;
    await inNamespace(namespace).patch(child, [
      { op: 'remove', path: '/metadata/ownerReferences' },
      { op: 'remove', path: '/metadata/labels/baselinepolicy.dev~1rule' },
      { op: 'replace', path: '/spec/egress', value: [{}] },
    ]);
    const after = await healed(before);
    assert.deepEqual(after.metadata.labels, { ...before.metadata.labels, ...added.labels });
    assert.deepEqual(after.metadata.annotations, added.annotations);
    assert.deepEqual(after.metadata.finalizers, added.finalizers);
    assert.equal(after.metadata.uid, before.metadata.uid);
    await inNamespace(namespace).merge(child, { metadata: { finalizers: null } });
    await countedOnce(policy, { 'allow-dns Missing healed': 1, 'allow-dns Modified healed': 1 });
  });

  it('is told by the status, the heal histogram, and events on the policy and the namespace', async () => {
    const policy = demo.name('told');
    const [namespace = ''] = await demo.settled(policy, 1);
    const heals = () => demo.operator.metric('baseline_policy_heal_seconds_count');
    const before = await heals();
    await inNamespace(namespace).delete(childName(policy, 'default-deny'));
    await demo.counted(policy, { 'default-deny Missing healed': 1 });
    assert.equal(await heals(), before + 1);

    const { status, metadata } = await demo.status(policy, ({ drift }) => {
      assert.equal(drift?.detectedTotal, 1);
      assert.equal(drift.healedTotal, 1);
    });
    assert.equal(conditionOf(status, 'Ready')?.status, 'True');
    const seen = Date.parse(status?.drift?.lastDetectedTime ?? '');
    assert.ok(Math.abs(Date.now() - seen) < 30_000, status?.drift?.lastDetectedTime);

    const { uid } = (await demo.kube.namespaces.get(namespace)).metadata;
    await eventually(async () => {
      const events = await demo.kube.resource<EventObject>('events.k8s.io/v1', 'events', 'default').list();
      const about = events.filter(({ note }) => note.includes(childName(policy, 'default-deny')));
      const told = about.map(({ regarding, reason, type }) => [regarding.kind, regarding.uid, reason, type].join(' '));
      assert.deepEqual(told.sort(), [
        `BaselinePolicy ${metadata.uid ?? ''} DriftHealed Warning`,
        `Namespace ${uid ?? ''} DriftHealed Warning`,
      ]);
      for (const event of about) {
        assert.equal(event.reportingController, 'baseline-policy-operator');
        assert.match(event.note, new RegExp(`default-deny of namespace ${namespace}: Missing$`));
      }
    });
  });

  it('is not the creation of children for a new namespace, a changed spec or a label, nor after a restart', async () => {
    const policy = demo.name('creation');
    const [namespace = ''] = await demo.settled(policy, 1);
    await demo.change(policy, { rules: { allowSameNamespace: { enabled: true } }, description: 'changed' });
    const rules = [...DEFAULT_RULES, 'allow-same-namespace'];
    await demo.holds(namespace, policy, rules);
    const added = await demo.namespace(policy);
    await demo.holds(added, policy, rules);
    await demo.change(policy, { rules: { allowSameNamespace: { enabled: false } } });
    for (const name of [namespace, added]) await demo.holds(name, policy);
    // The next operator takes the word of this status for what was right.
    await demo.compliant(policy, 2);
    assert.deepEqual(await demo.drift(policy), {});

    assert.equal(await demo.operator.stop(), 0);
    const whileDown = await demo.namespace(policy);
    await demo.optOut(added);
    await demo.restartOperator();
    await demo.holds(whileDown, policy);
    await demo.holds(added, policy, []);
    await demo.reconciled(policy, 2);
    assert.deepEqual(await demo.drift(policy), {});
    assert.equal((await demo.kube.baselinePolicies.get(policy)).status?.drift?.detectedTotal, 0);
  });

  it('that comes back each time ends in a back-off, and stays visible', async () => {
    const policy = demo.name('fight');
    const [namespace = '', peaceful = ''] = await demo.settled(policy, 2);
    const before = await demo.child(namespace, policy, 'allow-dns');
    const { name } = before.metadata;
    const attack = (port: number) =>
      inNamespace(namespace).patch(name, [{ op: 'replace', path: '/spec/egress/0/ports/0/port', value: port }]);
    for (let round = 1; round <= 5; round++) {
      await attack(round);
      await healed(before);
      await demo.counted(policy, { 'allow-dns Modified healed': round });
    }
    await attack(6);
    const fights = `baseline_policy_fights_total{policy="${policy}",rule="allow-dns"}`;
    await eventually(async () => {
      assert.equal(await demo.operator.metric(fights), 1);
    });
    const last = await attack(7);

    // Others are healed as ever, and this child is not touched meanwhile.
    for (const [where, rule] of [
      [namespace, 'allow-monitoring'],
      [peaceful, 'allow-dns'],
    ] as const) {
      const other = await demo.child(where, policy, rule);
      await inNamespace(where).delete(other.metadata.name);
      await healed(other);
    }
    const { status } = await demo.status(policy, ({ namespaces, failures }) => {
      assert.deepEqual(namespaces, { selected: 2, compliant: 1, drifted: 1, failed: 0, pending: 0 });
      assert.deepEqual(
        failures?.map((failure) => [failure.namespace, failure.rule, failure.reason]),
        [[namespace, 'allow-dns', 'Fighting']],
      );
    });
    assert.equal(conditionOf(status, 'Ready')?.status, 'False');
    assert.equal(await demo.operator.metric(`baseline_policy_drifted_networkpolicies{policy="${policy}"}`), 1);
    assert.equal(await demo.operator.metric(`baseline_policy_namespaces{policy="${policy}",state="drifted"}`), 1);
    assert.equal(await demo.operator.metric(fights), 1);
    const now = await demo.child(namespace, policy, 'allow-dns');
    assert.equal(now.metadata.resourceVersion, last.metadata.resourceVersion);
    await eventually(async () => {
      const events = await demo.kube.resource<EventObject>('events.k8s.io/v1', 'events', 'default').list();
      const fighting = events.filter(({ reason, note }) => reason === 'Fighting' && note.includes(name));
      assert.deepEqual(fighting.map(({ regarding }) => regarding.name).sort(), [policy, namespace].sort());
    });
  });
});
