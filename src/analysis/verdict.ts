import {
  formatRange,
  isWithin,
  joinNeighbours,
  parseAddress,
  parseCIDR,
  partition,
  type AddressRange,
} from './address.ts';
import { workloadName, type Workload } from './cluster.ts';
import { allowedPorts, isolatingPolicies, matchesPeer, resolvePorts, type Endpoint } from './evaluate.ts';
import { addressEndpoint, knownAddresses, podEndpoint, type Model } from './model.ts';
import { blockRanges, type Policy } from './policy.ts';
import { PortSet } from './port-set.ts';
import type { Profile } from './profiles.ts';
import { isBehind, rewritesSources, serviceName } from './service.ts';
import { mayBeForUnread } from './unread.ts';

/** Addresses outside the cluster, as one end of a question. */
export interface AddressTarget {
  readonly kind: 'addresses';
  readonly name: string;
  readonly ranges: readonly AddressRange[];
}

/** One end of a question: a workload of the cluster, or addresses outside it. */
export type Target = { readonly kind: 'workload'; readonly workload: Workload } | AddressTarget;

/** Why a verdict is not the same for every plugin, pod or address. */
export type ReasonCode =
  /** The pod is both ends: it always reaches itself. */
  | 'Self'
  /** A workload may be asked for another of its pods, or for the same. */
  | 'SameWorkload'
  /** A pod that reaches itself through a Service may come from the address of its node. */
  | 'Hairpin'
  /** The plugin may match pods by ipBlocks. */
  | 'IPBlockMatchesPods'
  /** The plugin may match nodes by ipBlocks, and with them pods of their network. */
  | 'IPBlockMatchesNodes'
  /** An ipBlock may have a pod or node whose address is not known. */
  | 'UnknownAddress'
  /** Selectors may match a pod of the host network, or not. */
  | 'HostNetwork'
  /** Both ends may be on one node, whose traffic with its pods is always allowed. */
  | 'SameNode'
  /** A Service may replace the address of a source outside the cluster. */
  | 'SourceAddress'
  /** The destination is the address of a Service, which is replaced by that of a pod. */
  | 'ServiceAddress'
  /** An address may be of a pod or a Service in a namespace that could not be read. */
  | 'UnreadNamespaces'
  /** Some of the addresses are allowed, others are not. */
  | 'Addresses'
  /** Some of the ports are allowed, others are not. */
  | 'Ports';

/** A reason, for machines and for people. */
export interface Reason {
  readonly code: ReasonCode;
  readonly message: string;
}

/** Whether a connection is allowed. */
export interface Decision {
  /** `allow` and `deny` hold for all the ports, in every case that the profile leaves open; else `depends`. */
  readonly verdict: 'allow' | 'deny' | 'depends';
  /** Why it depends, or why no policy was asked; in a fixed order. */
  readonly reasons: readonly Reason[];
  /** The ports that are allowed in every case. */
  readonly allowed: PortSet;
  /** The ports that are allowed in some case; not less than `allowed`. */
  readonly possible: PortSet;
}

/** A workload as one end. */
export function workloadTarget(workload: Workload): Target {
  return { kind: 'workload', workload };
}

/** An address outside the cluster as one end. Throws RangeError for what is no IP address. */
export function addressTarget(address: string): AddressTarget {
  return { kind: 'addresses', name: address, ranges: [parseAddress(address)] };
}

/** IPv4 that no host of the internet has: https://www.iana.org/assignments/iana-ipv4-special-registry/ and multicast. */
export const NOT_PUBLIC_IPV4_CIDRS: readonly string[] = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '224.0.0.0/4',
  '240.0.0.0/4',
];
/** IPv6 that hosts of the internet have: https://www.iana.org/assignments/ipv6-address-space/ */
export const PUBLIC_IPV6_CIDR = '2000::/3';
const NOT_PUBLIC_IPV4 = NOT_PUBLIC_IPV4_CIDRS.map(parseCIDR);
const PUBLIC_IPV4 = partition(NOT_PUBLIC_IPV4).filter((range) => !NOT_PUBLIC_IPV4.some((not) => isWithin(range, not)));

/** The internet as one end: all public addresses, of IPv6 only when a policy speaks of IPv6. */
export function internetTarget(model: Model): AddressTarget {
  return {
    kind: 'addresses',
    name: 'internet',
    ranges: model.usesIPv6 ? [...PUBLIC_IPV4, parseCIDR(PUBLIC_IPV6_CIDR)] : PUBLIC_IPV4,
  };
}

/** The name of a target in outputs. */
export function targetName(target: Target): string {
  return target.kind === 'workload' ? workloadName(target.workload) : target.name;
}

