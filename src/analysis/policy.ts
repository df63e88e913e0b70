import type { LabelSelector, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort } from '../api/networkpolicy.ts';
import { LABEL_MANAGED_BY, MANAGER } from '../api/names.ts';
import { normalizeSpec } from '../policy/normalize.ts';
import { parseBlock, type AddressBlock, type AddressRange } from './address.ts';
import { compareText, policyNamespace } from './cluster.ts';
import { PortSet, PROTOCOLS, type Protocol } from './port-set.ts';

/** Direction of traffic, seen from the pods that a policy selects. */
export type Direction = 'Ingress' | 'Egress';

/** Pods or addresses that a rule lets through. */
export type Peer = PodPeer | BlockPeer;

/** Pods with `pods` labels in namespaces with these labels, or in the one namespace that is named. */
export interface PodPeer {
  readonly kind: 'pods';
  readonly namespaces: LabelSelector | string;
  readonly pods: LabelSelector;
  /** Text that is the same for peers that match the same pods by the same words. */
  readonly key: string;
}

/** The addresses of an ipBlock. */
export interface BlockPeer {
  readonly kind: 'block';
  readonly block: AddressBlock;
  /** The block as the policy writes it, such as `10.0.0.0/8 except 10.1.0.0/16`; equal for equal blocks. */
  readonly key: string;
}

/** The ports of a rule: numbers, and names that each destination resolves by itself. */
export interface RulePorts {
  readonly numbers: PortSet;
  readonly names: readonly { readonly protocol: Protocol; readonly name: string }[];
  /** Text that is the same for the same ports. */
  readonly key: string;
}

/** A rule of one direction: it allows traffic with any of its peers on any of its ports. */
export interface Rule {
  /** Field of the rule in the policy, such as `spec.ingress[0]`. */
  readonly path: string;
  /** Absent: everyone, inside and outside the cluster. */
  readonly peers?: readonly Peer[];
  readonly ports: RulePorts;
}

/** A NetworkPolicy that is read, checked and defaulted once. */
export interface Policy {
  readonly namespace: string;
  readonly name: string;
  /** Whether the operator made it, and so undoes changes of it. */
  readonly isManaged: boolean;
  /** The pods of `namespace` that the policy is for. */
  readonly selector: PodPeer;
  /** Rules of the directions in which the policy isolates its pods; a direction without rules denies all. */
  readonly rules: Readonly<Partial<Record<Direction, readonly Rule[]>>>;
}

/** A NetworkPolicy says what the API server would refuse. */
export class PolicyError extends Error {
  override readonly name = 'PolicyError';
  /** `namespace/name` of the policy. */
  readonly policy: string;
  /** Path of the field, such as `spec.ingress[0].from[1].ipBlock`. */
  readonly path: string;

  constructor(policy: string, path: string, problem: string) {
    super(`NetworkPolicy ${policy}, ${path}: ${problem}`);
    this.policy = policy;
    this.path = path;
  }
}

/**
 * Reads NetworkPolicies, in the order of their namespaces and names. Throws PolicyError for the first that the API
 * server would not take, as what it allows is not defined.
 */
export function readPolicies(policies: readonly NetworkPolicy[]): Policy[] {
  return policies.map(readPolicy).sort((a, b) => compareText(`${a.namespace}/${a.name}`, `${b.namespace}/${b.name}`));
}

/** Reads one NetworkPolicy. Throws PolicyError when the API server would not take it. */
export function readPolicy(policy: NetworkPolicy): Policy {
  const namespace = policyNamespace(policy);
  const { name } = policy.metadata;
  const spec = normalizeSpec(policy.spec ?? {});
  const types = spec.policyTypes ?? [];

  const at = <T>(path: string, read: () => T): T => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new PolicyError(`${namespace}/${name}`, path, error.message);
    }
  };
  const readPeers = (peers: NetworkPolicyPeer[] | undefined, path: string): { peers?: Peer[] } =>
    peers === undefined
      ? {}
      : { peers: peers.map((peer, index) => at(`${path}[${index}]`, () => readPeer(peer, namespace))) };
  const readRulePorts = (ports: NetworkPolicyPort[] | undefined, path: string): RulePorts => {
    if (ports === undefined) return EVERY_PORT;
    return joinPorts(ports.map((port, index) => at(`${path}[${index}]`, () => readPort(port))));
  };
  return {
    namespace,
    name,
    isManaged: policy.metadata.labels?.[LABEL_MANAGED_BY] === MANAGER,
    selector: at('spec.podSelector', () => podPeer(namespace, spec.podSelector ?? {})),
    rules: {
      ...(types.includes('Ingress') && {
        Ingress: (spec.ingress ?? []).map(({ from, ports }, index) => {
          const path = `spec.ingress[${index}]`;
          return { path, ...readPeers(from, `${path}.from`), ports: readRulePorts(ports, `${path}.ports`) };
        }),
      }),
      ...(types.includes('Egress') && {
        Egress: (spec.egress ?? []).map(({ to, ports }, index) => {
          const path = `spec.egress[${index}]`;
          return { path, ...readPeers(to, `${path}.to`), ports: readRulePorts(ports, `${path}.ports`) };
        }),
      }),
    },
  };
}

