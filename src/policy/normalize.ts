import type {
  IPBlock,
  LabelSelector,
  LabelSelectorRequirement,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicySpec,
} from '../api/networkpolicy.ts';

/**
 * The spec with every default of the API server written out and every spelling of the same thing made one: protocol
 * TCP, policyTypes (Ingress always, Egress when there are egress rules), absent for empty lists and maps, `podSelector`
 * always there, keys in the order in which the API server writes them. The order of rules, peers and ports is kept: the
 * API server keeps it too.
 *
 * Source: pkg/apis/networking/v1/defaults.go of Kubernetes, and the `omitempty` marks of its types.
 */
export function normalizeSpec(spec: NetworkPolicySpec): NetworkPolicySpec {
  const ingress = spec.ingress ?? [];
  const egress = spec.egress ?? [];
  return {
    podSelector: normalizeSelector(spec.podSelector ?? {}),
    ...(ingress.length > 0 && {
      ingress: ingress.map(({ from, ports }) => ({
        ...normalizePorts(ports),
        ...optional('from', normalizePeers(from)),
      })),
    }),
    ...(egress.length > 0 && {
      egress: egress.map(({ to, ports }) => ({ ...normalizePorts(ports), ...optional('to', normalizePeers(to)) })),
    }),
    policyTypes: normalizePolicyTypes(spec),
  };
}

/** The one text of a spec: equal texts are the same policy after normalisation. */
export function canonicalSpec(spec: NetworkPolicySpec): string {
  return JSON.stringify(normalizeSpec(spec));
}

function normalizePolicyTypes(spec: NetworkPolicySpec): ('Ingress' | 'Egress')[] {
  const types = spec.policyTypes ?? [];
  if (types.length === 0) return (spec.egress ?? []).length > 0 ? ['Ingress', 'Egress'] : ['Ingress'];
  return (['Ingress', 'Egress'] as const).filter((type) => types.includes(type));
}

function normalizePeers(peers: NetworkPolicyPeer[] | null | undefined): NetworkPolicyPeer[] {
  return (peers ?? []).map((peer) => ({
    ...(isSet(peer.podSelector) && { podSelector: normalizeSelector(peer.podSelector) }),
    ...(isSet(peer.namespaceSelector) && { namespaceSelector: normalizeSelector(peer.namespaceSelector) }),
    ...(isSet(peer.ipBlock) && { ipBlock: normalizeIPBlock(peer.ipBlock) }),
  }));
}

function normalizeIPBlock(block: IPBlock): IPBlock {
  return { cidr: block.cidr, ...optional('except', block.except ?? []) };
}

function normalizePorts(ports: NetworkPolicyPort[] | null | undefined): { ports?: NetworkPolicyPort[] } {
  return optional(
    'ports',
    (ports ?? []).map((port) => ({
      protocol: port.protocol ?? 'TCP',
      ...(isSet(port.port) && { port: port.port }),
      ...(isSet(port.endPort) && { endPort: port.endPort }),
    })),
  );
}

function normalizeSelector(selector: LabelSelector): LabelSelector {
  const labels = Object.entries(selector.matchLabels ?? {}).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return {
    ...(labels.length > 0 && { matchLabels: Object.fromEntries(labels) }),
    ...optional('matchExpressions', (selector.matchExpressions ?? []).map(normalizeRequirement)),
  };
}

function normalizeRequirement(requirement: LabelSelectorRequirement): LabelSelectorRequirement {
  return {
    key: requirement.key,
    operator: requirement.operator,
    ...optional('values', requirement.values ?? []),
  };
}

/** The list under its key, or nothing for an empty list: the API server omits both alike. */
function optional<K extends string, T>(key: K, list: T[]): Partial<Record<K, T[]>> {
  return list.length > 0 ? ({ [key]: list } as Record<K, T[]>) : {};
}

/** Whether an optional field of wire JSON is there; null on the wire means absent. */
function isSet<T>(value: T | null | undefined): value is T {
  return value !== undefined && value !== null;
}