/**
 * Whether `source` may connect to `ports` of `destination`. Where the answer hangs on what the profile does not say, it
 * is worked out for each case, and is `depends` when they differ.
 */
export function decide(
  model: Model,
  source: Target,
  destination: Target,
  ports: PortSet = PortSet.all,
  profile: Profile = {},
): Decision {
  const asked = modelOf(model, source, destination);
  const decisions = splitPairs(asked.policies, source, destination).map(([from, to]) => ({
    from,
    to,
    decision: withUnread(asked, from, to, ports, decidePair(asked, from, to, ports, profile)),
  }));
  const allowed = decisions.reduce((set, { decision }) => set.intersect(decision.allowed), ports);
  const possible = decisions.reduce((set, { decision }) => set.union(decision.possible), PortSet.empty);
  const verdict = allowed.equals(ports) ? 'allow' : possible.isEmpty ? 'deny' : 'depends';
  const reasons = decisions.flatMap(({ decision }) => decision.reasons);
  if (verdict === 'depends') {
    if (new Set(decisions.map(({ decision }) => `${decision.allowed.key};${decision.possible.key}`)).size > 1) {
      const open = decisions.filter(({ decision }) => !decision.possible.isEmpty);
      const ranges = open.flatMap(({ from, to }) =>
        [from, to].flatMap((end) => (end.kind === 'addresses' ? end.ranges : [])),
      );
      reasons.push({ code: 'Addresses', message: `only some addresses are allowed: ${listRanges(ranges)}` });
    }
    if (!allowed.isEmpty || !possible.equals(ports)) {
      const message = allowed.equals(possible)
        ? `of ${ports.toString()}, only ${allowed.toString()} is allowed`
        : `of ${ports.toString()}, ${allowed.toString()} is allowed in every case, ${possible.toString()} in some`;
      reasons.push({ code: 'Ports', message });
    }
  }
  const shown = reasons.filter(({ code }) => (code === 'Self' ? verdict === 'allow' : verdict === 'depends'));
  const unique = new Map(shown.map((reason) => [`${reason.code} ${reason.message}`, reason]));
  return { verdict, reasons: [...unique.values()], allowed, possible };
}

/**
 * The pair itself, or, when one of its ends has many addresses, with the first of them that is not allowed, else the
 * first: policies see all addresses of it alike.
 */
export function pieceToExplain(
  model: Model,
  source: Target,
  destination: Target,
  ports: PortSet,
  profile: Profile,
): [source: Target, destination: Target] {
  const asked = modelOf(model, source, destination);
  const pairs = splitPairs(asked.policies, source, destination);
  const denied = pairs.find(([from, to]) => !decidePair(asked, from, to, ports, profile).allowed.equals(ports));
  return denied ?? pairs[0] ?? [source, destination];
}

/** How many ranges a message names. */
const LISTED_RANGES = 5;

function listRanges(ranges: readonly AddressRange[]): string {
  const joined = joinNeighbours(ranges).map(formatRange);
  const more = joined.length - LISTED_RANGES;
  return joined.slice(0, LISTED_RANGES).join(', ') + (more > 0 ? ` and ${more} more ranges` : '');
}

/** The model without policies that select neither end: they have no say. */
function modelOf(model: Model, source: Target, destination: Target): Model {
  const ends = [source, destination].flatMap((end) =>
    end.kind === 'workload' ? [podEndpoint(model.cluster, end.workload, [])] : [],
  );
  return {
    ...model,
    policies: model.policies.filter(({ selector }) => ends.some((end) => matchesPeer(selector, end))),
  };
}

/** All pairs of the pieces of two ends. */
function splitPairs(policies: readonly Policy[], source: Target, destination: Target): [Target, Target][] {
  const destinations = splitAddresses(policies, destination);
  return splitAddresses(policies, source).flatMap((from) => destinations.map((to): [Target, Target] => [from, to]));
}

/** Cuts addresses where any ipBlock begins or ends, so that policies see all addresses of a piece alike. */
function splitAddresses(policies: readonly Policy[], target: Target): Target[] {
  if (target.kind === 'workload') return [target];
  const { ranges } = target;
  if (ranges.every(({ first, last }) => first === last)) return [target];
  return partition([...ranges, ...blockRanges(policies)])
    .filter((piece) => ranges.some((range) => isWithin(piece, range)))
    .map((piece) => ({ kind: 'addresses', name: formatRange(piece), ranges: [piece] }));
}

/** What holds for one pair, of which the addresses look all the same to policies. */
type PairDecision = Omit<Decision, 'verdict'>;

