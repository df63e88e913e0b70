import assert from 'node:assert/strict';
import { ControlPlane } from '../../../hack/envtest/control-plane.ts';
import type { NetworkPolicy } from '../../../src/api/networkpolicy.ts';
import { KubeClient, RESOURCES } from '../../../src/kube/client.ts';
import { loadClusterAccess } from '../../../src/kube/kubeconfig.ts';
import { Transport } from '../../../src/kube/transport.ts';
import { serializeChild } from '../../../src/policy/child.ts';
import { recognizeCreated, trimNetworkPolicy } from '../../../src/policy/live.ts';
import { namespace, policy } from '../../support/fixtures.ts';

describe('Answers of a real API server', function () {
  this.timeout(40_000);

  let controlPlane: ControlPlane;
  let transport: Transport;

  before(async () => {
    controlPlane = await ControlPlane.start({ controllerManager: false });
    const access = await loadClusterAccess(controlPlane.kubeconfig, {});
    transport = new Transport({ access, userAgent: 'test', connections: 4, timeoutMs: 10_000 });
  });

  after(async () => {
    await transport.close();
    await controlPlane.stop();
  });

  it('to creates of all kinds of children are recognized without being parsed', async () => {
    const built = policy('every').with({
      description: 'Baseline of all',
      rules: {
        allowSameNamespace: { enabled: true },
        allowKubeAPIServer: { enabled: true },
        allowIngressController: {
          enabled: true,
          from: [{ namespaceSelector: { matchExpressions: [{ key: 'tier', operator: 'In', values: ['b', 'a'] }] } }],
          ports: [{ port: 8000, endPort: 8080 }, { port: 'https' }],
        },
        allowExternalEgress: { enabled: true, except: ['203.0.113.0/24'] },
      },
      additionalPolicies: [
        {
          name: 'allow-own-database',
          spec: {
            podSelector: { matchLabels: { z: '1', a: '2' } },
            policyTypes: ['Egress'],
            egress: [{ to: [{ podSelector: {}, namespaceSelector: { matchLabels: { of: '$(namespace.name)' } } }] }],
          },
        },
      ],
    });
    const desired = built.desiredIn(namespace('default'), {
      kubeDNSClusterIPs: ['10.0.0.10'],
      apiServerEndpoints: [{ addresses: ['192.0.2.1'], ports: [{ protocol: 'TCP', port: 6443 }] }],
      apiServerClusterIPs: ['10.0.0.1'],
    });
    assert.equal(desired.children.size, 8);
    const client = new KubeClient(transport);
    const uid = built.build().metadata.uid ?? '';
    for (const child of desired.children.values()) {
      const body = serializeChild(child.template, 'default');
      const answer = await client.createText(RESOURCES.networkPolicies, body, 'default');
      const trimmed = trimNetworkPolicy(JSON.parse(answer) as NetworkPolicy, undefined, (text) => text);
      assert.deepEqual(recognizeCreated(answer, child, 'default', uid), trimmed, `${child.name}: ${answer}`);
      assert.equal(trimmed?.spec, child.spec);
    }
  });
});
