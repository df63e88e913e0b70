import assert from 'node:assert/strict';
import { workloadName } from '../../../src/analysis/cluster.ts';
import type { NetworkPolicy } from '../../../src/api/networkpolicy.ts';
import type { OwnerReference } from '../../../src/api/metadata.ts';
import type { Controller, Pod, PodSpec } from '../../../src/cli/input/objects.ts';
import { workloadsOf } from '../../../src/cli/input/workloads.ts';
import type { Labels } from '../../../src/policy/selector.ts';
import { frozen } from '../../support/fixtures.ts';

function ownedBy(kind: string, name: string, controller = true): { ownerReferences: OwnerReference[] } {
  return { ownerReferences: [{ apiVersion: 'apps/v1', kind, name, uid: name, controller }] };
}

function controller(kind: string, name: string, labels: Labels, owner = {}): Controller {
  return { kind, metadata: { namespace: 'shop', name, ...owner }, spec: { template: { metadata: { labels } } } };
}

function pod(
  name: string,
  labels: Labels,
  owner = {},
  more: { spec?: PodSpec; ip?: string; phase?: string } = {},
): Pod {
  const { spec = {}, ip, phase } = more;
  return {
    kind: 'Pod',
    metadata: { namespace: 'shop', name, labels, ...owner },
    spec,
    status: { ...(phase !== undefined && { phase }), ...(ip !== undefined && { podIPs: [{ ip }] }) },
  };
}

function namesOf(pods: readonly Pod[], controllers: readonly Controller[], policies: readonly NetworkPolicy[] = []) {
  const { workloads, ofPod } = workloadsOf(frozen({ pods: [...pods], controllers: [...controllers] }), policies);
  return { names: workloads.map(workloadName), workloads, ofPod: Object.fromEntries(ofPod) };
}

describe('Workloads of objects', () => {
  it('makes pods, ReplicaSet and Deployment one workload, with the addresses of the pods', () => {
    const { names, workloads, ofPod } = namesOf(
      [
        pod('web-1-a', { app: 'web', 'pod-template-hash': '1' }, ownedBy('ReplicaSet', 'web-1'), { ip: '10.0.0.1' }),
        pod('web-1-b', { app: 'web', 'pod-template-hash': '1' }, ownedBy('ReplicaSet', 'web-1'), { ip: '10.0.0.2' }),
      ],
      [
        controller('Deployment', 'web', { app: 'web' }),
        controller('ReplicaSet', 'web-1', { app: 'web' }, ownedBy('Deployment', 'web')),
        controller('ReplicaSet', 'web-0', { app: 'old' }, ownedBy('Deployment', 'web')),
      ],
    );
    assert.deepEqual(names, ['shop/web[Deployment]']);
    assert.deepEqual(workloads[0]?.labels, { app: 'web' });
    assert.deepEqual(workloads[0].ips, ['10.0.0.1', '10.0.0.2']);
    assert.deepEqual(ofPod, { 'shop/web-1-a': 'shop/web[Deployment]', 'shop/web-1-b': 'shop/web[Deployment]' });
  });

  it('names pods by an owner that is not there, and only by one with controller: true', () => {
    const { names } = namesOf(
      [
        pod('a', { app: 'a' }, ownedBy('ReplicaSet', 'gone')),
        pod('b', { app: 'b' }, ownedBy('Deployment', 'other', false)),
      ],
      [],
    );
    assert.deepEqual(names, ['shop/gone[ReplicaSet]', 'shop/b[Pod]'].sort());
  });

  it('keeps pods apart whose labels, named ports or host network differ', () => {
    const owner = ownedBy('StatefulSet', 'db');
    const ports = [{ ports: [{ name: 'sql', containerPort: 5432 }] }];
    const { names, ofPod } = namesOf(
      [
        pod('db-0', { app: 'db' }, owner),
        pod('db-1', { app: 'db' }, owner),
        pod('db-2', { app: 'db', debug: 'true' }, owner),
        pod('db-3', { app: 'db' }, owner, { spec: { containers: ports } }),
        pod('db-4', { app: 'db' }, owner, { spec: { hostNetwork: true } }),
      ],
      [],
    );
    assert.deepEqual(names, ['shop/db[StatefulSet]', 'shop/db-2[Pod]', 'shop/db-3[Pod]', 'shop/db-4[Pod]']);
    assert.equal(ofPod['shop/db-1'], 'shop/db[StatefulSet]');
    assert.equal(ofPod['shop/db-2'], 'shop/db-2[Pod]');
  });

  it('takes the pods that are like the template for the workload, though others are more', () => {
    const owner = ownedBy('StatefulSet', 'db');
    const old = { app: 'db', tier: 'old' };
    const { names } = namesOf(
      [pod('db-0', old, owner), pod('db-1', old, owner), pod('db-2', { app: 'db' }, owner)],
      [controller('StatefulSet', 'db', { app: 'db' })],
    );
    assert.deepEqual(names, ['shop/db[StatefulSet]', 'shop/db-0[Pod]', 'shop/db-1[Pod]']);
  });

  it('counts a generated label only where a policy selects by it', () => {
    const owner = ownedBy('StatefulSet', 'db');
    const key = 'statefulset.kubernetes.io/pod-name';
    const pods = [pod('db-0', { [key]: 'db-0' }, owner), pod('db-1', { [key]: 'db-1' }, owner)];
    const policy: NetworkPolicy = {
      metadata: { namespace: 'shop', name: 'first' },
      spec: { podSelector: { matchLabels: { [key]: 'db-0' } } },
    };
    const peer: NetworkPolicy = {
      metadata: { namespace: 'shop', name: 'first' },
      spec: {
        podSelector: {},
        egress: [{ to: [{ podSelector: { matchExpressions: [{ key, operator: 'Exists' }] } }] }],
      },
    };
    assert.deepEqual(namesOf(pods, []).names, ['shop/db[StatefulSet]']);
    for (const one of [policy, peer]) {
      assert.deepEqual(namesOf(pods, [], [one]).names, ['shop/db[StatefulSet]', 'shop/db-1[Pod]']);
    }
  });

  it('leaves out pods that have run to their end, and reads the template of a CronJob', () => {
    const cron: Controller = {
      kind: 'CronJob',
      metadata: { namespace: 'shop', name: 'nightly' },
      spec: { jobTemplate: { spec: { template: { metadata: { labels: { app: 'nightly' } } } } } },
    };
    const { names, workloads } = namesOf(
      [pod('done', {}, {}, { phase: 'Succeeded' }), pod('failed', {}, {}, { phase: 'Failed' })],
      [cron],
    );
    assert.deepEqual(names, ['shop/nightly[CronJob]']);
    assert.deepEqual(workloads[0]?.labels, { app: 'nightly' });
  });

  it('knows the named ports of containers and of sidecars, not those of other init containers', () => {
    const spec: PodSpec = {
      containers: [{ ports: [{ name: 'http', containerPort: 80 }, { containerPort: 81 }] }],
      initContainers: [
        { restartPolicy: 'Always', ports: [{ name: 'dns', containerPort: 53, protocol: 'UDP' }] },
        { ports: [{ name: 'once', containerPort: 82 }] },
      ],
    };
    assert.deepEqual(namesOf([pod('a', {}, {}, { spec })], []).workloads[0]?.ports, [
      { name: 'http', protocol: 'TCP', port: 80 },
      { name: 'dns', protocol: 'UDP', port: 53 },
    ]);
  });
});
