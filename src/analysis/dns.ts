import { isWithin, parseAddress, parseCIDR, type AddressRange } from './address.ts';
import type { NamedPort, Workload } from './cluster.ts';
import { isolatingPolicies, matchesPeer, portsOfDirection, resolvePorts, type Endpoint } from './evaluate.ts';
import { examplePod } from './example-pod.ts';
import { addressEndpoint, knownAddresses, podEndpoint, type Model } from './model.ts';
import type { Policy } from './policy.ts';
import { PortSet } from './port-set.ts';
import type { Profile } from './profiles.ts';

const DNS_NAMESPACE = 'kube-system';
const DNS_LABELS = { 'k8s-app': 'kube-dns' };
const DNS_APPS: readonly (string | undefined)[] = ['kube-dns', 'coredns'];
/** Names of the ports of CoreDNS' pods, as kubeadm makes them. */
const DNS_PORTS: readonly NamedPort[] = [
  { name: 'dns', protocol: 'UDP', port: 53 },
  { name: 'dns-tcp', protocol: 'TCP', port: 53 },
];
/**
 * Addresses that answer DNS on the node: NodeLocal DNSCache and, on GKE, the metadata server.
 *
 * Source: https://kubernetes.io/docs/tasks/administer-cluster/nodelocaldns/ and
 * https://cloud.google.com/kubernetes-engine/docs/how-to/cloud-dns
 */
const NODE_RESOLVERS = ['169.254.20.10', '169.254.169.254'].map((address) => addressEndpoint([parseAddress(address)]));
const LINK_LOCAL: AddressRange = parseCIDR('169.254.0.0/16');
/** The DNS pods of OpenShift, which listen on a port of their own. */
const OPENSHIFT = { namespace: 'openshift-dns', labels: { 'dns.operator.openshift.io/daemonset-dns': 'default' } };
const OPENSHIFT_PORT = 5353;

/** A pod that answers DNS. */
interface Resolver {
  readonly endpoint: Endpoint;
  readonly namespace: string;
  readonly port: number;
}

/** Whether a workload is the DNS of the cluster: kube-dns or CoreDNS in kube-system. */
export function isDNS({ namespace, name, labels }: Workload): boolean {
  const names = [name, labels['k8s-app'], labels['app.kubernetes.io/name']];
  return namespace === DNS_NAMESPACE && names.some((one) => DNS_APPS.includes(one));
}

/** Answers which pods may ask the DNS of the cluster. */
export class DNSAccess {
  readonly #policies: ReadonlyMap<string, readonly Policy[]>;
  readonly #resolvers: readonly Resolver[];

  /**
   * Without DNS pods among the workloads, one with the label `k8s-app: kube-dns` in kube-system is assumed, or one of
   * OpenShift. An ipBlock may have them, unless the profile says that it matches no pods.
   */
  constructor({ cluster, policies, workloads }: Model, profile: Profile = {}) {
    const addressesOf = (workload?: Workload): Endpoint['addresses'] => {
      if (profile.ipBlockMatchesPods === false) return [];
      const known = workload === undefined ? [] : knownAddresses(workload);
      return known.length > 0 ? known : 'unknown';
    };
    const given = workloads.filter(isDNS).map((workload) => podEndpoint(cluster, workload, addressesOf(workload)));
    const assumed = examplePod(cluster, DNS_NAMESPACE, DNS_LABELS, DNS_PORTS, addressesOf());
    this.#policies = Map.groupBy(policies, ({ namespace }) => namespace);
    const openShift = examplePod(cluster, OPENSHIFT.namespace, OPENSHIFT.labels, [], addressesOf());
    this.#resolvers =
      given.length > 0
        ? given.map((endpoint) => ({ endpoint, namespace: DNS_NAMESPACE, port: 53 }))
        : [
            { endpoint: assumed, namespace: DNS_NAMESPACE, port: 53 },
            { endpoint: openShift, namespace: OPENSHIFT.namespace, port: OPENSHIFT_PORT },
          ];
  }

  /**
   * The ports of DNS that a pod cannot reach, at the resolver where the fewest are missing. DNS needs UDP, and TCP for
   * answers that do not fit into a datagram (RFC 7766).
   */
  missing(source: Endpoint): PortSet {
    const policies = this.#policiesOf(source.pod?.namespace ?? '');
    return this.#resolvers
      .map((resolver) => this.#missingAt(resolver, policies, source))
      .concat(NODE_RESOLVERS.map((resolver) => dnsPorts(53).subtract(portsToNode(policies, source, resolver))))
      .reduce(fewer);
  }

  #missingAt({ endpoint, namespace, port }: Resolver, policies: readonly Policy[], source: Endpoint): PortSet {
    const egress = portsOfDirection(policies, 'Egress', source, endpoint);
    const ingress = portsOfDirection(this.#policiesOf(namespace), 'Ingress', endpoint, source);
    return dnsPorts(port).subtract(egress.intersect(ingress));
  }

  #policiesOf(namespace: string): readonly Policy[] {
    return this.#policies.get(namespace) ?? [];
  }
}

/**
 * The ports of a resolver on the node that rules open which name link-local addresses: one for all the internet says
 * nothing of DNS.
 */
function portsToNode(policies: readonly Policy[], source: Endpoint, resolver: Endpoint): PortSet {
  return isolatingPolicies(policies, 'Egress', source)
    .flatMap(({ rules }) => rules.Egress ?? [])
    .filter(({ peers = [] }) =>
      peers.some(
        (peer) => peer.kind === 'block' && isWithin(peer.block.cidr, LINK_LOCAL) && matchesPeer(peer, resolver),
      ),
    )
    .reduce((ports, rule) => ports.union(resolvePorts(rule.ports, resolver)), PortSet.empty);
}

function fewer(one: PortSet, other: PortSet): PortSet {
  return other.ranges().length < one.ranges().length ? other : one;
}

function dnsPorts(port: number): PortSet {
  return PortSet.range('UDP', port).union(PortSet.range('TCP', port));
}
