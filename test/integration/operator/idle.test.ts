import assert from 'node:assert/strict';
import { type AuditEvent, type AuditMark, ControlPlane } from '../../../hack/envtest/control-plane.ts';
import { API_VERSION, KIND } from '../../../src/api/baselinepolicy.ts';
import { consistently, eventually } from '../../support/await.ts';
import { installCRD } from '../../support/crd.ts';
import { KubeClient } from '../../support/kube.ts';
import { operatorRequests } from '../../support/operator-requests.ts';
import { OperatorProcess } from '../../support/operator.ts';
import { ELECTION_FLAGS, installServiceAccount } from '../../support/service-account.ts';

const NAMESPACES = Array.from({ length: 10 }, (_, index) => `idle-${index + 1}`);
const IDLE_MS = 60_000;
/** How often a leader renews its Lease, by default. */
const RENEW_EVERY_MS = 2_000;

describe('operator with nothing to do', function () {
  this.timeout(120_000);
  let controlPlane: ControlPlane;
  let kube: KubeClient;
  let serviceAccount: string;
  let operator: OperatorProcess;

  before(async () => {
    controlPlane = await ControlPlane.start({ auditLog: true });
    kube = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
    await installCRD(kube);
    serviceAccount = await installServiceAccount(controlPlane, kube);
    await kube.baselinePolicies.create({ apiVersion: API_VERSION, kind: KIND, metadata: { name: 'base' }, spec: {} });
    for (const name of NAMESPACES) await createNamespace(name);
    operator = await OperatorProcess.start({ kubeconfig: serviceAccount, flags: ELECTION_FLAGS });
    await compliant(NAMESPACES.length);
  });

  after(async () => {
    await operator.stop();
    await kube.close();
    await controlPlane.stop();
  });

  async function createNamespace(name: string): Promise<void> {
    await kube.namespaces.create({ metadata: { name, labels: { 'baselinepolicy.dev/enforce': 'true' } } });
  }

  async function compliant(count: number): Promise<void> {
    await eventually(async () => {
      const { status } = await kube.baselinePolicies.get('base');
      assert.equal(status?.namespaces?.compliant, count);
      assert.equal(status.conditions?.find(({ type }) => type === 'Ready')?.status, 'True');
    });
  }

  const requestsSince = (mark: AuditMark): Promise<AuditEvent[]> => operatorRequests(controlPlane, mark);

  function isLease({ objectRef }: AuditEvent): boolean {
    return objectRef?.resource === 'leases';
  }

  it('asks for nothing in a minute but its Lease and watches that go on', async () => {
    const mark = await controlPlane.auditMark();
    await consistently(
      async () => {
        const others = (await requestsSince(mark)).filter((event) => !isLease(event) && event.verb !== 'watch');
        assert.deepEqual(others, []);
      },
      { for: IDLE_MS, interval: 5_000 },
    );
    const requests = await requestsSince(mark);
    const leases = requests.filter(isLease);
    assert.deepEqual([...new Set(leases.map(({ verb }) => verb))], ['update'], 'a leader that renews need not read');
    assert.ok(leases.length <= IDLE_MS / RENEW_EVERY_MS + 5, `${leases.length} requests for the Lease`);
    const watches = Object.groupBy(
      requests.filter(({ verb }) => verb === 'watch'),
      ({ objectRef }) => objectRef?.resource ?? '',
    );
    for (const [resource, opened = []] of Object.entries(watches)) {
      assert.ok(opened.length <= 2, `opened ${opened.length} watches of ${resource}`);
    }
  });

  it('asks for nothing because of changes that change nothing for it', async () => {
    const mark = await controlPlane.auditMark();
    for (let round = 1; round <= 10; round++) {
      const annotations = { annotations: { 'example.com/round': String(round) } };
      await Promise.all(
        NAMESPACES.map(async (namespace) => {
          const networkPolicies = kube.networkPolicies(namespace);
          await kube.namespaces.merge(namespace, { metadata: annotations });
          await networkPolicies.merge('base.default-deny', { metadata: annotations });
          await networkPolicies.create({ metadata: { name: `own-${round}` }, spec: { podSelector: {} } });
        }),
      );
      await kube.baselinePolicies.merge('base', { metadata: annotations });
    }
    // Watches tell of changes in their order: what a later change causes comes after what the earlier ones cause.
    await createNamespace('later');
    await kube.networkPolicies('idle-1').delete('base.allow-dns');
    await compliant(NAMESPACES.length + 1);
    await eventually(async () => {
      assert.ok(await kube.networkPolicies('idle-1').find('base.allow-dns'));
    });

    const requests = (await requestsSince(mark)).filter((event) => !isLease(event) && event.verb !== 'watch');
    const children = requests.filter(({ objectRef }) => objectRef?.resource === 'networkpolicies');
    const written = children.map(
      ({ verb, objectRef }) => `${verb} ${objectRef?.namespace ?? ''}/${objectRef?.name ?? ''}`,
    );
    assert.deepEqual(written.sort(), [
      'create idle-1/base.allow-dns',
      'create later/base.allow-dns',
      'create later/base.allow-monitoring',
      'create later/base.default-deny',
    ]);
    // The others tell of these four, the status and events of the drift; and whether the child went with its namespace.
    const others = requests.filter((request) => !children.includes(request));
    assert.deepEqual([...new Set(others.map(({ verb, objectRef }) => `${verb} ${objectRef?.resource ?? ''}`))].sort(), [
      'create events',
      'get namespaces',
      'patch baselinepolicies',
    ]);
    // The namespace is read beside the write, so either request may arrive first.
    const reads = others.filter(({ verb }) => verb === 'get');
    assert.deepEqual(
      reads.map(({ objectRef }) => objectRef?.name),
      ['idle-1'],
    );
    const firstChild = children.map(({ requestReceivedTimestamp }) => requestReceivedTimestamp).sort()[0] ?? '';
    for (const { verb, requestURI, requestReceivedTimestamp } of others) {
      if (verb !== 'get') assert.ok(requestReceivedTimestamp > firstChild, requestURI);
    }
  });
});
