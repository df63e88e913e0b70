import { formatRange, isFollowedBy, partition, type AddressRange } from './address.ts';
import { compareText, workloadName } from './cluster.ts';
import type { Connection, ConnectionOptions } from './connections.ts';
import { DNSAccess, isDNS } from './dns.ts';
import { isolatingPolicies, type Endpoint } from './evaluate.ts';
import { addressEndpoint, knownAddresses, podEndpoint, type Model } from './model.ts';
import { monitoringExamples, monitoringNamespaces } from './monitoring.ts';
import { blockRanges, type Direction, type Policy } from './policy.ts';
import { PortSet, type PortsJSON } from './port-set.ts';
import type { Profile } from './profiles.ts';
import { Reachability } from './reachability.ts';

/** How an impact treats what the NetworkPolicy API leaves open. */
export interface ImpactOptions extends Pick<ConnectionOptions, 'hostNetwork' | 'ipBlockMatchesPods'> {
  /** Facts of the network plugin, for what is said of DNS. */
  readonly profile?: Profile;
  /** Namespaces of monitoring; by default those that are named so, or that rules for monitoring name. */
  readonly monitoringNamespaces?: readonly string[];
  /** How many pairs of namespaces a summary lists at most; 50 by default. */
  readonly summaryLimit?: number;
}

/** Names of workloads, `namespace/name[Kind]`, in their order, for which something is no more, or is now. */
export interface WorkloadChange {
  readonly lost: readonly string[];
  readonly gained: readonly string[];
}

/** How many connections between two namespaces change. */
export interface NamespacePairChange {
  /** Name of a namespace, or `outside` for addresses outside the cluster. */
  readonly src: string;
  readonly dst: string;
  /** Entries of `lost` and `gained` between the two. */
  readonly lost: number;
  readonly gained: number;
}

/** In how many workloads of a namespace something changes. */
export interface NamespaceChange {
  readonly namespace: string;
  /** Workloads of the namespace that are there before and after. */
  readonly workloads: number;
  readonly dns: ChangeCount;
  readonly monitoring: ChangeCount;
  readonly ingressIsolation: ChangeCount;
  readonly egressIsolation: ChangeCount;
}

/** How many lose and gain something. */
export interface ChangeCount {
  readonly lost: number;
  readonly gained: number;
}

/** The impact in few lines, however large the cluster. */
export interface ImpactSummary {
  /** Entries of `lost` and `gained`. */
  readonly lost: number;
  readonly gained: number;
  /** The pairs of namespaces with the most changes, most first, then by name. */
  readonly pairs: readonly NamespacePairChange[];
  /** Pairs of namespaces with changes that are not listed. */
  readonly morePairs: number;
  /** Namespaces with workloads for which something changes beside connections, by name. */
  readonly namespaces: readonly NamespaceChange[];
}

/** What a change of a cluster does. */
export interface Impact {
  /** Whether nothing changes at all. */
  readonly isEmpty: boolean;
  readonly summary: ImpactSummary;
  /**
   * Connections that are allowed before and not after, with the ports that are lost: from workloads, in the order of
   * sources and destinations, then from outside, in the order of destinations. Of each workload, outside ranges are
   * disjoint, and neighbours that lose the same are one. There may be millions of entries: they are made anew for each
   * iteration, and not kept.
   */
  readonly lost: Iterable<Connection>;
  /** Connections that are allowed after and not before, likewise. */
  readonly gained: Iterable<Connection>;
  /** Workloads that cease to reach DNS by UDP and TCP, or begin to. */
  readonly dns: WorkloadChange;
  /** Workloads that no pod of monitoring reaches any more on any port, or that one now does. */
  readonly monitoring: WorkloadChange;
  /** Workloads that policies cease to isolate in a direction, or begin to. */
  readonly isolation: Readonly<Record<Direction, WorkloadChange>>;
}

/**
 * What changes from one model to another: for workloads by their names, and for outside addresses, of IPv6 when
 * either speaks of it. What is said of DNS, monitoring and isolation is of workloads that both
 * have; a workload that only one has loses or gains its connections.
 */
export function impact(before: Model, after: Model, options: ImpactOptions = {}): Impact {
  const comparison = new Comparison(before, after, options);
  const { dns, monitoring, isolation } = comparison.workloadChanges();
  const summary = comparison.summary({ dns, monitoring, isolation }, options.summaryLimit ?? 50);
  const changes = [dns, monitoring, isolation.Ingress, isolation.Egress];
  return {
    isEmpty:
      summary.lost + summary.gained === 0 && changes.every(({ lost, gained }) => lost.length + gained.length === 0),
    summary,
    lost: { [Symbol.iterator]: () => comparison.connections('lost') },
    gained: { [Symbol.iterator]: () => comparison.connections('gained') },
    dns,
    monitoring,
    isolation,
  };
}

