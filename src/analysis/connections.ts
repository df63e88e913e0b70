import { formatRange, isFollowedBy, partition, type AddressRange } from './address.ts';
import { workloadName } from './cluster.ts';
import type { Endpoint } from './evaluate.ts';
import { addressEndpoint, knownAddresses, podEndpoint, type Model } from './model.ts';
import { blockRanges } from './policy.ts';
import type { PortsJSON } from './port-set.ts';
import { Reachability } from './reachability.ts';

/** What is allowed from one end to another. */
export interface Connection {
  /** `namespace/name[Kind]` of a workload, or a range of outside addresses such as `10.0.0.0-10.255.255.255`. */
  readonly src: string;
  readonly dst: string;
  readonly connections: PortsJSON;
}

/** How connections treat what the NetworkPolicy API leaves open. */
export interface ConnectionOptions {
  /** Whether workloads of the host network are left out, which is the default, or taken for any others. */
  readonly hostNetwork?: 'as-pods' | 'uncovered';
  /** Whether ipBlocks match pods whose addresses are known; by default they match only outside addresses. */
  readonly ipBlockMatchesPods?: boolean;
  /**
   * Cuts outside addresses also where these ranges begin and end, and leaves all pieces apart: with blockRanges of both,
   * the connections of two clusters are of the same ranges and can be compared.
   */
  readonly cutAt?: readonly AddressRange[];
}

/**
 * All allowed connections between workloads, and between workloads and outside addresses; one entry a pair, none for a
 * pair that is not allowed, nor for a workload with itself. Outside ranges are disjoint, and together every IPv4
 * address, and every IPv6 address when a policy speaks of IPv6; neighbours with the same connections are one range.
 * In the order of sources, then destinations: workloads by name, then ranges by address.
 */
export function* connections(model: Model, options: ConnectionOptions = {}): Generator<Connection, void, undefined> {
  const workloads = model.workloads.filter(({ hostNetwork }) => !hostNetwork || options.hostNetwork === 'as-pods');
  const pieces = partition([...blockRanges(model.policies), ...(options.cutAt ?? [])]);
  const endpoints: Endpoint[] = [
    ...workloads.map((workload) =>
      podEndpoint(model.cluster, workload, options.ipBlockMatchesPods === true ? knownAddresses(workload) : []),
    ),
    ...pieces.map((piece) => addressEndpoint([piece])),
  ];
  const reachability = new Reachability(model.policies, endpoints);
  const inside = workloads.map((workload, index) => ({
    name: workloadName(workload),
    class: reachability.classOf(index),
    isOutside: false,
  }));
  const cut = pieces.map((range, index) => ({ range, class: reachability.classOf(workloads.length + index) }));
  const insides = new Set(inside.map((end) => end.class));
  const merged = options.cutAt === undefined ? mergeRanges(cut, insides, reachability) : cut;
  const outside = merged.map((piece) => ({ name: formatRange(piece.range), class: piece.class, isOutside: true }));

  const written = new Map<number, PortsJSON>();
  const ends = [...inside, ...outside];
  for (const source of ends) {
    for (const destination of source.isOutside ? inside : ends) {
      if (source === destination) continue;
      const number = reachability.number(source.class, destination.class);
      if (number === 0) continue;
      let ports = written.get(number);
      if (ports === undefined) {
        written.set(number, (ports = reachability.ports(source.class, destination.class).toJSON()));
      }
      yield { src: source.name, dst: destination.name, connections: ports };
    }
  }
}

interface Piece {
  readonly range: AddressRange;
  readonly class: number;
}

/** Joins neighbours that have the same connections with every class of workloads. */
function mergeRanges(pieces: readonly Piece[], insides: ReadonlySet<number>, reachability: Reachability): Piece[] {
  const merged: Piece[] = [];
  for (const piece of pieces) {
    const last = merged.at(-1);
    if (last !== undefined && isFollowedBy(last.range, piece.range) && areAlike(last.class, piece.class)) {
      merged[merged.length - 1] = { ...last, range: { ...last.range, last: piece.range.last } };
    } else {
      merged.push(piece);
    }
  }
  return merged;

  function areAlike(one: number, other: number): boolean {
    if (one === other) return true;
    for (const inside of insides) {
      if (reachability.number(one, inside) !== reachability.number(other, inside)) return false;
      if (reachability.number(inside, one) !== reachability.number(inside, other)) return false;
    }
    return true;
  }
}