/** Asks the policies once for each combination of answers to the questions that are open. */
function decidePair(model: Model, source: Target, destination: Target, ports: PortSet, profile: Profile): PairDecision {
  const service = serviceAt(model, destination);
  if (service !== undefined) {
    const message = `${targetName(destination)} is the address of Service ${service}; ask for a pod behind it`;
    return { allowed: PortSet.empty, possible: ports, reasons: [{ code: 'ServiceAddress', message }] };
  }
  const questions = openQuestions(model, source, destination, profile);
  const isSelf = isSame(source, destination) && isPod(source);
  if (isSelf && !questions.some(({ code }) => code === 'Hairpin')) {
    const message = `${targetName(source)} always reaches itself`;
    return { allowed: ports, possible: ports, reasons: [{ code: 'Self', message }] };
  }
  const outcomes = Array.from({ length: 2 ** questions.length }, (_, answers) => {
    const holds = (code: ReasonCode): boolean => {
      const index = questions.findIndex((question) => question.code === code);
      return index >= 0 && (answers & (1 << index)) !== 0;
    };
    if (holds('SameNode') || holds('SameWorkload') || (isSelf && !holds('Hairpin'))) return ports;
    const from = holds('SourceAddress') || holds('Hairpin') ? NODE : source;
    const fromView = view(model, from, profile, holds);
    return allowedPorts(model.policies, fromView, view(model, destination, profile, holds)).intersect(ports);
  });
  const allowed = outcomes.reduce((set, outcome) => set.intersect(outcome), ports);
  const possible = outcomes.reduce((set, outcome) => set.union(outcome), PortSet.empty);
  const reasons = questions.filter((_, index) =>
    outcomes.some((outcome, answers) => outcome.key !== outcomes[answers ^ (1 << index)]?.key),
  );
  return { allowed, possible, reasons };
}

/**
 * What is left of a decision when an address may be of a pod in a namespace that could not be read: no port is allowed
 * for certain, and those are possible too that rules of the known end may open to such a pod.
 */
function withUnread(
  model: Model,
  source: Target,
  destination: Target,
  ports: PortSet,
  decision: PairDecision,
): PairDecision {
  const [known, address] = source.kind === 'workload' ? [source, destination] : [destination, source];
  if (model.cluster.confinedTo === undefined || known.kind !== 'workload' || !mayBeOfPod(address)) return decision;
  const direction = known === source ? 'Egress' : 'Ingress';
  const subject = podEndpoint(model.cluster, known.workload, []);
  const isolating = isolatingPolicies(model.policies, direction, subject);
  const open = isolating
    .flatMap(({ rules }) => rules[direction] ?? [])
    .filter((rule) => mayBeForUnread(model.cluster, rule))
    .map(({ ports: of }) =>
      // Which port of a pod that is not known has the name is not known either.
      of.names.reduce(
        (set, { protocol }) => (direction === 'Egress' ? set.union(PortSet.protocol(protocol)) : set),
        resolvePorts(of, subject),
      ),
    )
    .reduce((set, one) => set.union(one), isolating.length === 0 ? PortSet.all : PortSet.empty);
  const possible = decision.possible.union(open.intersect(ports));
  if (possible.isEmpty) return decision;
  const message = `${targetName(address)} may be of a pod or Service in a namespace that could not be read`;
  return {
    allowed: PortSet.empty,
    possible,
    reasons: [...decision.reasons, { code: 'UnreadNamespaces', message }],
  };
}

/** Whether pods may have an address: public ones of IPv4 they do not have. */
function mayBeOfPod(target: Target): boolean {
  if (target.kind === 'workload') return false;
  const [range, ...more] = target.ranges;
  if (range === undefined || more.length > 0 || range.first !== range.last) return false;
  return !PUBLIC_IPV4.some((of) => isWithin(range, of));
}

/** How an end looks to policies under a profile, where what the profile does not say is taken for "no". */
export function plainView(model: Model, target: Target, profile: Profile = {}): Endpoint {
  return view(model, target, profile, () => false);
}

/** Traffic that comes from a node of which nothing is known. */
const NODE = 'node';

/** How an end looks to policies, given the answers to the open questions. */
function view(
  { cluster }: Model,
  target: Target | typeof NODE,
  profile: Profile,
  holds: (code: ReasonCode) => boolean,
): Endpoint {
  const unknown = holds('UnknownAddress') ? 'anywhere' : 'unknown';
  if (target === NODE) return addressEndpoint(unknown);
  if (target.kind === 'addresses') return addressEndpoint(target.ranges);
  const { workload } = target;
  const known = knownAddresses(workload);
  const addresses = known.length > 0 ? known : unknown;
  const isNode = workload.hostNetwork && (profile.hostNetwork === 'as-node' || holds('HostNetwork'));
  if (isNode) return addressEndpoint((profile.ipBlockMatchesNodes ?? holds('IPBlockMatchesNodes')) ? addresses : []);
  const isMatched = profile.ipBlockMatchesPods ?? holds('IPBlockMatchesPods');
  return podEndpoint(cluster, workload, isMatched ? addresses : []);
}

