import { matchesSelector, type Labels } from '../policy/selector.ts';
import { blockContains, isWholeFamily, type AddressRange } from './address.ts';
import type { NamedPort } from './cluster.ts';
import type { Direction, Peer, Policy, Rule, RulePorts } from './policy.ts';
import { PortSet } from './port-set.ts';

/**
 * One end of a connection, as policies see it. How a pod or an address looks to policies depends in part on the network
 * plugin; see views.ts. What policies then allow does not.
 */
export interface Endpoint {
  /** What selectors match; absent for everything that they never match. */
  readonly pod?: {
    readonly namespace: string;
    readonly namespaceLabels: Labels;
    readonly labels: Labels;
  };
  /**
   * What ipBlocks match. `unknown`: addresses that nobody knows, of which only a block of a whole family is certain;
   * `anywhere`: the same, but taken to be in every block.
   */
  readonly addresses: readonly AddressRange[] | 'unknown' | 'anywhere';
  /** What named ports resolve to. */
  readonly ports: readonly NamedPort[];
}

/** Whether a peer of a rule, or the pods that a policy selects, include an endpoint. */
export function matchesPeer(peer: Peer, { pod, addresses }: Endpoint): boolean {
  if (peer.kind === 'block') {
    if (addresses === 'anywhere') return true;
    if (addresses === 'unknown') return isWholeFamily(peer.block);
    return addresses.some((address) => blockContains(peer.block, address));
  }
  if (pod === undefined) return false;
  const { namespaces, pods } = peer;
  const isInNamespace =
    typeof namespaces === 'string' ? namespaces === pod.namespace : matchesSelector(namespaces, pod.namespaceLabels);
  return isInNamespace && matchesSelector(pods, pod.labels);
}

/** The ports of a rule on a destination: a name is each of its ports with that name and protocol, or nothing. */
export function resolvePorts({ numbers, names }: RulePorts, destination: Endpoint): PortSet {
  return names
    .flatMap(({ protocol, name }) =>
      destination.ports.filter((port) => port.name === name && port.protocol === protocol),
    )
    .reduce((ports, { protocol, port }) => ports.union(PortSet.range(protocol, port)), numbers);
}

/** Whether a rule is for a peer, on whatever ports. */
export function isForPeer(rule: Rule, peer: Endpoint): boolean {
  return rule.peers === undefined || rule.peers.some((candidate) => matchesPeer(candidate, peer));
}

/** The policies that isolate an endpoint in a direction. Without any, all traffic of that direction is allowed. */
export function isolatingPolicies(policies: readonly Policy[], direction: Direction, subject: Endpoint): Policy[] {
  return policies.filter(({ rules, selector }) => rules[direction] !== undefined && matchesPeer(selector, subject));
}

/** The ports on which the policies of one end let traffic through; `subject` is the end whose policies are asked. */
export function portsOfDirection(
  policies: readonly Policy[],
  direction: Direction,
  subject: Endpoint,
  peer: Endpoint,
): PortSet {
  const isolating = isolatingPolicies(policies, direction, subject);
  if (isolating.length === 0) return PortSet.all;
  const destination = direction === 'Ingress' ? subject : peer;
  return isolating
    .flatMap(({ rules }) => rules[direction] ?? [])
    .filter((rule) => isForPeer(rule, peer))
    .reduce((ports, rule) => ports.union(resolvePorts(rule.ports, destination)), PortSet.empty);
}

/**
 * The ports of the destination that the source may connect to: what egress of the source and ingress of the destination
 * both allow. That a pod always reaches itself, and its node always reaches it, is not policy and not said here.
 *
 * Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/ and the API reference.
 */
export function allowedPorts(policies: readonly Policy[], source: Endpoint, destination: Endpoint): PortSet {
  const egress = portsOfDirection(policies, 'Egress', source, destination);
  if (egress.isEmpty) return egress;
  return egress.intersect(portsOfDirection(policies, 'Ingress', destination, source));
}
