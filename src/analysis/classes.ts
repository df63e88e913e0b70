import type { LabelSelector } from '../api/networkpolicy.ts';
import { matchesSelector } from '../policy/selector.ts';
import { BitSet } from './bit-set.ts';
import { matchesPeer, resolvePorts, type Endpoint } from './evaluate.ts';
import type { Peer, Policy, RulePorts } from './policy.ts';
import { PortSet } from './port-set.ts';

/**
 * Endpoints that no policy tells apart: the same selectors and ipBlocks match them, so the same policies select them,
 * and the names of ports that rules use resolve to the same. What holds for one of a class holds for all.
 */
export interface Classes {
  /** One endpoint of each class. */
  readonly representatives: readonly Endpoint[];
  /** The class of each endpoint, by the index of the endpoint. */
  readonly classOf: readonly number[];
  /** The classes that a peer of one of the policies, or the selector of one, matches. */
  readonly matching: (peer: Peer) => BitSet;
}

/** Sorts endpoints into classes. Deterministic: classes are numbered in the order of their first endpoints. */
export function classify(policies: readonly Policy[], endpoints: readonly Endpoint[]): Classes {
  const peers = new Map(policies.flatMap(peersOf).map((peer) => [peer.key, peer]));
  const match = matcher(endpoints);
  const members = [...peers].map(([key, peer]) => ({ key, endpoints: match(peer) }));
  const groups = [...members.map((member) => member.endpoints), ...groupsByPorts(policies, endpoints)];
  const classOf = renumber(refine(endpoints.length, groups));

  const representatives: Endpoint[] = [];
  endpoints.forEach((endpoint, index) => (representatives[classOf[index] ?? 0] ??= endpoint));
  const matching = new Map<string, BitSet>();
  for (const { key, endpoints: matched } of members) {
    const classes = new BitSet(representatives.length);
    for (const index of matched) classes.add(classOf[index] ?? 0);
    matching.set(key, classes);
  }
  const none = new BitSet(representatives.length);
  return { representatives, classOf, matching: ({ key }) => matching.get(key) ?? none };
}

function peersOf({ selector, rules }: Policy): Peer[] {
  const allRules = [...(rules.Ingress ?? []), ...(rules.Egress ?? [])];
  return [selector, ...allRules.flatMap(({ peers }) => peers ?? [])];
}

/** What finds the endpoints of a peer: pods by way of their namespaces, as most peers are for one of them. */
function matcher(endpoints: readonly Endpoint[]): (peer: Peer) => number[] {
  const indices = endpoints.map((_, index) => index);
  const withAddress = indices.filter((index) => endpoints[index]?.addresses.length !== 0);
  const byNamespace = Map.groupBy(indices, (index) => endpoints[index]?.pod?.namespace);
  byNamespace.delete(undefined);
  const byNamespaces = new Map<string, number[]>();
  /** Endpoints in the namespaces that a selector matches. */
  const inNamespaces = (selector: LabelSelector): number[] => {
    const key = JSON.stringify(selector);
    let found = byNamespaces.get(key);
    if (found === undefined) {
      found = [...byNamespace.values()]
        .filter(([first = 0]) => {
          const pod = endpoints[first]?.pod;
          return pod !== undefined && matchesSelector(selector, pod.namespaceLabels);
        })
        .flat();
      byNamespaces.set(key, found);
    }
    return found;
  };
  const select = (candidates: readonly number[], peer: Peer): number[] =>
    candidates.filter((index) => {
      const endpoint = endpoints[index];
      return endpoint !== undefined && matchesPeer(peer, endpoint);
    });
  return (peer) => {
    if (peer.kind === 'block') return select(withAddress, peer);
    const { namespaces } = peer;
    const candidates = typeof namespaces === 'string' ? byNamespace.get(namespaces) : inNamespaces(namespaces);
    return select(candidates ?? [], peer);
  };
}

/** For each name of a port that the policies use, the endpoints on which it resolves to the same ports. */
function groupsByPorts(policies: readonly Policy[], endpoints: readonly Endpoint[]): number[][] {
  const names = policies
    .flatMap(({ rules }) => [...(rules.Ingress ?? []), ...(rules.Egress ?? [])])
    .flatMap(({ ports }) => ports.names)
    .map((name): [string, RulePorts] => {
      const key = `${name.protocol} ${name.name}`;
      return [key, { numbers: PortSet.empty, names: [name], key }];
    });
  return [...new Map(names).values()].flatMap((ports) => {
    const groups = Map.groupBy(endpoints.keys(), (index) => {
      const endpoint = endpoints[index];
      return endpoint === undefined ? '' : resolvePorts(ports, endpoint).key;
    });
    return [...groups.values()];
  });
}

/** The coarsest partition of 0 … size - 1 in which every group is a union of parts. */
function refine(size: number, groups: readonly (readonly number[])[]): number[] {
  const parts = new Array<number>(size).fill(0);
  let next = 1;
  for (const group of groups) {
    const split = new Map<number, number>();
    for (const index of group) {
      const part = parts[index] ?? 0;
      let fresh = split.get(part);
      if (fresh === undefined) split.set(part, (fresh = next++));
      parts[index] = fresh;
    }
  }
  return parts;
}

function renumber(parts: readonly number[]): number[] {
  const numbers = new Map<number, number>();
  return parts.map((part) => {
    const number = numbers.get(part) ?? numbers.size;
    numbers.set(part, number);
    return number;
  });
}
