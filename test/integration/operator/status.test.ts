import assert from 'node:assert/strict';
import { Agent, request } from 'undici';
import { consistently, eventually } from '../../support/await.ts';
import { conditionOf, Demo } from '../../support/demo.ts';

describe('The status of a BaselinePolicy', function () {
  this.timeout(60_000);
  let demo: Demo;

  before(async () => {
    // The controller that makes quotas known runs in the kube-controller-manager.
    demo = await Demo.start({ controlPlane: { auditLog: true, controllerManager: true } });
  });
  after(() => demo.stop());
  afterEach(() => demo.remove());

  /** Gives a namespace a quota of NetworkPolicies; resolves when it is enforced. */
  async function limitNetworkPolicies(namespace: string, count: string): Promise<void> {
    interface Quota {
      metadata: { name: string };
      status?: { hard?: Record<string, string> };
    }
    const hard = { 'count/networkpolicies.networking.k8s.io': count };
    const quotas = demo.kube.resource<Quota>('v1', 'resourcequotas', namespace);
    await quotas.create({ metadata: { name: 'limit' }, spec: { hard } });
    await eventually(async () => {
      assert.deepEqual((await quotas.get('limit')).status?.hard, hard);
    });
  }

  it('counts namespaces and children, says Ready once all is in place, and is not written again', async () => {
    const policy = demo.name('counts');
    await demo.settled(policy, 3);
    const { status, metadata } = await demo.compliant(policy, 3);
    assert.deepEqual(status?.networkPolicies, { desired: 9, current: 9 });
    assert.deepEqual(status.drift, { detectedTotal: 0, healedTotal: 0 });
    assert.deepEqual(
      status.conditions?.map(({ type, status: value, reason, observedGeneration, message }) => {
        return { type, value, reason, observedGeneration, message };
      }),
      [
        {
          type: 'Ready',
          value: 'True',
          reason: 'Enforced',
          observedGeneration: 1,
          message: '3 namespaces have their 9 NetworkPolicies',
        },
      ],
    );
    assert.equal(status.failures, undefined);
    const metrics = await demo.operator.metrics();
    assert.equal(metrics.get(`baseline_policy_namespaces{policy="${policy}",state="compliant"}`), 3);
    for (const rule of ['default-deny', 'allow-dns', 'allow-monitoring']) {
      assert.equal(metrics.get(`baseline_policy_networkpolicies{policy="${policy}",rule="${rule}"}`), 3);
    }
    await consistently(
      async () => {
        const now = await demo.kube.baselinePolicies.get(policy);
        assert.equal(now.metadata.resourceVersion, metadata.resourceVersion);
      },
      { for: 3_000, interval: 100 },
    );
  });

  it('shows in the columns that kubectl get prints', async () => {
    const policy = demo.name('columns');
    await demo.settled(policy, 2);
    await demo.compliant(policy, 2);
    const dispatcher = new Agent({ connect: { ca: demo.controlPlane.caData } });
    const url = `${demo.controlPlane.server}/apis/baselinepolicy.dev/v1alpha1/baselinepolicies/${policy}`;
    const { body } = await request(url, {
      dispatcher,
      headers: {
        authorization: `Bearer ${demo.controlPlane.adminToken}`,
        accept: 'application/json;as=Table;v=v1;g=meta.k8s.io',
      },
    });
    const table = (await body.json()) as { columnDefinitions: { name: string }[]; rows: { cells: unknown[] }[] };
    await dispatcher.close();
    assert.deepEqual(
      table.columnDefinitions.map(({ name }) => name),
      ['Name', 'Mode', 'Selected', 'Compliant', 'Drifted', 'Ready', 'Age'],
    );
    const [, ...cells] = table.rows[0]?.cells ?? [];
    assert.deepEqual(cells.slice(0, -1), ['Enforce', 2, 2, 0, 'True']);
    assert.match(String(cells.at(-1)), /^\d+s$/);
  });

  it('names at most 20 failures, and how many more there are', async () => {
    const policy = demo.name('failures');
    const namespaces = await demo.createNamespaces(policy, 8);
    await Promise.all(namespaces.map((namespace) => limitNetworkPolicies(namespace, '0')));
    const good = await demo.namespace(policy);
    await demo.policy(policy);
    await demo.holds(good, policy);
    const { status } = await demo.status(policy, ({ namespaces: counts }) => {
      assert.deepEqual(counts, { selected: 9, compliant: 1, drifted: 0, failed: 8, pending: 0 });
    });
    // Two allows that the quota refuses, and default-deny that waits for them, in each.
    assert.equal(status?.failures?.length, 20);
    assert.equal(status.moreFailures, 4);
    const sorted = status.failures.map(({ namespace }) => namespace);
    assert.deepEqual(sorted, [...sorted].sort());
    for (const { namespace, reason, rule, message } of status.failures) {
      assert.ok(namespaces.includes(namespace));
      assert.equal(reason, rule === 'default-deny' ? 'WaitingForAllows' : 'QuotaExceeded', message);
    }
    const ready = conditionOf(status, 'Ready');
    assert.equal(ready?.reason, 'NamespacesFailed');
    assert.match(ready.message, /^8 of 9 namespaces failed; first: .*exceeded quota: limit/);
    assert.equal(conditionOf(status, 'Stalled')?.status, 'True');
    assert.equal(await demo.operator.metric(`baseline_policy_namespaces{policy="${policy}",state="failed"}`), 8);
    assert.deepEqual(await demo.drift(policy), {});
  });

  it('is written at most every two seconds while 100 namespaces are filled and changed', async () => {
    const policy = demo.name('fill');
    await demo.policy(policy);
    const namespaces = await demo.createNamespaces(policy, 100);
    const first = await demo.compliant(policy, 100, { timeout: 30_000 });
    // So that there is a second and a third reason to write.
    await demo.change(policy, { description: 'changed' });
    await demo.optOut(namespaces[0] ?? '');
    await demo.compliant(policy, 99, { timeout: 30_000 });
    await demo.optOut(namespaces[1] ?? '');
    await demo.compliant(policy, 98);
    assert.deepEqual(first.status?.networkPolicies, { desired: 300, current: 300 });

    const writes = (await demo.controlPlane.auditEvents()).filter(
      ({ stage, verb, objectRef }) =>
        stage === 'ResponseComplete' &&
        verb === 'patch' &&
        objectRef?.resource === 'baselinepolicies' &&
        objectRef.subresource === 'status' &&
        objectRef.name === policy,
    );
    const times = writes.map(({ requestReceivedTimestamp }) => Date.parse(requestReceivedTimestamp));
    assert.ok(times.length >= 3, `expected some writes of the status, got ${times.length}`);
    for (const [index, time] of times.slice(1).entries()) {
      // The operator measures when it sends, the log when it receives.
      assert.ok(time - (times[index] ?? 0) >= 1_900, `two writes of the status within 2 s: ${times.join()}`);
    }
  });
});
