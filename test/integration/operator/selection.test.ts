import assert from 'node:assert/strict';
import { Demo } from '../../support/demo.ts';

describe('The operator selects namespaces', function () {
  this.timeout(60_000);
  let demo: Demo;

  before(async () => {
    demo = await Demo.start();
  });
  after(() => demo.stop());
  afterEach(() => demo.remove());

  it('by the opt-in label when the policy names no selector: in when it is set, out when it goes', async () => {
    const policy = demo.name('opt');
    const label = 'baselinepolicy.dev/enforce';
    const joins = await demo.namespace(policy);
    const refuses = await demo.namespace(policy, { [label]: 'false' });
    const silent = await demo.namespace(policy);
    await demo.kube.baselinePolicies.create({
      apiVersion: 'baselinepolicy.dev/v1alpha1',
      kind: 'BaselinePolicy',
      metadata: { name: policy },
      spec: {},
    });
    await demo.reconciled(policy, 0);
    assert.equal((await demo.children(joins)).size, 0);

    await demo.label(joins, { [label]: 'true' });
    await demo.holds(joins, policy);
    assert.equal((await demo.children(refuses)).size, 0);
    assert.equal((await demo.children(silent)).size, 0);

    await demo.label(joins, { [label]: null });
    await demo.holds(joins, policy, []);
    await demo.label(refuses, { [label]: 'true' });
    await demo.holds(refuses, policy);
    await demo.label(refuses, { [label]: 'True' });
    await demo.holds(refuses, policy, []);
    assert.deepEqual(await demo.drift(policy), {});
  });

  it('by matchLabels and all matchExpressions together', async () => {
    const policy = demo.name('expressions');
    const make = (labels: Record<string, string>) => demo.namespace(policy, labels);
    const selected = await make({ tier: 'front', owner: 'ann' });
    const alsoSelected = await make({ tier: 'back', owner: 'bob', stage: 'prod' });
    const unselected = await Promise.all([
      make({ tier: 'data', owner: 'ann' }),
      make({ owner: 'ann' }),
      make({ tier: 'front' }),
      make({ tier: 'front', owner: 'ann', stage: 'test' }),
      make({ tier: 'front', owner: 'ann', legacy: '' }),
      make({ tier: 'front', owner: 'ann', scenario: 'another' }),
    ]);
    const last = await make({ tier: 'front', owner: 'last' });
    await demo.policy(policy, {
      namespaceSelector: {
        matchLabels: { scenario: policy },
        matchExpressions: [
          { key: 'tier', operator: 'In', values: ['front', 'back'] },
          { key: 'stage', operator: 'NotIn', values: ['test'] },
          { key: 'owner', operator: 'Exists' },
          { key: 'legacy', operator: 'DoesNotExist' },
        ],
      },
    });
    for (const namespace of [selected, alsoSelected, last]) await demo.holds(namespace, policy);
    await demo.reconciled(policy, 3);
    for (const namespace of unselected) assert.equal((await demo.children(namespace)).size, 0, namespace);
  });

  it('all of them by an empty selector, but never an excluded or a protected one', async () => {
    const policy = demo.name('all');
    const [plain, excluded, other] = [
      await demo.namespace(policy),
      await demo.namespace(policy, { 'baselinepolicy.dev/enforce': 'true' }),
      await demo.namespace(policy),
    ];
    await demo.policy(policy, { namespaceSelector: {}, excludedNamespaces: [excluded] });
    for (const namespace of [plain, other, 'default']) await demo.holds(namespace, policy);
    const all = (await demo.kube.namespaces.list()).length;
    const isProtected = ['kube-system', 'kube-public', 'kube-node-lease'];
    await demo.reconciled(policy, all - isProtected.length - 1);
    for (const namespace of [excluded, ...isProtected]) {
      assert.equal((await demo.children(namespace)).size, 0, namespace);
    }

    await demo.change(policy, { excludedNamespaces: [other] });
    await demo.holds(excluded, policy);
    await demo.holds(other, policy, []);
  });

  it('also when the label of a selected namespace moves it from one policy to another', async () => {
    const [first, second] = [demo.name('from'), demo.name('to')];
    const namespace = await demo.namespace(first);
    await demo.policy(first);
    await demo.policy(second);
    await demo.holds(namespace, first);
    await demo.label(namespace, { scenario: second });
    await demo.holds(namespace, second);
    assert.deepEqual([await demo.drift(first), await demo.drift(second)], [{}, {}]);
  });

  describe('with flags', () => {
    before(() => demo.restartOperator(['--protected-namespaces=locked,kube-public', '--namespace=operator-home']));

    it('that replace the list of protected namespaces; its own namespace is protected whatever the list', async () => {
      const policy = demo.name('flags');
      for (const name of ['locked', 'operator-home']) await demo.kube.namespaces.create({ metadata: { name } });
      const names = ['locked', 'operator-home', 'kube-public', 'kube-system'];
      await demo.policy(policy, {
        namespaceSelector: {
          matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'In', values: names }],
        },
      });
      await demo.holds('kube-system', policy);
      await demo.reconciled(policy, 1);
      for (const namespace of ['locked', 'operator-home', 'kube-public']) {
        assert.equal((await demo.children(namespace)).size, 0, namespace);
      }
    });
  });
});
