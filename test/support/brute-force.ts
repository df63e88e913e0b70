import type { LabelSelector, NetworkPolicyPeer, NetworkPolicyPort } from '../../src/api/networkpolicy.ts';
import type { Cluster, Workload } from '../../src/analysis/cluster.ts';

/*
 * What NetworkPolicies allow, said once more, as slowly and plainly as the documentation says it: one connection, one
 * port, one policy, one rule at a time. No sets, no classes, and nothing of src/analysis but the types of its input.
 *
 * Sources: https://kubernetes.io/docs/concepts/services-networking/network-policies/ and
 * https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/
 */

/** One end of a connection: a workload, or an address outside the cluster. */
export type BruteEnd = Workload | string;

/** How the plugin under test treats what the API leaves open: see ConnectionOptions. */
export interface BruteOptions {
  readonly ipBlockMatchesPods: boolean;
}

/** Whether the policies of a cluster let a source connect to a port of a destination. */
export function bruteForceAllows(
  cluster: Cluster,
  source: BruteEnd,
  destination: BruteEnd,
  protocol: string,
  port: number,
  options: BruteOptions,
): boolean {
  return (
    sideAllows('Egress', source, destination, destination) && sideAllows('Ingress', destination, source, destination)
  );

  function sideAllows(type: 'Ingress' | 'Egress', subject: BruteEnd, peer: BruteEnd, target: BruteEnd): boolean {
    // "By default, a pod is non-isolated": addresses outside the cluster have no policies.
    if (typeof subject === 'string') return true;
    let isIsolated = false;
    for (const policy of cluster.policies) {
      const spec = policy.spec ?? {};
      if ((policy.metadata.namespace ?? 'default') !== subject.namespace) continue;
      if (!selects(spec.podSelector ?? {}, subject.labels)) continue;
      const hasEgressRules = spec.egress ? spec.egress.length > 0 : false;
      // "If this field is not specified, it will default based on the existence of ingress or egress rules".
      const types =
        spec.policyTypes && spec.policyTypes.length > 0
          ? spec.policyTypes
          : hasEgressRules
            ? ['Ingress', 'Egress']
            : ['Ingress'];
      if (!types.includes(type)) continue;
      isIsolated = true;
      const rules =
        type === 'Ingress'
          ? (spec.ingress ?? []).map((rule) => ({ peers: rule.from, ports: rule.ports }))
          : (spec.egress ?? []).map((rule) => ({ peers: rule.to, ports: rule.ports }));
      for (const { peers, ports } of rules) {
        // "If this field is empty or missing, this rule matches all sources"; the same for ports.
        const fitsPeer = !peers || peers.length === 0 || peers.some((one) => isPeer(one, peer, subject.namespace));
        const fitsPort = !ports || ports.length === 0 || ports.some((one) => isPort(one, target));
        if (fitsPeer && fitsPort) return true;
      }
    }
    return !isIsolated;
  }

  function isPeer(peer: NetworkPolicyPeer, end: BruteEnd, policyNamespace: string): boolean {
    if (peer.ipBlock) {
      const { cidr, except } = peer.ipBlock;
      const addresses = typeof end === 'string' ? [end] : options.ipBlockMatchesPods ? (end.ips ?? []) : [];
      return addresses.some((ip) => isIn(ip, cidr) && !(except ?? []).some((one) => isIn(ip, one)));
    }
    if (typeof end === 'string') return false;
    if (peer.namespaceSelector) {
      const labels = { ...cluster.namespaces.get(end.namespace), 'kubernetes.io/metadata.name': end.namespace };
      if (!selects(peer.namespaceSelector, labels)) return false;
    } else if (end.namespace !== policyNamespace) {
      return false;
    }
    return selects(peer.podSelector ?? {}, end.labels);
  }

  function isPort(one: NetworkPolicyPort, target: BruteEnd): boolean {
    if ((one.protocol ?? 'TCP') !== protocol) return false;
    if (one.port === undefined || (one.port as unknown) === null) return true;
    if (typeof one.port === 'number') return port >= one.port && port <= (one.endPort ?? one.port);
    if (typeof target === 'string') return false;
    for (const named of target.ports) {
      if (named.name === one.port && named.protocol === protocol && named.port === port) return true;
    }
    return false;
  }
}

function selects(selector: LabelSelector, labels: Readonly<Record<string, string>>): boolean {
  const has = (key: string): boolean => Object.keys(labels).includes(key);
  for (const key of Object.keys(selector.matchLabels ?? {})) {
    if (!has(key) || labels[key] !== selector.matchLabels?.[key]) return false;
  }
  for (const { key, operator, values } of selector.matchExpressions ?? []) {
    const isListed = has(key) && (values ?? []).some((value) => value === labels[key]);
    if (operator === 'In' && !isListed) return false;
    if (operator === 'NotIn' && isListed) return false;
    if (operator === 'Exists' && !has(key)) return false;
    if (operator === 'DoesNotExist' && has(key)) return false;
  }
  return true;
}

/** Whether an address is in a CIDR: their first bits, as text, are the same. */
function isIn(address: string, cidr: string): boolean {
  const [network = '', prefix = ''] = cidr.split('/');
  if (address.includes(':') !== network.includes(':')) return false;
  return bits(address).slice(0, Number(prefix)) === bits(network).slice(0, Number(prefix));
}

const BITS = new Map<string, string>();

/** The bits of an address, as text; remembered, as few addresses are asked for often. */
export function bits(address: string): string {
  let text = BITS.get(address);
  if (text === undefined) BITS.set(address, (text = toBits(address)));
  return text;
}

function toBits(address: string): string {
  if (!address.includes(':')) {
    return address
      .split('.')
      .map((part) => Number(part).toString(2).padStart(8, '0'))
      .join('');
  }
  const [head = '', tail] = address.split('::');
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const [front, back] = [groups(head), tail === undefined ? [] : groups(tail)];
  const zeros = Array.from({ length: 8 - front.length - back.length }, () => '0');
  return [...front, ...zeros, ...back].map((group) => parseInt(group, 16).toString(2).padStart(16, '0')).join('');
}
