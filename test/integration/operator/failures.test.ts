import assert from 'node:assert/strict';
import { childName } from '../../../src/api/names.ts';
import { eventually } from '../../support/await.ts';
import { Demo, DEFAULT_RULES } from '../../support/demo.ts';
import type { KubeClient } from '../../support/kube.ts';

/** Something that the API server refuses: CEL that must hold, for these operations on NetworkPolicies. */
interface Refusal {
  readonly name: string;
  readonly operations: readonly ('CREATE' | 'UPDATE' | 'DELETE')[];
  readonly expression: string;
}

describe('One namespace where a write fails', function () {
  this.timeout(60_000);
  let demo: Demo;

  before(async () => {
    // The controller that makes quotas known runs in the kube-controller-manager.
    demo = await Demo.start({ controlPlane: { controllerManager: true } });
  });
  after(() => demo.stop());
  afterEach(() => demo.remove());

  /** Makes the API server refuse some writes, and resolves when `probe`, which is one of them, is refused. */
  async function refuse(refusal: Refusal, probe: (kube: KubeClient) => Promise<unknown>): Promise<() => Promise<void>> {
    const admission = (plural: string) => demo.kube.resource('admissionregistration.k8s.io/v1', plural);
    const { name, operations, expression } = refusal;
    const resourceRules = [
      { apiGroups: ['networking.k8s.io'], apiVersions: ['v1'], resources: ['networkpolicies'], operations },
    ];
    await admission('validatingadmissionpolicies').create({
      metadata: { name },
      spec: { matchConstraints: { resourceRules }, validations: [{ expression }] },
    });
    await admission('validatingadmissionpolicybindings').create({
      metadata: { name },
      spec: { policyName: name, validationActions: ['Deny'] },
    });
    await eventually(() => assert.rejects(probe(demo.kube), { message: /denied request/ }));
    return async () => {
      for (const plural of ['validatingadmissionpolicybindings', 'validatingadmissionpolicies']) {
        await admission(plural).delete(name);
      }
    };
  }

  const dryRunCreate = (namespace: string, name: string) => (kube: KubeClient) =>
    kube.networkPolicies(namespace).create({ metadata: { name }, spec: { podSelector: {} } }, { dryRun: 'All' });

  /** The failures of a policy, as `<namespace> <rule> <reason>`, sorted; resolves when they are these. */
  async function failing(policy: string, expected: string[]): Promise<void> {
    await demo.status(policy, ({ failures = [] }) => {
      assert.deepEqual(failures.map((failure) => [failure.namespace, failure.rule, failure.reason].join(' ')).sort(), [
        ...expected.sort(),
      ]);
    });
  }

  it('by a quota does not delay the others, is named in the status, and completes when the quota is lifted', async () => {
    const policy = demo.name('quota');
    const [limited, ...others] = [await demo.namespace(policy), ...(await demo.createNamespaces(policy, 10))];
    interface Quota {
      metadata: { name: string };
      status?: { hard?: Record<string, string> };
    }
    const hard = { 'count/networkpolicies.networking.k8s.io': '1' };
    const quotas = demo.kube.resource<Quota>('v1', 'resourcequotas', limited);
    await quotas.create({ metadata: { name: 'one' }, spec: { hard } });
    await eventually(async () => {
      assert.deepEqual((await quotas.get('one')).status?.hard, hard);
    });
    await demo.policy(policy);
    for (const namespace of others) await demo.holds(namespace, policy);
    const { status } = await demo.status(policy, ({ namespaces, failures }) => {
      assert.deepEqual(namespaces, { selected: 11, compliant: 10, drifted: 0, failed: 1, pending: 0 });
      assert.deepEqual(
        failures?.map(({ reason }) => reason),
        ['QuotaExceeded', 'WaitingForAllows'],
      );
    });
    assert.ok(status?.failures?.every(({ namespace }) => namespace === limited));
    const made = [...(await demo.children(limited)).keys()];
    assert.equal(made.length, 1);
    assert.notEqual(made[0], childName(policy, 'default-deny'));
    const line = await demo.operator.logged('Failed to reconcile, retrying');
    assert.equal(line['key'], limited);

    await quotas.delete('one');
    await demo.holds(limited, policy, DEFAULT_RULES, { timeout: 30_000 });
    assert.deepEqual(await demo.drift(policy), {});
  });

  it('by an admission policy on an allow is named, and stays open', async () => {
    const policy = demo.name('denied');
    const [refused, other] = [await demo.namespace(policy), await demo.namespace(policy)];
    const name = childName(policy, 'allow-dns');
    const expression = `!(object.metadata.name == '${name}' && object.metadata.namespace == '${refused}')`;
    const allow = await refuse({ name: policy, operations: ['CREATE'], expression }, dryRunCreate(refused, name));
    await demo.policy(policy);
    await demo.holds(other, policy);
    await failing(policy, [`${refused} allow-dns AdmissionDenied`, `${refused} default-deny WaitingForAllows`]);
    await demo.holds(refused, policy, ['allow-monitoring']);
    await allow();
    await demo.holds(refused, policy, DEFAULT_RULES, { timeout: 30_000 });
    assert.deepEqual(await demo.drift(policy), {});
  });

  it('to remove default-deny keeps its allows until that is gone', async () => {
    const policy = demo.name('stuck');
    const [namespace = '', other = ''] = await demo.settled(policy, 2);
    const deny = childName(policy, 'default-deny');
    const expression = `!(oldObject.metadata.name == '${deny}' && oldObject.metadata.namespace == '${namespace}')`;
    const allow = await refuse({ name: policy, operations: ['DELETE'], expression }, () =>
      demo.kube.networkPolicies(namespace).delete(deny, { dryRun: ['All'] }),
    );
    await demo.optOut(namespace);
    await demo.optOut(other);
    await demo.holds(other, policy, []);
    await failing(policy, [
      `${namespace} allow-dns WaitingForDeny`,
      `${namespace} allow-monitoring WaitingForDeny`,
      `${namespace} default-deny AdmissionDenied`,
    ]);
    await demo.holds(namespace, policy);
    await allow();
    await demo.holds(namespace, policy, [], { timeout: 30_000 });
  });

  it('to release a child keeps the child, whatever the garbage collector does meanwhile', async () => {
    const policy = demo.name('release');
    const [namespace = '', other = ''] = await demo.settled(policy, 2);
    const name = childName(policy, 'default-deny');
    const isChild = `object.metadata.name == '${name}' && object.metadata.namespace == '${namespace}'`;
    const expression = `!(${isChild} && !has(object.metadata.ownerReferences))`;
    const path = `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies/${name}`;
    const allow = await refuse({ name: policy, operations: ['UPDATE'], expression }, (kube) =>
      kube.request('PATCH', path, {
        query: { dryRun: 'All' },
        body: { metadata: { ownerReferences: null } },
        contentType: 'application/merge-patch+json',
      }),
    );
    await demo.kube.baselinePolicies.delete(policy, { propagationPolicy: 'Orphan' });
    await eventually(async () => {
      for (const { metadata } of (await demo.children(other)).values()) {
        assert.equal(metadata.ownerReferences, undefined);
      }
    });
    // The garbage collector thinks that it has released all children, and takes its finalizer off.
    await demo.kube.baselinePolicies.merge(policy, { metadata: { finalizers: ['baselinepolicy.dev/children'] } });
    const bystander = demo.name('bystander');
    await demo.settled(bystander, 1);
    await demo.holds(namespace, policy);
    await allow();
    await eventually(
      async () => {
        assert.equal(await demo.kube.baselinePolicies.find(policy), undefined);
      },
      { timeout: 30_000 },
    );
    for (const where of [namespace, other]) {
      await demo.holds(where, policy);
      for (const { metadata } of (await demo.children(where)).values()) {
        assert.equal(metadata.ownerReferences, undefined);
      }
    }
  });

  it('to make an allow does not let default-deny close what it left open', async () => {
    const policy = demo.name('wider');
    const rules = { allowDNS: { enabled: false }, defaultDeny: { policyTypes: ['Ingress' as const] } };
    const [namespace = ''] = await demo.settled(policy, 1, { rules });
    const name = childName(policy, 'allow-dns');
    const expression = `object.metadata.name != '${name}'`;
    const allow = await refuse({ name: policy, operations: ['CREATE'], expression }, dryRunCreate(namespace, name));
    await demo.change(policy, {
      rules: { allowDNS: { enabled: true }, defaultDeny: { policyTypes: ['Ingress', 'Egress'] } },
    });
    await failing(policy, [`${namespace} allow-dns AdmissionDenied`, `${namespace} default-deny WaitingForAllows`]);
    assert.deepEqual((await demo.child(namespace, policy, 'default-deny')).spec?.policyTypes, ['Ingress']);
    await allow();
    await demo.holds(namespace, policy, DEFAULT_RULES, { timeout: 30_000 });
    await eventually(async () => {
      const { spec } = await demo.child(namespace, policy, 'default-deny');
      assert.deepEqual(spec?.policyTypes, ['Ingress', 'Egress']);
    });
    assert.deepEqual(await demo.drift(policy), {});
  });

  it('to heal a child counts the drift as failed once, and as healed once when it succeeds', async () => {
    const policy = demo.name('unhealed');
    const [namespace = ''] = await demo.settled(policy, 1);
    const name = childName(policy, 'allow-dns');
    const expression = `object.metadata.name != '${name}'`;
    const allow = await refuse({ name: policy, operations: ['CREATE'], expression }, dryRunCreate(namespace, name));
    await demo.kube.networkPolicies(namespace).delete(name);
    await eventually(async () => {
      assert.equal(await demo.operator.metric(`baseline_policy_namespaces{policy="${policy}",state="failed"}`), 1);
    });
    assert.deepEqual(await demo.drift(policy), { 'allow-dns Missing failed': 1 });
    await allow();
    await demo.holds(namespace, policy, DEFAULT_RULES, { timeout: 30_000 });
    await demo.counted(policy, { 'allow-dns Missing failed': 1, 'allow-dns Missing healed': 1 });
  });
});
