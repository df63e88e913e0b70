import assert from 'node:assert/strict';
import { type AuditEvent, type AuditMark, ControlPlane } from '../../../hack/envtest/control-plane.ts';
import { API_VERSION, KIND } from '../../../src/api/baselinepolicy.ts';
import type { KubernetesObject } from '../../../src/api/metadata.ts';
import { consistently, eventually } from '../../support/await.ts';
import { installCRD } from '../../support/crd.ts';
import { KubeClient } from '../../support/kube.ts';
import { operatorRequests } from '../../support/operator-requests.ts';
import { OperatorProcess } from '../../support/operator.ts';
import {
  ELECTION_FLAGS,
  installServiceAccount,
  OPERATOR_LEASE,
  OPERATOR_NAMESPACE,
} from '../../support/service-account.ts';

const LEASE_MS = 3_000;
const RENEW_DEADLINE_MS = 2_000;
const RETRY_MS = 500;
const FLAGS = [
  ...ELECTION_FLAGS,
  `--leader-election-lease-duration=${LEASE_MS}ms`,
  `--leader-election-renew-deadline=${RENEW_DEADLINE_MS}ms`,
  `--leader-election-retry-period=${RETRY_MS}ms`,
];
const RULES = ['base.allow-dns', 'base.allow-monitoring', 'base.default-deny'];

interface Lease extends KubernetesObject {
  spec?: { holderIdentity?: string };
}