/**
 * The questions that neither policies nor profile answer, and that may matter for a pair, in the order in which they
 * are told: each as the reason that it is when the answer makes a difference.
 */
function openQuestions(model: Model, source: Target, destination: Target, profile: Profile): Reason[] {
  const questions: Reason[] = [];
  const workloads = [source, destination].flatMap((end) => (end.kind === 'workload' ? [end.workload] : []));
  const services = model.cluster.services ?? [];
  const behind = destination.kind === 'workload' ? services.filter((one) => isBehind(one, destination.workload)) : [];

  const ofHost = workloads.filter(isOfHost);
  const hosts = listNames(ofHost);
  if (ofHost.length > 0 && profile.hostNetwork === undefined) {
    const message = `whether selectors match ${hosts}, on the network of its node, depends on the network plugin`;
    questions.push({ code: 'HostNetwork', message });
  }
  const asPods = profile.hostNetwork === 'as-node' ? workloads.filter((workload) => !isOfHost(workload)) : workloads;
  if (asPods.length > 0 && profile.ipBlockMatchesPods === undefined) {
    const message = `whether an ipBlock matches the pods of ${listNames(asPods)} depends on the network plugin`;
    questions.push({ code: 'IPBlockMatchesPods', message });
  }
  if (ofHost.length > 0 && profile.hostNetwork !== 'as-pods' && profile.ipBlockMatchesNodes === undefined) {
    const message = `whether an ipBlock matches the node of ${hosts} depends on the network plugin`;
    questions.push({ code: 'IPBlockMatchesNodes', message });
  }
  const rewriting = behind.find(rewritesSources);
  if (source.kind === 'addresses' && rewriting !== undefined) {
    const message = `Service ${serviceName(rewriting)} may replace the address of ${source.name} by that of a node`;
    questions.push({ code: 'SourceAddress', message });
  }
  const [service] = behind;
  if (isSame(source, destination) && isPod(source) && service !== undefined) {
    const message =
      `${targetName(source)} always reaches itself, ` +
      `but through Service ${serviceName(service)} it may come from the address of its node`;
    questions.push({ code: 'Hairpin', message });
  }
  const isRewritten = questions.some(({ code }) => code === 'SourceAddress' || code === 'Hairpin');
  const unknown = workloads.filter(({ ips = [] }) => ips.length === 0);
  if (unknown.length > 0 || isRewritten) {
    const of = [...unknown.map(workloadName), ...(isRewritten ? ['a node'] : [])];
    const message = `whether an ipBlock has the address of ${[...new Set(of)].join(' or ')} is not known`;
    questions.push({ code: 'UnknownAddress', message });
  }
  if (isSame(source, destination) && !isPod(source)) {
    const message = `a pod of ${targetName(source)} always reaches itself, but another pod of it only as policies allow`;
    questions.push({ code: 'SameWorkload', message });
  }
  if (ofHost.length > 0 && workloads.length === 2 && !isSame(source, destination)) {
    const message = `${hosts} uses the network of its node, whose traffic with its own pods is always allowed`;
    questions.push({ code: 'SameNode', message });
  }
  return questions;
}

function listNames(workloads: readonly Workload[]): string {
  return [...new Set(workloads.map(workloadName))].join(' and ');
}

function isOfHost({ hostNetwork }: Workload): boolean {
  return hostNetwork;
}

function isPod(target: Target): boolean {
  return target.kind === 'workload' && target.workload.kind === 'Pod';
}

function isSame(source: Target, destination: Target): boolean {
  return (
    source.kind === 'workload' &&
    destination.kind === 'workload' &&
    workloadName(source.workload) === workloadName(destination.workload)
  );
}

/** `namespace/name` of the Service that has an address as its own. */
function serviceAt({ cluster }: Model, target: Target): string | undefined {
  if (target.kind !== 'addresses') return undefined;
  const [first, ...more] = target.ranges;
  if (first === undefined || more.length > 0 || first.first !== first.last) return undefined;
  const service = (cluster.services ?? []).find(({ clusterIPs = [] }) =>
    clusterIPs.some((ip) => ip !== 'None' && isWithin(first, parseAddress(ip))),
  );
  return service && serviceName(service);
}
