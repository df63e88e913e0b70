import assert from 'node:assert/strict';
import { type AuditEvent, type AuditMark, ControlPlane } from '../../../hack/envtest/control-plane.ts';
import { API_VERSION, KIND, type BaselinePolicy } from '../../../src/api/baselinepolicy.ts';
import { consistently, eventually } from '../../support/await.ts';
import { installCRD } from '../../support/crd.ts';
import { KubeClient } from '../../support/kube.ts';
import { operatorRequests } from '../../support/operator-requests.ts';
import { OperatorProcess } from '../../support/operator.ts';
import { ELECTION_FLAGS, installServiceAccount } from '../../support/service-account.ts';

const RULES = ['allow-dns', 'allow-monitoring', 'default-deny'];
const READS = ['get', 'list', 'watch'];

describe('life of the operator', function () {
  this.timeout(60_000);
  let controlPlane: ControlPlane;
  let kube: KubeClient;
  let serviceAccount: string;

  before(async () => {
    controlPlane = await ControlPlane.start({ auditLog: true });
    kube = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
    await installCRD(kube);
    serviceAccount = await installServiceAccount(controlPlane, kube);
  });

  after(async () => {
    await kube.close();
    await controlPlane.stop();
  });

  function startOperator(...flags: string[]): Promise<OperatorProcess> {
    return OperatorProcess.start({ kubeconfig: serviceAccount, flags });
  }

  /** A policy of this name for the namespaces that carry its name in the label `team`. */
  async function createPolicy(name: string): Promise<void> {
    const spec = { namespaceSelector: { matchLabels: { team: name } } };
    await kube.baselinePolicies.create({ apiVersion: API_VERSION, kind: KIND, metadata: { name }, spec });
  }

  /** Namespaces `<team>-<first>` and so on, with the label that the policy of that name selects. */
  async function createNamespaces(team: string, count: number, first = 1): Promise<string[]> {
    const names = Array.from({ length: count }, (_, index) => `${team}-${first + index}`);
    await Promise.all(names.map((name) => kube.namespaces.create({ metadata: { name, labels: { team } } })));
    return names;
  }

  /** Resolves with the policy when it says that so many namespaces are selected, and that all of them are right. */
  function compliant(name: string, namespaces: number): Promise<BaselinePolicy> {
    return eventually(
      async () => {
        const policy = await kube.baselinePolicies.get(name);
        const { conditions, observedGeneration, ...status } = policy.status ?? {};
        assert.equal(observedGeneration, policy.metadata.generation);
        const counts = { selected: namespaces, compliant: namespaces, drifted: 0, failed: 0, pending: 0 };
        assert.deepEqual(status.namespaces, counts);
        assert.equal(conditions?.find(({ type }) => type === 'Ready')?.status, 'True', JSON.stringify(conditions));
        return policy;
      },
      { timeout: 20_000 },
    );
  }

  /** Rules of the policy's children in a namespace, in alphabetical order. */
  async function rulesIn(namespace: string, policy: string): Promise<string[]> {
    const names = (await kube.networkPolicies(namespace).list()).map(({ metadata }) => metadata.name);
    return names.filter((name) => name.startsWith(`${policy}.`)).map((name) => name.slice(policy.length + 1));
  }

  const requestsSince = (mark: AuditMark): Promise<AuditEvent[]> => operatorRequests(controlPlane, mark);

  async function writesSince(mark: AuditMark): Promise<string[]> {
    const events = await requestsSince(mark);
    return events
      .filter(({ verb, objectRef }) => !READS.includes(verb) && objectRef?.resource !== 'leases')
      .map(({ verb, requestURI, objectRef }) => `${verb} ${requestURI} ${objectRef?.name ?? ''}`);
  }

  describe('started again on a cluster where all is right', () => {
    const count = 130;

    before(async () => {
      await createNamespaces('calm', count);
      await createPolicy('calm');
      await using operator = await startOperator();
      await compliant('calm', count);
      assert.equal(await operator.stop(), 0);
    });

    for (const [title, pageSize] of [
      ['lists each resource once', 1000],
      ['reads lists page by page', 50],
    ] as const) {
      it(`${title}, watches it from there, and writes nothing`, async () => {
        const mark = await controlPlane.auditMark();
        const objects = {
          namespaces: (await kube.namespaces.list()).length,
          networkpolicies: (await kube.networkPolicies().list()).length,
          baselinepolicies: (await kube.baselinePolicies.list()).length,
          services: 1, // kube-system/kube-dns, for the addresses of DNS
        };
        await using operator = await startOperator(...ELECTION_FLAGS, `--list-page-size=${pageSize}`);
        await eventually(async () => {
          const samples = await operator.metrics();
          assert.equal(samples.get('baseline_policy_namespaces{policy="calm",state="compliant"}'), count);
          assert.equal(samples.get('workqueue_depth{name="namespace"}'), 0);
        });
        // A status that had changed would be written by now, or very soon.
        await consistently(
          async () => {
            assert.deepEqual(await writesSince(mark), []);
          },
          { for: 1_000, interval: 200 },
        );

        const requests = await requestsSince(mark);
        for (const [resource, total] of Object.entries(objects)) {
          const ofResource = requests.filter(({ objectRef }) => objectRef?.resource === resource);
          const pages = ofResource
            .filter(({ verb }) => verb === 'list')
            .map(({ requestURI }) => new URL(requestURI, controlPlane.server).searchParams);
          assert.equal(pages.length, Math.ceil(total / pageSize), `pages of ${total} ${resource}`);
          for (const [index, page] of pages.entries()) {
            assert.equal(page.get('limit'), String(pageSize));
            assert.equal(page.has('continue'), index > 0);
          }
          assert.equal(ofResource.filter(({ verb }) => verb === 'watch').length, 1, `watches of ${resource}`);
        }
        const others = requests.filter(({ objectRef }) => !((objectRef?.resource ?? '') in { ...objects, leases: 0 }));
        assert.deepEqual(
          others.map(({ requestURI }) => requestURI),
          ['/version'],
        );
        assert.equal(await operator.stop(), 0);
      });
    }
  });

  it('makes good what happened while it was down, and counts as drift only what was right before', async () => {
    const [edited = '', deleted = '', leaving = '', other = ''] = await createNamespaces('away', 10);
    await createPolicy('away');
    await using first = await startOperator();
    await compliant('away', 10);
    assert.equal(await first.stop(), 0);

    const added = await createNamespaces('away', 20, 11);
    const opening = [{ op: 'replace', path: '/spec', value: { podSelector: {}, ingress: [{}] } }];
    await kube.networkPolicies(edited).patch('away.default-deny', opening);
    await kube.networkPolicies(deleted).delete('away.allow-dns');
    for (const name of [leaving, other]) await kube.namespaces.merge(name, { metadata: { labels: { team: null } } });

    await using second = await startOperator();
    const { status } = await compliant('away', 28);
    for (const namespace of [edited, deleted, ...added]) assert.deepEqual(await rulesIn(namespace, 'away'), RULES);
    for (const namespace of [leaving, other]) assert.deepEqual(await rulesIn(namespace, 'away'), []);
    const { spec } = await kube.networkPolicies(edited).get('away.default-deny');
    assert.deepEqual(spec, { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });

    const drifts = [...(await second.metrics())].filter(
      ([sample, value]) => sample.startsWith('baseline_policy_drift_total{policy="away"') && value > 0,
    );
    assert.deepEqual(
      new Map(drifts),
      new Map([
        ['baseline_policy_drift_total{policy="away",rule="default-deny",reason="Modified",action="healed"}', 1],
        ['baseline_policy_drift_total{policy="away",rule="allow-dns",reason="Missing",action="healed"}', 1],
      ]),
    );
    assert.deepEqual([status?.drift?.detectedTotal, status?.drift?.healedTotal], [2, 2]);
  });

  it('leaves a namespace alone that is being deleted and cannot go', async () => {
    const [stuck = ''] = await createNamespaces('stuck', 3);
    const held = { metadata: { finalizers: ['example.com/held'] } };
    const configMaps = kube.resource('v1', 'configmaps', stuck);
    await configMaps.create({ metadata: { name: 'held', ...held.metadata } });
    await createPolicy('stuck');
    await using operator = await startOperator();
    await compliant('stuck', 3);
    // One child is held too: it must not hold up the deletion of the policy.
    await kube.networkPolicies(stuck).merge('stuck.allow-dns', held);
    const mark = await controlPlane.auditMark();
    const retries = 'workqueue_retries_total{name="namespace"}';
    const retriesBefore = await operator.metric(retries);

    await kube.namespaces.delete(stuck);
    await eventually(async () => {
      assert.deepEqual(await rulesIn(stuck, 'stuck'), ['allow-dns']);
    });
    await compliant('stuck', 2);
    await kube.baselinePolicies.delete('stuck');
    await eventually(async () => {
      assert.equal(await kube.baselinePolicies.find('stuck'), undefined);
    });
    assert.deepEqual(await rulesIn('stuck-2', 'stuck'), []);

    assert.equal((await kube.namespaces.get(stuck)).status?.phase, 'Terminating');
    assert.ok(await configMaps.find('held'));
    const touched = (await requestsSince(mark)).filter(({ objectRef }) => objectRef?.namespace === stuck);
    assert.deepEqual(touched, []);
    assert.equal(await operator.metric(retries), retriesBefore);
    assert.deepEqual(
      operator.log.filter(({ level }) => level === 'warn' || level === 'error'),
      [],
    );
  });
});