describe('operators that elect a leader', function () {
  this.timeout(60_000);
  let controlPlane: ControlPlane;
  let kube: KubeClient;
  let serviceAccount: string;
  let leader: OperatorProcess;
  let follower: OperatorProcess;

  before(async () => {
    controlPlane = await ControlPlane.start({ auditLog: true });
    kube = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
    await installCRD(kube);
    serviceAccount = await installServiceAccount(controlPlane, kube);
    await kube.baselinePolicies.create({ apiVersion: API_VERSION, kind: KIND, metadata: { name: 'base' }, spec: {} });
    leader = await start();
    await leads(leader);
    follower = await start();
  });

  after(async () => {
    for (const operator of [leader, follower]) {
      operator.signal('SIGCONT');
      await operator.stop();
    }
    await kube.close();
    await controlPlane.stop();
  });

  /** Starts an operator and resolves when it has listed all that it watches, also the addresses that rules use. */
  async function start(): Promise<OperatorProcess> {
    const operator = await OperatorProcess.start({ kubeconfig: serviceAccount, flags: FLAGS });
    await eventually(() => operator.metric('watch_last_event_timestamp_seconds{resource="services"}'));
    return operator;
  }

  function isLeading(operator: OperatorProcess): Promise<number> {
    return operator.metric(`leader_election_master_status{name="${OPERATOR_LEASE}"}`);
  }

  async function leads(operator: OperatorProcess): Promise<void> {
    await eventually(async () => {
      assert.equal(await isLeading(operator), 1);
    });
  }

  async function holder(): Promise<string | undefined> {
    const lease = await kube
      .resource<Lease>('coordination.k8s.io/v1', 'leases', OPERATOR_NAMESPACE)
      .get(OPERATOR_LEASE);
    return lease.spec?.holderIdentity;
  }

  async function createNamespace(name: string): Promise<void> {
    await kube.namespaces.create({ metadata: { name, labels: { 'baselinepolicy.dev/enforce': 'true' } } });
  }

  /** Resolves when the namespace has all its children. */
  async function healed(namespace: string): Promise<void> {
    await eventually(async () => {
      const names = (await kube.networkPolicies(namespace).list()).map(({ metadata }) => metadata.name);
      assert.deepEqual(names, RULES);
    });
  }

  /** What one operator has sent beside reads and its Lease, by its own count. */
  async function writesOf(operator: OperatorProcess): Promise<number> {
    const sent = [...(await operator.metrics())].filter(
      ([sample]) =>
        sample.startsWith('rest_client_request_duration_seconds_count{') &&
        !sample.includes('method="GET"') &&
        !sample.includes('resource="leases"'),
    );
    return sent.reduce((sum, [, count]) => sum + count, 0);
  }

  /** What all operators together asked of the API server since the mark, apart from the Lease. */
  async function requestsSince(mark: AuditMark, verbs: readonly string[]): Promise<AuditEvent[]> {
    const events = await operatorRequests(controlPlane, mark);
    return events.filter(({ verb, objectRef }) => objectRef?.resource !== 'leases' && verbs.includes(verb));
  }

  const WRITES = ['create', 'update', 'patch', 'delete', 'deletecollection'];

  it('are all ready, but only the leader writes', async () => {
    assert.equal(await isLeading(follower), 0);
    assert.equal((await fetch(`${follower.url('health')}/readyz`)).status, 200);
    const mark = await controlPlane.auditMark();
    const before = await writesOf(leader);
    for (const name of ['one', 'two', 'three']) await createNamespace(name);
    for (const name of ['one', 'two', 'three']) await healed(name);
    await kube.networkPolicies('one').delete('base.allow-dns');
    await healed('one');
    await eventually(async () => {
      const writes = await requestsSince(mark, WRITES);
      assert.ok(writes.length >= 10);
      assert.equal((await writesOf(leader)) - before, writes.length);
    });
    assert.equal(await writesOf(follower), 0);
    const names = new Map(
      [...(await follower.metrics())].filter(([sample]) => sample.startsWith('baseline_policy_info{')),
    );
    assert.deepEqual(names, new Map(), 'what only the leader knows is told by the leader alone');
  });

  it('hand over at once when the leader is stopped, without a list', async () => {
    const mark = await controlPlane.auditMark();
    assert.equal(await leader.stop(), 0);
    assert.equal(leader.stderr, '');
    const stopped = performance.now();
    await kube.networkPolicies('one').delete('base.default-deny');
    await kube
      .networkPolicies('two')
      .patch('base.default-deny', [
        { op: 'replace', path: '/spec', value: { podSelector: {}, policyTypes: ['Ingress'], ingress: [{}] } },
      ]);
    await healed('one');
    await eventually(async () => {
      const { spec } = await kube.networkPolicies('two').get('base.default-deny');
      assert.deepEqual(spec, { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
    });
    const took = performance.now() - stopped;
    assert.ok(took < LEASE_MS - RETRY_MS, `took ${took} ms; a released Lease must not be waited for`);
    assert.deepEqual(await requestsSince(mark, ['list']), []);
    assert.equal(await isLeading(follower), 1);
    leader = follower;
    follower = await start();
  });

  it('take over when the Lease has expired, after the leader was killed, without a list', async () => {
    const mark = await controlPlane.auditMark();
    const old = await holder();
    leader.signal('SIGKILL');
    await leader.exited();
    const killed = performance.now();
    await kube.networkPolicies('one').delete('base.default-deny');
    await eventually(async () => {
      assert.notEqual(await holder(), old);
    });
    const took = performance.now() - killed;
    // The last renewal was up to a retry period before the end.
    assert.ok(took > LEASE_MS - 2 * RETRY_MS, `took the Lease after ${took} ms`);
    assert.ok(took < LEASE_MS + 3 * RETRY_MS, `took the Lease after ${took} ms`);
    await healed('one');
    assert.deepEqual(await requestsSince(mark, ['list']), []);
    assert.equal(await isLeading(follower), 1);
    leader = follower;
    follower = await start();
  });

  it('heal also what happened while the leader could not renew in time, when nobody has taken its Lease', async () => {
    await holdStill(follower, async () => {
      await holdStill(leader, async () => {
        const mark = await controlPlane.auditMark();
        await kube.networkPolicies('one').delete('base.allow-dns');
        await consistently(
          async () => {
            assert.deepEqual(await requestsSince(mark, WRITES), []);
          },
          { for: RENEW_DEADLINE_MS + RETRY_MS, interval: 100 },
        );
      });
      await healed('one');
    });
  });

  /** Runs `fn` while the operator stands still. */
  async function holdStill<T>(operator: OperatorProcess, fn: () => Promise<T>): Promise<T> {
    operator.signal('SIGSTOP');
    try {
      return await fn();
    } finally {
      operator.signal('SIGCONT');
    }
  }
});
