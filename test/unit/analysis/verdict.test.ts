import assert from 'node:assert/strict';
import type { Service } from '../../../src/analysis/cluster.ts';
import type { Model } from '../../../src/analysis/model.ts';
import { PortSet } from '../../../src/analysis/port-set.ts';
import { PROFILES, type ProfileName } from '../../../src/analysis/profiles.ts';
import { addressTarget, decide, internetTarget, workloadTarget, type Target } from '../../../src/analysis/verdict.ts';
import type { NetworkPolicy, NetworkPolicyPeer, NetworkPolicySpec } from '../../../src/api/networkpolicy.ts';
import { modelOf, networkPolicy, workload } from '../../support/cluster-fixtures.ts';

const web = workload('shop/web');
const db = workload('shop/db', { ips: ['10.0.0.7'] });
const unknown = workload('shop/unknown');
const agent = workload('shop/agent', { hostNetwork: true, ips: ['192.168.0.1'] });
const replicas = workload('shop/replicas', { kind: 'Deployment' });
const workloads = [web, db, unknown, agent, replicas];

const DENY: NetworkPolicySpec = { policyTypes: ['Ingress', 'Egress'] };
const PODS: NetworkPolicySpec = {
  policyTypes: ['Ingress', 'Egress'],
  ingress: [{ from: [{ podSelector: {} }] }],
  egress: [{ to: [{ podSelector: {} }] }],
};
const blocks = (...cidrs: string[]): NetworkPolicySpec => ({
  policyTypes: ['Ingress', 'Egress'],
  ingress: [{ from: cidrs.map((cidr) => ({ ipBlock: { cidr } })) }],
  egress: [{ to: cidrs.map((cidr) => ({ ipBlock: { cidr } })) }],
});
const PRIVATE = blocks('10.0.0.0/8', '192.168.0.0/16');
const ONLY_WEB = { podSelector: { matchLabels: { app: 'web' } } };

function model(spec: NetworkPolicySpec, services: readonly Service[] = []): Model {
  return modelOf({ workloads, services, policies: [networkPolicy('shop/policy', spec)] });
}

/** The verdict and the codes of its reasons, such as `depends: HostNetwork, SameNode`. */
function ask(
  of: Model,
  source: Target,
  destination: Target,
  profile: ProfileName = 'generic',
  ports = PortSet.all,
): string {
  const { verdict, reasons } = decide(of, source, destination, ports, PROFILES[profile]);
  return [verdict, reasons.map(({ code }) => code).join(', ')].filter((part) => part !== '').join(': ');
}

const [toWeb, toDB, toUnknown, toAgent, toReplicas] = [web, db, unknown, agent, replicas].map(workloadTarget) as [
  Target,
  Target,
  Target,
  Target,
  Target,
];