/** All ranges that the ipBlocks of policies speak of. */
export function blockRanges(policies: readonly Policy[]): AddressRange[] {
  return policies
    .flatMap(({ rules }) => [...(rules.Ingress ?? []), ...(rules.Egress ?? [])])
    .flatMap(({ peers }) => peers ?? [])
    .flatMap((peer) => (peer.kind === 'block' ? [peer.block.cidr, ...peer.block.except] : []));
}

function readPeer({ ipBlock, namespaceSelector, podSelector }: NetworkPolicyPeer, own: string): Peer {
  if (ipBlock !== undefined) {
    if (namespaceSelector !== undefined || podSelector !== undefined) {
      throw new RangeError('expected ipBlock alone, found selectors beside it');
    }
    const { cidr, except = [] } = ipBlock;
    const key = except.length === 0 ? cidr : `${cidr} except ${except.join(', ')}`;
    return { kind: 'block', block: parseBlock(ipBlock), key };
  }
  if (namespaceSelector === undefined && podSelector === undefined) {
    throw new RangeError('expected podSelector, namespaceSelector or ipBlock, found none');
  }
  return podPeer(namespaceSelector ?? own, podSelector ?? {});
}

function podPeer(namespaces: LabelSelector | string, pods: LabelSelector): PodPeer {
  for (const selector of typeof namespaces === 'string' ? [pods] : [namespaces, pods]) checkSelector(selector);
  return { kind: 'pods', namespaces, pods, key: JSON.stringify([namespaces, pods]) };
}

const OPERATORS: readonly string[] = ['In', 'NotIn', 'Exists', 'DoesNotExist'];

function checkSelector(selector: LabelSelector): void {
  for (const { key, operator } of selector.matchExpressions ?? []) {
    if (!OPERATORS.includes(operator)) {
      throw new RangeError(`expected the operator of ${key} to be ${OPERATORS.join(', ')}, found ${operator}`);
    }
  }
}

const EVERY_PORT = rulePorts(PortSet.all, []);

/** Throws RangeError for what the API server would not take. */
function readPort({ protocol = 'TCP', port, endPort }: NetworkPolicyPort): RulePorts {
  if (!PROTOCOLS.includes(protocol)) throw new RangeError(`expected TCP, UDP or SCTP, found ${protocol}`);
  if (endPort !== undefined && typeof port !== 'number') {
    throw new RangeError(`expected a port number beside endPort, found ${port ?? 'none'}`);
  }
  if (port === undefined) return rulePorts(PortSet.protocol(protocol), []);
  if (typeof port === 'string') return rulePorts(PortSet.empty, [{ protocol, name: port }]);
  return rulePorts(PortSet.range(protocol, port, endPort ?? port), []);
}

function joinPorts(ports: readonly RulePorts[]): RulePorts {
  const names = new Map(ports.flatMap((port) => port.names).map((named) => [`${named.protocol} ${named.name}`, named]));
  return rulePorts(
    ports.reduce((joined, { numbers }) => joined.union(numbers), PortSet.empty),
    [...names].sort(([a], [b]) => compareText(a, b)).map(([, named]) => named),
  );
}

function rulePorts(numbers: PortSet, names: RulePorts['names']): RulePorts {
  return { numbers, names, key: JSON.stringify([numbers.key, names.map(({ protocol, name }) => [protocol, name])]) };
}