/** What is lost and gained on one pair; the same object for the same ports. */
interface Difference {
  readonly lost: PortsJSON | undefined;
  readonly gained: PortsJSON | undefined;
}

/** Classes of an end in each of the models; absent where there is no such workload. */
interface Classes {
  readonly before: number | undefined;
  readonly after: number | undefined;
}

/** One end of connections, a workload or a range, as outputs name it. */
interface Named {
  readonly name: string;
  /** Namespace of a workload, `outside` for a range. */
  readonly place: string;
}

interface ChangedPair {
  readonly source: Named;
  readonly destination: Named;
  readonly difference: Difference;
}

const OUTSIDE = 'outside';

/** One of the two models, with an endpoint for each workload by its name, each range, and each assumed monitoring pod. */
class Side {
  readonly reachability: Reachability;
  readonly dns: DNSAccess;
  readonly #indices: ReadonlyMap<string, number>;
  readonly #endpoints: readonly Endpoint[];
  readonly #policies: ReadonlyMap<string, readonly Policy[]>;
  readonly #firstRange: number;
  readonly #dnsNames: ReadonlySet<string>;
  readonly #missingDNS = new Map<number, boolean>();
  readonly #isolated = { Ingress: new Map<number, boolean>(), Egress: new Map<number, boolean>() };

  constructor(model: Model, ranges: readonly AddressRange[], examples: readonly Endpoint[], options: ImpactOptions) {
    const workloads = model.workloads.filter(({ hostNetwork }) => !hostNetwork || options.hostNetwork === 'as-pods');
    this.#endpoints = [
      ...workloads.map((workload) =>
        podEndpoint(model.cluster, workload, options.ipBlockMatchesPods === true ? knownAddresses(workload) : []),
      ),
      ...ranges.map((range) => addressEndpoint([range])),
      ...examples,
    ];
    this.#indices = new Map(workloads.map((workload, index) => [workloadName(workload), index]));
    this.#firstRange = workloads.length;
    this.#dnsNames = new Set(workloads.filter(isDNS).map(workloadName));
    this.#policies = Map.groupBy(model.policies, ({ namespace }) => namespace);
    this.reachability = new Reachability(model.policies, this.#endpoints);
    this.dns = new DNSAccess(model, options.profile);
  }

  get names(): Iterable<string> {
    return this.#indices.keys();
  }

  classOfWorkload(name: string): number | undefined {
    const index = this.#indices.get(name);
    return index === undefined ? undefined : this.reachability.classOf(index);
  }

  classOfRange(range: number): number {
    return this.reachability.classOf(this.#firstRange + range);
  }

  /** Classes of the assumed monitoring pods, which come last. */
  exampleClasses(count: number): number[] {
    const { length } = this.#endpoints;
    return Array.from({ length: count }, (_, index) => this.reachability.classOf(length - count + index));
  }

  namespaceOf(name: string): string {
    return this.#endpoint(name)?.pod?.namespace ?? OUTSIDE;
  }

  /** Whether a workload that is not DNS itself cannot ask it. Pods of one class are alike, so one of them is asked. */
  lacksDNS(name: string): boolean {
    if (this.#dnsNames.has(name)) return false;
    return this.#once(this.#missingDNS, name, (endpoint) => !this.dns.missing(endpoint).isEmpty);
  }

  isIsolated(name: string, direction: Direction): boolean {
    return this.#once(this.#isolated[direction], name, (endpoint) => {
      const policies = this.#policies.get(endpoint.pod?.namespace ?? '') ?? [];
      return isolatingPolicies(policies, direction, endpoint).length > 0;
    });
  }

  #once(answers: Map<number, boolean>, name: string, ask: (endpoint: Endpoint) => boolean): boolean {
    const endpoint = this.#endpoint(name);
    const key = this.classOfWorkload(name);
    if (endpoint === undefined || key === undefined) return false;
    let answer = answers.get(key);
    if (answer === undefined) answers.set(key, (answer = ask(endpoint)));
    return answer;
  }

  #endpoint(name: string): Endpoint | undefined {
    return this.#endpoints[this.#indices.get(name) ?? -1];
  }
}

/** Both models over the same ends. */
class Comparison {
  readonly #before: Side;
  readonly #after: Side;
  readonly #inside: readonly (Named & Classes)[];
  readonly #outside: readonly ({ readonly range: AddressRange } & Classes)[];
  readonly #monitoring: ReadonlySet<string>;
  readonly #exampleCount: number;
  readonly #differences = new Map<number, Map<number, Difference>>();
  readonly #unique = new Map<string, Difference>();

