import assert from 'node:assert/strict';
import { type AuditEvent, type AuditMark, ControlPlane } from '../../../hack/envtest/control-plane.ts';
import { API_VERSION, KIND } from '../../../src/api/baselinepolicy.ts';
import { eventually } from '../../support/await.ts';
import { installCRD } from '../../support/crd.ts';
import { KubeClient } from '../../support/kube.ts';
import { OperatorProcess } from '../../support/operator.ts';
import { installServiceAccount, OPERATOR_USER } from '../../support/service-account.ts';

const RULES = ['base.allow-dns', 'base.allow-monitoring', 'base.default-deny'];
const OPEN = [{ op: 'replace', path: '/spec', value: { podSelector: {}, policyTypes: ['Ingress'], ingress: [{}] } }];

describe('operator and an API server that goes away', function () {
  this.timeout(90_000);
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
    for (const name of ['one', 'two', 'three']) await createNamespace(name);
  });

  // A new one each time: what it has been through makes an operator wait longer.
  beforeEach(async () => {
    operator = await OperatorProcess.start({ kubeconfig: serviceAccount });
    await allRight(['one', 'two', 'three']);
  });

  afterEach(async () => {
    assert.equal(await operator.stop(), 0);
    assert.equal(operator.stderr, '');
  });

  after(async () => {
    await kube.close();
    await controlPlane.stop();
  });

  async function createNamespace(name: string): Promise<void> {
    await kube.namespaces.create({ metadata: { name, labels: { 'baselinepolicy.dev/enforce': 'true' } } });
  }

  /** Resolves when each of the namespaces has its children, and none of them is open. */
  async function allRight(namespaces: readonly string[], timeout = 20_000): Promise<void> {
    await eventually(
      async () => {
        for (const namespace of namespaces) {
          const children = await kube.networkPolicies(namespace).list();
          assert.deepEqual(
            children.map(({ metadata }) => metadata.name),
            RULES,
            namespace,
          );
          const deny = children.find(({ metadata }) => metadata.name === 'base.default-deny');
          assert.deepEqual(deny?.spec, { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }, namespace);
        }
      },
      { timeout },
    );
  }

  /** What the operator asked of the API server since the mark, watches that are under way included. */
  async function requestsSince(mark: AuditMark): Promise<AuditEvent[]> {
    const events = await controlPlane.auditEvents(mark);
    return events.filter(({ user }) => user.username === OPERATOR_USER);
  }

  async function childUids(): Promise<Map<string, string | undefined>> {
    const children = await kube.networkPolicies().list();
    return new Map(children.map(({ metadata }) => [`${metadata.namespace ?? ''}/${metadata.name}`, metadata.uid]));
  }

  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    it(`heals what happens after the API server was restarted by ${signal}`, async () => {
      const pid = operator.pid;
      const before = await childUids();
      const mark = await controlPlane.auditMark();
      await controlPlane.stopAPIServer(signal);
      await eventually(async () => {
        assert.equal((await fetch(`${operator.url('health')}/readyz`)).status, 500);
      });
      assert.equal((await fetch(`${operator.url('health')}/livez`)).status, 200, 'a restart would not help');
      await controlPlane.startAPIServer();

      await kube.networkPolicies('one').delete('base.allow-dns');
      await kube.networkPolicies('two').patch('base.default-deny', OPEN);
      await createNamespace(`after-${signal.toLowerCase()}`);
      await allRight(['one', 'two', 'three', `after-${signal.toLowerCase()}`], 40_000);
      await operator.ready();

      assert.equal(operator.pid, pid);
      const after = await childUids();
      const replaced = [...before].filter(([child, uid]) => after.get(child) !== uid).map(([child]) => child);
      assert.deepEqual(replaced, ['one/base.allow-dns']);
      const deletes = (await requestsSince(mark)).filter(({ verb }) => verb.startsWith('delete'));
      assert.deepEqual(deletes, []);
    });
  }

  it('lists anew, and heals, when etcd has forgotten what happened while its watches were stopped', async () => {
    const before = await childUids();
    let mark: AuditMark;
    operator.signal('SIGSTOP');
    try {
      // The watches end first: what they had sent would reach the operator out of the buffers of the system.
      await controlPlane.restartAPIServer('SIGKILL');
      await kube.networkPolicies('one').delete('base.allow-dns');
      await kube.networkPolicies('two').patch('base.default-deny', OPEN);
      await kube.namespaces.merge('three', { metadata: { labels: { 'baselinepolicy.dev/enforce': null } } });
      await createNamespace('unseen-1');
      await createNamespace('unseen-2');
      await controlPlane.compactEtcd();
      await controlPlane.restartAPIServer('SIGKILL');
      mark = await controlPlane.auditMark();
    } finally {
      operator.signal('SIGCONT');
    }
    await allRight(['one', 'two', 'unseen-1', 'unseen-2'], 40_000);
    await eventually(async () => {
      assert.deepEqual(await kube.networkPolicies('three').list(), []);
    });
    await operator.ready();

    const after = await childUids();
    const replaced = [...before].filter(([child, uid]) => after.get(child) !== uid).map(([child]) => child);
    assert.deepEqual(replaced.sort(), ['one/base.allow-dns', ...RULES.map((child) => `three/${child}`)]);
    const requests = await requestsSince(mark);
    for (const resource of ['namespaces', 'networkpolicies']) {
      const verbs = requests
        .filter(({ objectRef, stage }) => objectRef?.resource === resource && stage === 'ResponseComplete')
        .map(({ verb }) => verb)
        .filter((verb) => verb === 'list' || verb === 'watch');
      // A watch that could not be resumed, then one complete list; the watch from there is under way.
      assert.deepEqual(verbs, ['watch', 'list'], resource);
    }
  });
});
