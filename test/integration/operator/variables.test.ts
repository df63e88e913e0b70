import assert from 'node:assert/strict';
import type { AdditionalPolicy } from '../../../src/api/baselinepolicy.ts';
import { eventually } from '../../support/await.ts';
import { conditionOf, Demo, DEFAULT_RULES, versions } from '../../support/demo.ts';

const NAMED: AdditionalPolicy = {
  name: 'from-own-gateway',
  spec: {
    podSelector: { matchLabels: { app: '$(namespace.name)-backend' } },
    policyTypes: ['Ingress'],
    ingress: [{ from: [{ namespaceSelector: { matchLabels: { gateway: '$(namespace.name)' } } }] }],
  },
};
const BY_TEAM: AdditionalPolicy = {
  name: 'from-team',
  spec: {
    podSelector: {},
    policyTypes: ['Ingress'],
    ingress: [
      {
        from: [
          {
            namespaceSelector: {
              matchLabels: { team: "$(namespace.labels['team'])" },
              matchExpressions: [{ key: 'zone', operator: 'In', values: ["z-$(namespace.labels['team'])", 'shared'] }],
            },
          },
        ],
      },
    ],
  },
};

describe('Variables in additional policies', function () {
  this.timeout(60_000);
  let demo: Demo;

  before(async () => {
    demo = await Demo.start();
  });
  after(() => demo.stop());
  afterEach(() => demo.remove());

  it('stand for the name and the labels of each namespace', async () => {
    const policy = demo.name('values');
    const [blue, red] = [await demo.namespace(policy, { team: 'blue' }), await demo.namespace(policy, { team: 'red' })];
    await demo.policy(policy, { additionalPolicies: [NAMED, BY_TEAM] });
    for (const [namespace, team] of [
      [blue, 'blue'],
      [red, 'red'],
    ] as const) {
      await demo.holds(namespace, policy, [...DEFAULT_RULES, 'from-own-gateway', 'from-team']);
      assert.deepEqual((await demo.child(namespace, policy, 'from-own-gateway')).spec, {
        podSelector: { matchLabels: { app: `${namespace}-backend` } },
        policyTypes: ['Ingress'],
        ingress: [{ from: [{ namespaceSelector: { matchLabels: { gateway: namespace } } }] }],
      });
      assert.deepEqual((await demo.child(namespace, policy, 'from-team')).spec?.ingress, [
        {
          from: [
            {
              namespaceSelector: {
                matchLabels: { team },
                matchExpressions: [{ key: 'zone', operator: 'In', values: [`z-${team}`, 'shared'] }],
              },
            },
          ],
        },
      ]);
    }
    await demo.reconciled(policy, 2);

    // Another value is another spec: changed in place, and nobody's drift.
    const before = await demo.child(blue, policy, 'from-team');
    await demo.label(blue, { team: 'green' });
    await eventually(async () => {
      const { spec, metadata } = await demo.child(blue, policy, 'from-team');
      assert.match(JSON.stringify(spec), /"team":"green".*"z-green"/);
      assert.equal(metadata.uid, before.metadata.uid);
    });
    assert.deepEqual(await demo.drift(policy), {});
  });

  it('of a label that a namespace has not: no such child, and the namespace is named in the status', async () => {
    const policy = demo.name('missing');
    const without = await demo.namespace(policy);
    const withLabel = await demo.namespace(policy, { team: 'blue' });
    await demo.policy(policy, { additionalPolicies: [BY_TEAM] });
    const all = [...DEFAULT_RULES, 'from-team'];
    await demo.holds(withLabel, policy, all);
    await demo.holds(without, policy);
    const { status } = await demo.status(policy, ({ namespaces }) => {
      assert.deepEqual(namespaces, { selected: 2, compliant: 1, drifted: 0, failed: 1, pending: 0 });
    });
    assert.deepEqual(status?.failures, [
      {
        namespace: without,
        rule: 'from-team',
        reason: 'MissingLabel',
        message: 'spec.additionalPolicies[0]: the namespace has no label team',
      },
    ]);
    assert.equal(conditionOf(status, 'Ready')?.status, 'False');

    await demo.label(without, { team: 'red' });
    await demo.holds(without, policy, all);
    await demo.reconciled(policy, 2);
    const others = versions(await demo.children(withLabel));
    await demo.label(without, { team: null });
    await demo.holds(without, policy);
    assert.deepEqual(versions(await demo.children(withLabel)), others);
    assert.deepEqual(await demo.drift(policy), {});
  });

  it('that make no valid policy in one namespace fail there alone, until the label is right', async () => {
    const policy = demo.name('invalid');
    const good = await demo.namespace(policy, { net: '7' });
    const bad = await demo.namespace(policy, { net: '777' });
    const cidr = "10.$(namespace.labels['net']).0.0/16";
    const spec = { podSelector: {}, egress: [{ to: [{ ipBlock: { cidr } }] }] };
    await demo.policy(policy, { additionalPolicies: [{ name: 'to-net', spec }] });
    await demo.holds(good, policy, [...DEFAULT_RULES, 'to-net']);
    assert.deepEqual((await demo.child(good, policy, 'to-net')).spec?.egress, [
      { to: [{ ipBlock: { cidr: '10.7.0.0/16' } }] },
    ]);
    const { status } = await demo.status(policy, ({ failures }) => {
      assert.deepEqual(
        failures?.map(({ namespace, rule, reason }) => [namespace, rule, reason].join(' ')),
        [`${bad} default-deny WaitingForAllows`, `${bad} to-net Invalid`],
      );
    });
    assert.match(status?.failures?.[1]?.message ?? '', /10\.777\.0\.0\/16/);
    await demo.holds(bad, policy, ['allow-dns', 'allow-monitoring']);
    await demo.label(bad, { net: '8' });
    await demo.holds(bad, policy, [...DEFAULT_RULES, 'to-net']);
    assert.deepEqual(await demo.drift(policy), {});
  });
});