describe('decide', () => {
  it('allows and denies what policies alone decide, without a reason', () => {
    assert.equal(ask(model(PODS), toWeb, toDB), 'allow');
    assert.equal(ask(model(DENY), toWeb, toDB), 'deny');
    assert.equal(ask(model(DENY), toWeb, addressTarget('1.2.3.4')), 'deny');
    assert.equal(ask(model(blocks('1.2.3.0/24')), toWeb, addressTarget('1.2.3.4')), 'allow');
    assert.equal(ask(model({ ...DENY, ...ONLY_WEB }), toAgent, toDB), 'allow');
  });

  it('depends when some of the ports are allowed', () => {
    const of = model({ policyTypes: ['Ingress'], ingress: [{ ports: [{ port: 80 }] }] });
    assert.equal(ask(of, toWeb, toDB), 'depends: Ports');
    assert.equal(ask(of, toWeb, toDB, 'generic', PortSet.range('TCP', 80)), 'allow');
    assert.equal(ask(of, toWeb, toDB, 'generic', PortSet.range('UDP', 80)), 'deny');
    const { allowed, possible, reasons } = decide(of, toWeb, toDB, PortSet.range('TCP', 70, 90));
    assert.equal(allowed.toString(), '80/TCP');
    assert.equal(possible.toString(), '80/TCP');
    assert.deepEqual(reasons, [{ code: 'Ports', message: 'of 70-90/TCP, only 80/TCP is allowed' }]);
  });

  it('says which ports are allowed in every case and which in some', () => {
    const of = model({
      policyTypes: ['Ingress'],
      ingress: [{ ports: [{ port: 80 }] }, { from: [{ ipBlock: { cidr: '10.0.0.0/8' } }], ports: [{ port: 81 }] }],
    });
    const { reasons } = decide(of, toUnknown, toDB, PortSet.range('TCP', 70, 90));
    assert.deepEqual(reasons.at(-1), {
      code: 'Ports',
      message: 'of 70-90/TCP, 80/TCP is allowed in every case, 80-81/TCP in some',
    });
  });

  it('depends on the plugin where only an ipBlock has the pod', () => {
    const of = model({ ...PRIVATE, ...ONLY_WEB });
    assert.equal(ask(of, toWeb, toDB), 'depends: IPBlockMatchesPods');
    assert.equal(ask(of, toDB, toWeb), 'depends: IPBlockMatchesPods');
    assert.equal(ask(of, toWeb, toDB, 'calico'), 'allow');
    assert.equal(ask(of, toWeb, toDB, 'cilium'), 'deny');
    assert.equal(ask(of, toWeb, toDB, 'kube-router'), 'depends: IPBlockMatchesPods');
    assert.equal(ask(of, toWeb, toDB, 'weave'), 'depends: IPBlockMatchesPods');
  });

  it('depends on the address of a pod where it is not known, unless the block has all', () => {
    const of = model({ ...PRIVATE, ...ONLY_WEB });
    assert.equal(ask(of, toWeb, toUnknown), 'depends: IPBlockMatchesPods, UnknownAddress');
    assert.equal(ask(of, toWeb, toUnknown, 'calico'), 'depends: UnknownAddress');
    assert.equal(ask(of, toWeb, toUnknown, 'cilium'), 'deny');
    assert.equal(ask(model({ ...blocks('0.0.0.0/0'), ...ONLY_WEB }), toWeb, toUnknown, 'calico'), 'allow');
  });

  it('depends on the plugin and the node with pods of the host network', () => {
    const selected = model({ ...PODS, ...ONLY_WEB });
    assert.equal(ask(selected, toWeb, toAgent), 'depends: HostNetwork, SameNode');
    assert.equal(ask(selected, toAgent, toWeb), 'depends: HostNetwork, SameNode');
    assert.equal(ask(selected, toAgent, toWeb, 'calico'), 'depends: SameNode');
    const ofNode = model({ ...PRIVATE, ...ONLY_WEB });
    assert.equal(ask(ofNode, toWeb, toAgent, 'calico'), 'allow');
    assert.equal(ask(ofNode, toWeb, toAgent, 'kube-router'), 'allow');
    assert.equal(ask(ofNode, toWeb, toAgent, 'cilium'), 'depends: SameNode');
    assert.equal(ask(ofNode, toWeb, toAgent, 'weave'), 'depends: IPBlockMatchesNodes, SameNode');
  });

  it('takes policies that select a pod of the host network for void where the plugin ignores it', () => {
    const of = model({ ...DENY, podSelector: { matchLabels: { app: 'agent' } } });
    assert.equal(ask(of, toAgent, toWeb), 'depends: HostNetwork, SameNode');
    assert.equal(ask(of, toAgent, toWeb, 'calico'), 'allow');
    assert.equal(ask(of, toAgent, addressTarget('1.2.3.4'), 'cilium'), 'allow');
    assert.equal(ask(of, toAgent, addressTarget('1.2.3.4')), 'depends: HostNetwork');
  });

  it('lets a pod reach itself, but depends when a Service leads back to it', () => {
    assert.equal(ask(model(DENY), toWeb, toWeb), 'allow: Self');
    const service: Service = { namespace: 'shop', name: 'web', selector: { app: 'web' } };
    assert.equal(ask(model(DENY, [service]), toWeb, toWeb), 'depends: Hairpin');
    assert.equal(ask(model(DENY, [{ ...service, namespace: 'bank' }]), toWeb, toWeb), 'allow: Self');
    assert.equal(ask(model({ ...DENY, ingress: [{}] }, [service]), toWeb, toWeb), 'allow');
  });

  it('tells a pod of a workload from another of the same', () => {
    assert.equal(ask(model(DENY), toReplicas, toReplicas), 'depends: SameWorkload');
    assert.equal(ask(model(PODS), toReplicas, toReplicas), 'allow');
  });

  it('depends where a Service may replace the address of an outside source', () => {
    const of = (more: Partial<Service>): Model =>
      model(blocks('1.2.3.0/24'), [{ namespace: 'shop', name: 'web', selector: { app: 'web' }, ...more }]);
    const client = addressTarget('1.2.3.4');
    assert.equal(ask(of({ type: 'LoadBalancer' }), client, toWeb), 'depends: SourceAddress, UnknownAddress');
    assert.equal(ask(of({ type: 'NodePort' }), client, toWeb), 'depends: SourceAddress, UnknownAddress');
    assert.equal(ask(of({ externalIPs: ['9.9.9.9'] }), client, toWeb), 'depends: SourceAddress, UnknownAddress');
    assert.equal(ask(of({ type: 'LoadBalancer', externalTrafficPolicy: 'Local' }), client, toWeb), 'allow');
    assert.equal(ask(of({ type: 'ClusterIP' }), client, toWeb), 'allow');
    assert.equal(ask(of({ type: 'LoadBalancer' }), client, toDB), 'allow');
    assert.equal(
      ask(of({ type: 'LoadBalancer' }), addressTarget('9.9.9.9'), toWeb),
      'depends: SourceAddress, UnknownAddress',
    );
  });

  it('says that the address of a Service is that of a pod behind it', () => {
    const service: Service = { namespace: 'shop', name: 'web', clusterIPs: ['10.96.0.1'] };
    assert.equal(ask(model(DENY, [service]), toDB, addressTarget('10.96.0.1')), 'depends: ServiceAddress');
    assert.equal(ask(model(DENY, [{ ...service, clusterIPs: ['None'] }]), toDB, addressTarget('10.96.0.1')), 'deny');
  });

  describe('with namespaces that could not be read', () => {
    const confined = (...policies: NetworkPolicy[]): Model =>
      modelOf({ workloads: [web, db], policies, confinedTo: 'shop' });
    const toPeer = (peer: NetworkPolicyPeer, more: object = {}): NetworkPolicy =>
      networkPolicy('shop/policy', { policyTypes: ['Egress'], egress: [{ to: [peer], ...more }] });
    const named = (name: string): NetworkPolicyPeer => ({
      namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': name } },
    });
    const [inside, outside] = ['10.9.9.9', '1.2.3.4'].map(addressTarget) as [Target, Target];

    const cases: readonly [what: string, policies: NetworkPolicy[], expected: string][] = [
      ['no policy', [], 'depends: UnreadNamespaces'],
      ['a default-deny', [networkPolicy('shop/policy', DENY)], 'deny'],
      ['a block', [networkPolicy('shop/policy', PRIVATE)], 'depends: UnreadNamespaces'],
      ['pods of the own namespace', [toPeer({ podSelector: {} })], 'deny'],
      ['pods of the own namespace by its name', [toPeer(named('shop'))], 'deny'],
      ['pods of another namespace', [toPeer(named('other'))], 'depends: UnreadNamespaces'],
      ['pods of all namespaces', [toPeer({ namespaceSelector: {} })], 'depends: UnreadNamespaces'],
      [
        'a named port of pods elsewhere',
        [toPeer({ namespaceSelector: {} }, { ports: [{ port: 'http' }] })],
        'depends: UnreadNamespaces',
      ],
      ['another protocol', [toPeer({ namespaceSelector: {} }, { ports: [{ port: 'http', protocol: 'UDP' }] })], 'deny'],
    ];
    for (const [what, policies, expected] of cases) {
      it(`takes a private address for what it may be, given ${what}`, () => {
        const found = ask(confined(...policies), toWeb, inside, 'generic', PortSet.range('TCP', 80));
        assert.equal(found, expected);
      });
    }

    it('asks the rules of the destination when a private address is the source', () => {
      const of = confined(networkPolicy('shop/policy', { ingress: [{ from: [{ namespaceSelector: {} }] }] }));
      assert.equal(ask(of, inside, toWeb), 'depends: UnreadNamespaces');
      assert.equal(ask(confined(networkPolicy('shop/policy', DENY)), inside, toWeb), 'deny');
    });

    it('answers for addresses that pods do not have, and for the pods that it knows', () => {
      const of = confined(networkPolicy('shop/policy', { ...DENY, ...ONLY_WEB }));
      assert.equal(ask(confined(), toWeb, outside), 'allow');
      assert.equal(ask(of, toWeb, internetTarget(of)), 'deny');
      assert.equal(ask(confined(), toWeb, toDB), 'allow');
      assert.equal(ask(confined(), toWeb, addressTarget('2001:db8::1')), 'depends: UnreadNamespaces');
    });
  });

  it('takes all public addresses for the internet', () => {
    const except = ['10.0.0.0/8', '192.168.0.0/16'];
    const outside = (cidr: string, ...without: string[]): NetworkPolicySpec => ({
      policyTypes: ['Egress'],
      egress: [{ to: [{ ipBlock: { cidr, except: without } }] }],
    });
    const toInternet = (spec: NetworkPolicySpec): string => {
      const of = model(spec);
      return ask(of, toWeb, internetTarget(of));
    };
    assert.equal(toInternet(outside('0.0.0.0/0', ...except)), 'allow');
    assert.equal(toInternet(outside('10.0.0.0/8')), 'deny');
    assert.equal(toInternet(outside('0.0.0.0/0', '8.8.8.0/24')), 'depends: Addresses');
    assert.equal(toInternet(outside('::/0')), 'depends: Addresses');
  });

  it('names the addresses that are allowed, with neighbours as one, and no more than a few', () => {
    const message = (spec: NetworkPolicySpec): string => {
      const of = model(spec);
      return decide(of, toWeb, internetTarget(of))
        .reasons.map((reason) => reason.message)
        .join();
    };
    assert.equal(message(blocks('8.8.8.0/24', '8.8.9.0/24')), 'only some addresses are allowed: 8.8.8.0-8.8.9.255');
    const many = Array.from({ length: 8 }, (_, index) => `8.8.${2 * index}.0/24`);
    assert.match(message(blocks(...many)), /8\.8\.0\.0-8\.8\.0\.255, .* and 3 more ranges$/);
  });
});
