import type { LabelSelector } from '../api/networkpolicy.ts';
import { LABEL_NAMESPACE_NAME } from '../api/names.ts';
import { everyAddress, formatRange, isFollowedBy, isWithin, partition, type AddressRange } from './address.ts';
import { workloadName, type Workload } from './cluster.ts';
import { isolatingPolicies, portsOfDirection, resolvePorts, type Endpoint } from './evaluate.ts';
import { addressEndpoint, podEndpoint, type Model } from './model.ts';
import { blockRanges, type Direction, type PodPeer, type Policy, type RulePorts } from './policy.ts';
import { PortSet } from './port-set.ts';
import { internetTarget } from './verdict.ts';

/** Ports that are open, by number; with egress also by names, which each destination resolves by itself. */
export interface OpenPorts {
  readonly ports: PortSet;
  readonly names: RulePorts['names'];
}

/** Pods that a workload is open to by their labels, whether such pods exist or not. */
export interface OpenPeer extends OpenPorts {
  readonly namespaceSelector: LabelSelector;
  readonly podSelector: LabelSelector;
}

/** Outside addresses that a workload is open to. */
export interface OpenRange {
  /** Such as `10.0.0.0-10.255.255.255`. */
  readonly range: string;
  readonly ports: PortSet;
}

/** What the policies of a workload leave open in one direction. The other end has policies of its own. */
export interface DirectionExposure {
  readonly isIsolated: boolean;
  /** Open with every pod of the cluster, also with pods and namespaces that do not exist yet. */
  readonly cluster: OpenPorts;
  /** Open with some public address. */
  readonly internet: PortSet;
  /** Open with pods of these labels, where `cluster` is not; in the order of the policies. */
  readonly peers: readonly OpenPeer[];
  /** Open with these outside addresses; disjoint, sorted, and none for addresses without open ports. */
  readonly ranges: readonly OpenRange[];
}

/** What the policies of a workload leave open. */
export interface Exposure {
  /** `namespace/name[Kind]`. */
  readonly workload: string;
  /** On the host network policies may not be enforced at all; then this is what they say. */
  readonly hostNetwork: boolean;
  readonly ingress: DirectionExposure;
  readonly egress: DirectionExposure;
}

/** What the policies of a workload leave open, in both directions. */
export function exposure(model: Model, workload: Workload): Exposure {
  return {
    workload: workloadName(workload),
    hostNetwork: workload.hostNetwork,
    ingress: exposureOf(model, workload, 'Ingress'),
    egress: exposureOf(model, workload, 'Egress'),
  };
}

function exposureOf(model: Model, workload: Workload, direction: Direction): DirectionExposure {
  const subject = podEndpoint(model.cluster, workload, []);
  const policies = isolatingPolicies(model.policies, direction, subject);
  const isIsolated = policies.length > 0;
  const { cluster, peers } = isIsolated
    ? openPeers(policies, direction, subject)
    : { cluster: { ports: PortSet.all, names: [] }, peers: [] };
  const internet = internetTarget(model).ranges;
  const pieces = partition([...blockRanges(policies), ...internet, ...(model.usesIPv6 ? [everyAddress(6)] : [])]).map(
    (range) => ({ range, ports: portsOfDirection(policies, direction, subject, addressEndpoint([range])) }),
  );
  return {
    isIsolated,
    cluster,
    internet: pieces
      .filter(({ range }) => internet.some((of) => isWithin(range, of)))
      .reduce((ports, piece) => ports.union(piece.ports), PortSet.empty),
    peers,
    ranges: joinAlike(pieces).map(({ range, ports }) => ({ range: formatRange(range), ports })),
  };
}

function joinAlike(
  pieces: readonly { range: AddressRange; ports: PortSet }[],
): { range: AddressRange; ports: PortSet }[] {
  const joined: { range: AddressRange; ports: PortSet }[] = [];
  for (const piece of pieces) {
    const last = joined.at(-1);
    if (last !== undefined && isFollowedBy(last.range, piece.range) && last.ports.equals(piece.ports)) {
      last.range = { ...last.range, last: piece.range.last };
    } else {
      joined.push({ ...piece });
    }
  }
  return joined.filter(({ ports }) => !ports.isEmpty);
}

const CLOSED: OpenPorts = { ports: PortSet.empty, names: [] };

/** What rules open to pods: to all of them, and to those of each pair of selectors. */
function openPeers(
  policies: readonly Policy[],
  direction: Direction,
  subject: Endpoint,
): { cluster: OpenPorts; peers: OpenPeer[] } {
  let cluster = CLOSED;
  const byKey = new Map<string, OpenPeer>();
  for (const { peers, ports } of policies.flatMap(({ rules }) => rules[direction] ?? [])) {
    // A name is a port of the destination: for ingress of the workload itself.
    const open: OpenPorts =
      direction === 'Ingress'
        ? { ports: resolvePorts(ports, subject), names: [] }
        : { ports: ports.numbers, names: ports.names };
    if (peers === undefined) cluster = join(cluster, open);
    for (const peer of peers ?? []) {
      if (peer.kind === 'block') continue;
      const { key, namespaceSelector, podSelector } = selectorsOf(peer);
      if (matchesAll(namespaceSelector) && matchesAll(podSelector)) cluster = join(cluster, open);
      else byKey.set(key, { namespaceSelector, podSelector, ...join(byKey.get(key) ?? CLOSED, open) });
    }
  }
  const peers = [...byKey.values()]
    .map((peer) => ({ ...peer, ...without(peer, cluster) }))
    .filter(({ ports, names }) => !ports.isEmpty || names.length > 0);
  return { cluster, peers };
}

function selectorsOf({ namespaces, pods }: PodPeer): {
  key: string;
  namespaceSelector: LabelSelector;
  podSelector: LabelSelector;
} {
  const namespaceSelector =
    typeof namespaces === 'string' ? { matchLabels: { [LABEL_NAMESPACE_NAME]: namespaces } } : namespaces;
  return { key: JSON.stringify([namespaceSelector, pods]), namespaceSelector, podSelector: pods };
}

/** Selectors are normalised: an empty one has no fields. */
function matchesAll(selector: LabelSelector): boolean {
  return Object.keys(selector).length === 0;
}

function join(one: OpenPorts, other: OpenPorts): OpenPorts {
  const more = other.names.filter((name) => !hasName(one, name));
  return { ports: one.ports.union(other.ports), names: [...one.names, ...more] };
}

function without(one: OpenPorts, other: OpenPorts): OpenPorts {
  const names = one.names.filter(
    (name) => !hasName(other, name) && !other.ports.includes(PortSet.protocol(name.protocol)),
  );
  return { ports: one.ports.subtract(other.ports), names };
}

function hasName({ names }: OpenPorts, { protocol, name }: RulePorts['names'][number]): boolean {
  return names.some((one) => one.protocol === protocol && one.name === name);
}