  constructor(before: Model, after: Model, options: ImpactOptions) {
    const ranges = partition([...blockRanges(before.policies), ...blockRanges(after.policies)]);
    const monitoring = options.monitoringNamespaces ?? monitoringNamespaces([before, after]);
    const [examplesBefore, examplesAfter] = monitoringExamples(before, after, monitoring);
    this.#monitoring = new Set(monitoring);
    this.#exampleCount = examplesBefore.length;
    this.#before = new Side(before, ranges, examplesBefore, options);
    this.#after = new Side(after, ranges, examplesAfter, options);
    const names = [...new Set([...this.#before.names, ...this.#after.names])].sort(compareText);
    this.#inside = names.map((name) => {
      const [one, other] = [this.#before.classOfWorkload(name), this.#after.classOfWorkload(name)];
      const place = (one === undefined ? this.#after : this.#before).namespaceOf(name);
      return { name, place, before: one, after: other };
    });
    this.#outside = ranges.map((range, index) => ({
      range,
      before: this.#before.classOfRange(index),
      after: this.#after.classOfRange(index),
    }));
  }

  *connections(kind: 'lost' | 'gained'): Generator<Connection, void, undefined> {
    for (const { source, destination, difference } of this.#changedPairs()) {
      const ports = difference[kind];
      if (ports !== undefined) yield { src: source.name, dst: destination.name, connections: ports };
    }
  }

