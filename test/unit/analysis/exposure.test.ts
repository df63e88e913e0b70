import assert from 'node:assert/strict';
import { exposure, type DirectionExposure } from '../../../src/analysis/exposure.ts';
import type { NetworkPolicySpec } from '../../../src/api/networkpolicy.ts';
import { modelOf, networkPolicy, workload } from '../../support/cluster-fixtures.ts';

const web = workload('shop/web', { ports: [{ name: 'http', protocol: 'TCP', port: 8080 }] });

function expose(...specs: NetworkPolicySpec[]): { ingress: DirectionExposure; egress: DirectionExposure } {
  const policies = specs.map((spec, index) => networkPolicy(`shop/policy-${index}`, spec));
  const model = modelOf({ workloads: [web], policies });
  return exposure(model, web);
}

/** What is open, as texts. */
function summary({ isIsolated, cluster, internet, peers, ranges }: DirectionExposure): unknown {
  const names = (list: typeof cluster.names): string =>
    list.map(({ protocol, name }) => ` ${name}/${protocol}`).join('');
  return {
    isIsolated,
    cluster: cluster.ports.toString() + names(cluster.names),
    internet: internet.toString(),
    peers: peers.map((peer) => [
      JSON.stringify(peer.namespaceSelector.matchLabels ?? {}),
      JSON.stringify(peer.podSelector.matchLabels ?? {}),
      peer.ports.toString() + names(peer.names),
    ]),
    ranges: ranges.map(({ range, ports }) => `${range}: ${ports.toString()}`),
  };
}

const OPEN = {
  isIsolated: false,
  cluster: 'all ports',
  internet: 'all ports',
  peers: [],
  ranges: ['0.0.0.0-255.255.255.255: all ports'],
};
const CLOSED = { isIsolated: true, cluster: 'no port', internet: 'no port', peers: [], ranges: [] };
const OWN = '{"kubernetes.io/metadata.name":"shop"}';

describe('exposure', () => {
  it('is of everything without policies, and of nothing under a default-deny', () => {
    assert.deepEqual(summary(expose().ingress), OPEN);
    const { ingress, egress } = expose({ policyTypes: ['Ingress'] });
    assert.deepEqual(summary(ingress), CLOSED);
    assert.deepEqual(summary(egress), OPEN);
  });

  it('names the labels that are let in, also of pods that do not exist, and adds their ports up', () => {
    const from = [{ podSelector: { matchLabels: { app: 'ghost' } } }];
    const { ingress } = expose(
      { policyTypes: ['Ingress'], ingress: [{ from, ports: [{ port: 80 }] }] },
      {
        policyTypes: ['Ingress'],
        ingress: [
          { from, ports: [{ port: 'http' }, { port: 'unknown' }] },
          { from: [{ namespaceSelector: { matchLabels: { team: 'red' } } }] },
        ],
      },
    );
    assert.deepEqual(summary(ingress), {
      ...CLOSED,
      peers: [
        [OWN, '{"app":"ghost"}', '80/TCP, 8080/TCP'],
        ['{"team":"red"}', '{}', 'all ports'],
      ],
    });
  });

  it('tells pods of all namespaces from everyone', () => {
    const pods = expose({ policyTypes: ['Ingress'], ingress: [{ from: [{ namespaceSelector: {} }] }] });
    assert.deepEqual(summary(pods.ingress), { ...CLOSED, cluster: 'all ports' });
    const labelled = { namespaceSelector: {}, podSelector: { matchLabels: { app: 'probe' } } };
    const some = expose({ policyTypes: ['Ingress'], ingress: [{ from: [labelled] }] });
    assert.deepEqual(summary(some.ingress), { ...CLOSED, peers: [['{}', '{"app":"probe"}', 'all ports']] });
    const everyone = expose({ policyTypes: ['Ingress'], ingress: [{}] });
    assert.deepEqual(summary(everyone.ingress), { ...OPEN, isIsolated: true });
  });

  it('leaves out peers to whom no more is open than to the whole cluster', () => {
    const { egress } = expose({
      policyTypes: ['Egress'],
      egress: [
        { to: [{ namespaceSelector: {} }], ports: [{ port: 80 }, { port: 'http' }, { protocol: 'UDP' }] },
        { to: [{ podSelector: {} }], ports: [{ port: 80 }, { port: 'http' }, { protocol: 'UDP', port: 'dns' }] },
        { to: [{ podSelector: { matchLabels: { app: 'db' } } }], ports: [{ port: 81 }, { port: 'grpc' }] },
      ],
    });
    assert.deepEqual(summary(egress), {
      ...CLOSED,
      cluster: '80/TCP, all UDP ports http/TCP',
      peers: [[OWN, '{"app":"db"}', '81/TCP grpc/TCP']],
    });
  });

  it('tells public addresses from other outside addresses', () => {
    const { egress } = expose({
      policyTypes: ['Egress'],
      egress: [
        { to: [{ ipBlock: { cidr: '10.0.0.0/8' } }] },
        { to: [{ ipBlock: { cidr: '8.8.8.8/32' } }], ports: [{ protocol: 'UDP', port: 53 }] },
      ],
    });
    assert.deepEqual(summary(egress), {
      ...CLOSED,
      internet: '53/UDP',
      ranges: ['8.8.8.8-8.8.8.8: 53/UDP', '10.0.0.0-10.255.255.255: all ports'],
    });
  });

  it('covers IPv6 when a policy speaks of it', () => {
    const { ingress, egress } = expose({ policyTypes: ['Egress'], egress: [{ to: [{ ipBlock: { cidr: '::/0' } }] }] });
    const all = '::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff: all ports';
    assert.deepEqual(summary(egress), { ...CLOSED, internet: 'all ports', ranges: [all] });
    assert.deepEqual(summary(ingress), { ...OPEN, ranges: [...OPEN.ranges, all] });
  });
});