  workloadChanges(): Pick<Impact, 'dns' | 'monitoring' | 'isolation'> {
    const names = this.#inside
      .filter(({ before, after }) => before !== undefined && after !== undefined)
      .map(({ name }) => name);
    const change = (has: (side: Side, name: string) => boolean): WorkloadChange => {
      const [before, after] = [this.#before, this.#after].map((side) => names.map((name) => has(side, name)));
      return {
        lost: names.filter((_, index) => before?.[index] === true && after?.[index] === false),
        gained: names.filter((_, index) => before?.[index] === false && after?.[index] === true),
      };
    };
    const isMonitored = new Map([this.#before, this.#after].map((side) => [side, this.#monitored(side)]));
    return {
      dns: change((side, name) => !side.lacksDNS(name)),
      monitoring: change((side, name) => isMonitored.get(side)?.(name) ?? false),
      isolation: {
        Ingress: change((side, name) => side.isIsolated(name, 'Ingress')),
        Egress: change((side, name) => side.isIsolated(name, 'Egress')),
      },
    };
  }

  summary(changes: Pick<Impact, 'dns' | 'monitoring' | 'isolation'>, limit: number): ImpactSummary {
    const counts = new Map<string, Map<string, { lost: number; gained: number }>>();
    const total = { lost: 0, gained: 0 };
    for (const { source, destination, difference } of this.#changedPairs()) {
      let ofSource = counts.get(source.place);
      if (ofSource === undefined)
        counts.set(source.place, (ofSource = new Map<string, { lost: number; gained: number }>()));
      let count = ofSource.get(destination.place);
      if (count === undefined) ofSource.set(destination.place, (count = { lost: 0, gained: 0 }));
      for (const kind of ['lost', 'gained'] as const) {
        if (difference[kind] === undefined) continue;
        count[kind]++;
        total[kind]++;
      }
    }
    const pairs = [...counts]
      .flatMap(([src, ofSource]) => [...ofSource].map(([dst, count]) => ({ src, dst, ...count })))
      .sort((a, b) => b.lost + b.gained - a.lost - a.gained || compareText(a.src, b.src) || compareText(a.dst, b.dst));
    return {
      ...total,
      pairs: pairs.slice(0, limit),
      morePairs: Math.max(0, pairs.length - limit),
      namespaces: this.#namespaceChanges(changes),
    };
  }

  #namespaceChanges({
    dns,
    monitoring,
    isolation,
  }: Pick<Impact, 'dns' | 'monitoring' | 'isolation'>): NamespaceChange[] {
    const places = new Map(this.#inside.map(({ name, place }) => [name, place]));
    const countIn = (namespace: string, names: readonly string[]): number =>
      names.filter((name) => places.get(name) === namespace).length;
    const both = this.#inside.filter(({ before, after }) => before !== undefined && after !== undefined);
    const changed = [dns, monitoring, isolation.Ingress, isolation.Egress].flatMap(({ lost, gained }) => [
      ...lost,
      ...gained,
    ]);
    const namespaces = [...new Set(changed.map((name) => places.get(name) ?? OUTSIDE))].sort(compareText);
    return namespaces.map((namespace) => {
      const count = ({ lost, gained }: WorkloadChange): ChangeCount => ({
        lost: countIn(namespace, lost),
        gained: countIn(namespace, gained),
      });
      return {
        namespace,
        workloads: both.filter(({ place }) => place === namespace).length,
        dns: count(dns),
        monitoring: count(monitoring),
        ingressIsolation: count(isolation.Ingress),
        egressIsolation: count(isolation.Egress),
      };
    });
  }

  /** Whether some pod of monitoring, given or assumed, may connect to a workload. */
  #monitored(side: Side): (name: string) => boolean {
    const sources = this.#inside
      .filter(({ place }) => this.#monitoring.has(place))
      .flatMap(({ name }) => {
        const ofSource = side.classOfWorkload(name);
        return ofSource === undefined ? [] : [{ name, class: ofSource }];
      });
    const examples = side.exampleClasses(this.#exampleCount);
    return (name) => {
      const own = side.classOfWorkload(name);
      if (own === undefined) return false;
      return (
        examples.some((example) => side.reachability.number(example, own) !== 0) ||
        sources.some((source) => source.name !== name && side.reachability.number(source.class, own) !== 0)
      );
    };
  }

  *#changedPairs(): Generator<ChangedPair, void, undefined> {
    for (const source of this.#inside) {
      for (const destination of this.#inside) {
        if (source === destination) continue;
        const difference = this.#difference(source, destination);
        if (difference !== NO_DIFFERENCE) yield { source, destination, difference };
      }
      for (const { end, difference } of this.#changedRanges((range) => this.#difference(source, range))) {
        yield { source, destination: end, difference };
      }
    }
    for (const destination of this.#inside) {
      for (const { end, difference } of this.#changedRanges((range) => this.#difference(range, destination))) {
        yield { source: end, destination, difference };
      }
    }
  }

  /** The ranges for which something changes with one workload; neighbours of which the same changes are one. */
  *#changedRanges(differenceOf: (range: Classes) => Difference): Generator<{ end: Named; difference: Difference }> {
    let range: AddressRange | undefined;
    let difference = NO_DIFFERENCE;
    for (const piece of this.#outside) {
      const next = differenceOf(piece);
      if (range !== undefined && next === difference && isFollowedBy(range, piece.range)) {
        range = { ...range, last: piece.range.last };
        continue;
      }
      if (range !== undefined && difference !== NO_DIFFERENCE) yield { end: outsideEnd(range), difference };
      range = piece.range;
      difference = next;
    }
    if (range !== undefined && difference !== NO_DIFFERENCE) yield { end: outsideEnd(range), difference };
  }

  #difference(source: Classes, destination: Classes): Difference {
    const before = numberOf(this.#before, source.before, destination.before);
    const after = numberOf(this.#after, source.after, destination.after);
    if (before === 0 && after === 0) return NO_DIFFERENCE;
    let ofBefore = this.#differences.get(before);
    if (ofBefore === undefined) this.#differences.set(before, (ofBefore = new Map<number, Difference>()));
    let difference = ofBefore.get(after);
    if (difference === undefined) {
      const [one, other] = [
        portsOf(this.#before, source.before, destination.before),
        portsOf(this.#after, source.after, destination.after),
      ];
      ofBefore.set(after, (difference = this.#unify(one.subtract(other), other.subtract(one))));
    }
    return difference;
  }

  #unify(lost: PortSet, gained: PortSet): Difference {
    if (lost.isEmpty && gained.isEmpty) return NO_DIFFERENCE;
    const key = `${lost.key};${gained.key}`;
    let difference = this.#unique.get(key);
    if (difference === undefined) {
      const json = (ports: PortSet): PortsJSON | undefined => (ports.isEmpty ? undefined : ports.toJSON());
      this.#unique.set(key, (difference = { lost: json(lost), gained: json(gained) }));
    }
    return difference;
  }
}

function outsideEnd(range: AddressRange): Named {
  return { name: formatRange(range), place: OUTSIDE };
}

const NO_DIFFERENCE: Difference = { lost: undefined, gained: undefined };

/** Number of the ports between two classes of a model; 0 where there is no such workload. */
function numberOf({ reachability }: Side, source: number | undefined, destination: number | undefined): number {
  return source === undefined || destination === undefined ? 0 : reachability.number(source, destination);
}

function portsOf({ reachability }: Side, source: number | undefined, destination: number | undefined): PortSet {
  return source === undefined || destination === undefined ? PortSet.empty : reachability.ports(source, destination);
}
