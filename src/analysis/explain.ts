import type { Change } from './change.ts';
import { changesThatTurn } from './proposal.ts';
import { isolatingPolicies, matchesPeer, resolvePorts, type Endpoint } from './evaluate.ts';
import type { Model } from './model.ts';
import type { Direction, Peer, PodPeer, Policy, Rule } from './policy.ts';
import { PortSet } from './port-set.ts';
import type { Profile } from './profiles.ts';
import {
  formatActual,
  formatRequirement,
  formatSelector,
  unmetRequirements,
  type UnmetRequirement,
} from './selector-text.ts';
import { decide, pieceToExplain, plainView, targetName, type Decision, type Target } from './verdict.ts';

/** Why a peer of a rule is not the other end. */
export type PeerMismatch =
  /** The pod's labels do not meet these parts of podSelector. */
  | { readonly kind: 'PodLabels'; readonly unmet: readonly UnmetRequirement[] }
  /** The labels of its namespace do not meet these parts of namespaceSelector. */
  | { readonly kind: 'NamespaceLabels'; readonly unmet: readonly UnmetRequirement[] }
  /** The peer has no namespaceSelector, so it is for pods of the policy's own namespace. */
  | { readonly kind: 'Namespace'; readonly expected: string; readonly actual: string }
  /** The peer selects pods, and the other end is none that selectors match. */
  | { readonly kind: 'NoPod' }
  /** The ipBlock does not have the address, or an exception of it does; or it is not matched against pods. */
  | { readonly kind: 'Block'; readonly block: string };

/** A peer of a rule, and whether it is the other end. */
export interface PeerFinding {
  /** Field of the peer, such as `spec.ingress[0].from[1]`. */
  readonly path: string;
  /** Empty when the peer matches. */
  readonly mismatches: readonly PeerMismatch[];
}

/** A rule, and what it allows of the ports in question. */
export interface RuleFinding {
  /** `namespace/name` of the policy. */
  readonly policy: string;
  readonly direction: Direction;
  /** Field of the rule, such as `spec.ingress[0]`. */
  readonly path: string;
  readonly allows: PortSet;
  /** Each peer of the rule; empty when the rule is for everyone. */
  readonly peers: readonly PeerFinding[];
  readonly isForPeer: boolean;
  /** The ports of the rule on the destination. */
  readonly ports: PortSet;
  /** Names of ports that the destination does not have. */
  readonly unknownNames: readonly string[];
  /** How many labels, namespaces, addresses and ports are amiss; 0 when the rule allows all. */
  readonly distance: number;
  /** The finding as a sentence. */
  readonly message: string;
}

/** A policy that isolates one of the ends. */
export interface PolicyFinding {
  /** `namespace/name` of the policy. */
  readonly policy: string;
  /** Whether the operator made it, and so undoes changes of it. */
  readonly isManaged: boolean;
  readonly rules: readonly RuleFinding[];
  readonly message: string;
}

/** What the policies of one end say. */
export interface Side {
  readonly direction: Direction;
  /** The end whose policies are asked. */
  readonly subject: string;
  /** The other end. */
  readonly peer: string;
  readonly isIsolated: boolean;
  /** What the policies allow of the ports in question. */
  readonly allows: PortSet;
  /** The policies that isolate the subject, by name. */
  readonly policies: readonly PolicyFinding[];
  readonly message: string;
}

/** A decision with its whole reason. */
export interface Explanation {
  readonly source: string;
  readonly destination: string;
  readonly ports: PortSet;
  readonly decision: Decision;
  /**
   * Egress of the source, then ingress of the destination. Of an end of many addresses the first that is not allowed is
   * explained, else the first; what the profile does not say is taken for "no".
   */
  readonly sides: readonly Side[];
  /** Rules that allow nothing but come nearest to it, nearest first; of sides that do not allow. */
  readonly nearest: readonly RuleFinding[];
  /** The smallest change that turns the verdict: to allow, or, when it is allow, to deny. Absent when none is known. */
  readonly change?: readonly Change[];
}

/** How many rules that nearly match an explanation names. */
const NEAREST = 3;

/** Explains whether `source` may connect to `ports` of `destination`; see decide. */
export function explain(
  model: Model,
  source: Target,
  destination: Target,
  ports: PortSet = PortSet.all,
  profile: Profile = {},
): Explanation {
  const decision = decide(model, source, destination, ports, profile);
  const [from, to] = pieceToExplain(model, source, destination, ports, profile);
  const [sourceView, destinationView] = [plainView(model, from, profile), plainView(model, to, profile)];
  const isSelf = decision.reasons.some(({ code }) => code === 'Self');
  const sides = isSelf
    ? []
    : [
        explainSide(model.policies, 'Egress', [targetName(from), sourceView], [targetName(to), destinationView], ports),
        explainSide(
          model.policies,
          'Ingress',
          [targetName(to), destinationView],
          [targetName(from), sourceView],
          ports,
        ),
      ];
  const nearest = sides
    .filter(({ allows }) => !allows.equals(ports))
    .flatMap(({ policies }) => policies.flatMap(({ rules }) => rules))
    .filter(({ allows }) => allows.isEmpty)
    // The sort is stable: of equals the first in the order of sides, policies and rules stays the first.
    .sort((a, b) => a.distance - b.distance)
    .slice(0, NEAREST);
  const change = isSelf
    ? undefined
    : changesThatTurn(model, source, destination, ports, profile, decision.verdict, sides);
  return {
    source: targetName(source),
    destination: targetName(destination),
    ports,
    decision,
    sides,
    nearest,
    ...(change !== undefined && { change }),
  };
}

type Named = readonly [name: string, view: Endpoint];

function explainSide(
  policies: readonly Policy[],
  direction: Direction,
  [subject, subjectView]: Named,
  [peer, peerView]: Named,
  ports: PortSet,
): Side {
  const isolating = isolatingPolicies(policies, direction, subjectView);
  const destination = direction === 'Ingress' ? ([subject, subjectView] as const) : ([peer, peerView] as const);
  const findings = isolating.map((policy): PolicyFinding => {
    const name = `${policy.namespace}/${policy.name}`;
    const rules = (policy.rules[direction] ?? []).map((rule) =>
      explainRule(name, direction, rule, [peer, peerView], destination, ports),
    );
    const selected = formatSelector(policy.selector.pods) || `every pod of ${policy.namespace}`;
    const allowing = rules.filter(({ allows }) => !allows.isEmpty).length;
    const verdict =
      rules.length === 0
        ? 'has no rule for it, so it allows none'
        : allowing === 0
          ? `none of its rules (${rules.length}) allows this traffic`
          : `this traffic is allowed by ${allowing} of its rules (${rules.length})`;
    return {
      policy: name,
      isManaged: policy.isManaged,
      rules,
      message: `${name} selects ${subject} (${selected}) and isolates its ${direction.toLowerCase()}; ${verdict}`,
    };
  });
  const allows =
    findings.length === 0
      ? ports
      : findings.flatMap(({ rules }) => rules).reduce((set, rule) => set.union(rule.allows), PortSet.empty);
  return {
    direction,
    subject,
    peer,
    isIsolated: findings.length > 0,
    allows,
    policies: findings,
    message: sideMessage(direction, subject, subjectView, ports, allows, findings.length),
  };
}

function sideMessage(
  direction: Direction,
  subject: string,
  view: Endpoint,
  ports: PortSet,
  allows: PortSet,
  count: number,
): string {
  const word = direction.toLowerCase();
  if (count === 0) {
    return view.pod === undefined
      ? `no policy is for ${subject}, so its ${word} is not isolated`
      : `no policy isolates the ${word} of ${subject}: all of it is allowed`;
  }
  const policies = count === 1 ? 'one policy isolates' : `${count} policies isolate`;
  const result = allows.isEmpty ? 'no rule of them matches' : `rules allow ${allows.toString()}`;
  return `${policies} the ${word} of ${subject}; of ${ports.toString()}, ${result}`.replace(
    /no rule of them/,
    'no rule',
  );
}

function explainRule(
  policy: string,
  direction: Direction,
  rule: Rule,
  [peer, peerView]: Named,
  [destination, destinationView]: Named,
  ports: PortSet,
): RuleFinding {
  const field = direction === 'Ingress' ? 'from' : 'to';
  const peers = (rule.peers ?? []).map((candidate, index): PeerFinding => ({
    path: `${rule.path}.${field}[${index}]`,
    mismatches: matchesPeer(candidate, peerView) ? [] : mismatchesOf(candidate, peerView),
  }));
  const isForPeer = rule.peers === undefined || peers.some(({ mismatches }) => mismatches.length === 0);
  const resolved = resolvePorts(rule.ports, destinationView);
  const allows = isForPeer ? resolved.intersect(ports) : PortSet.empty;
  const unknownNames = rule.ports.names
    .filter((name) => resolvePorts({ numbers: PortSet.empty, names: [name], key: '' }, destinationView).isEmpty)
    .map(({ name }) => name);
  const hasPorts = !resolved.intersect(ports).isEmpty;
  const peerDistance = isForPeer ? 0 : Math.min(...peers.map(({ mismatches }) => distanceOf(mismatches)));
  const nearest = peers.findIndex(({ mismatches }) => distanceOf(mismatches) === peerDistance);
  const problems = [
    ...(isForPeer ? [] : [peerMessage(rule.peers[nearest], peers[nearest], peer)]),
    ...(hasPorts ? [] : [portMessage(ports, resolved, unknownNames, destination)]),
  ];
  const message =
    problems.length === 0 ? `${policy} ${rule.path} allows ${allows.toString()}` : `${policy} ${problems.join('; ')}`;
  return {
    policy,
    direction,
    path: rule.path,
    allows,
    peers,
    isForPeer,
    ports: resolved,
    unknownNames,
    distance: peerDistance + (resolved.includes(ports) ? 0 : 1),
    message,
  };
}

/** What lies beyond any label: an address, or what is not a pod, is further away than a few labels. */
const FAR = 10;

function distanceOf(mismatches: readonly PeerMismatch[]): number {
  return mismatches
    .map((mismatch) => ('unmet' in mismatch ? mismatch.unmet.length : mismatch.kind === 'Namespace' ? 2 : FAR))
    .reduce((sum, one) => sum + one, 0);
}

/** Why a peer that does not match does not. */
function mismatchesOf(peer: Peer, { pod }: Endpoint): PeerMismatch[] {
  if (peer.kind === 'block') return [{ kind: 'Block', block: peer.key }];
  if (pod === undefined) return [{ kind: 'NoPod' }];
  const mismatches: PeerMismatch[] = [];
  if (typeof peer.namespaces === 'string') {
    if (peer.namespaces !== pod.namespace) {
      mismatches.push({ kind: 'Namespace', expected: peer.namespaces, actual: pod.namespace });
    }
  } else {
    const unmet = unmetRequirements(peer.namespaces, pod.namespaceLabels);
    if (unmet.length > 0) mismatches.push({ kind: 'NamespaceLabels', unmet });
  }
  const unmet = unmetRequirements(peer.pods, pod.labels);
  if (unmet.length > 0) mismatches.push({ kind: 'PodLabels', unmet });
  return mismatches;
}

function peerMessage(peer: Peer | undefined, finding: PeerFinding | undefined, other: string): string {
  if (peer === undefined || finding === undefined) return '';
  return finding.mismatches
    .map((mismatch) => {
      switch (mismatch.kind) {
        case 'PodLabels':
          return `${finding.path} selects ${listUnmet(mismatch.unmet)}, but ${other} ${listActual(mismatch.unmet)}`;
        case 'NamespaceLabels':
          return (
            `${finding.path} selects namespaces with ${listUnmet(mismatch.unmet)}, ` +
            `but the namespace of ${other} ${listActual(mismatch.unmet)}`
          );
        case 'Namespace':
          return (
            `${finding.path} has no namespaceSelector, so it is for pods of ${mismatch.expected}, ` +
            `but ${other} is in ${mismatch.actual}`
          );
        case 'NoPod':
          return `${finding.path} selects ${podsText(peer)}, but ${other} is not a pod that selectors match`;
        case 'Block':
          return `${finding.path} is for ${mismatch.block}, which does not match ${other}`;
      }
    })
    .join('; ');
}

function podsText(peer: Peer): string {
  const { pods }: Partial<PodPeer> = peer.kind === 'pods' ? peer : {};
  const text = pods === undefined ? '' : formatSelector(pods);
  return text === '' ? 'pods' : `pods with ${text}`;
}

function listUnmet(unmet: readonly UnmetRequirement[]): string {
  return unmet.map(formatRequirement).join(',');
}

function listActual(unmet: readonly UnmetRequirement[]): string {
  return unmet.map(formatActual).join(' and ');
}

function portMessage(asked: PortSet, ports: PortSet, unknown: readonly string[], destination: string): string {
  const names = unknown.map((name) => `${destination} has no port named ${name}`);
  const [first, ...more] = asked.ranges();
  const noun = first?.endPort === undefined && more.length === 0 ? 'port' : 'ports';
  if (ports.isEmpty) return names.join(' and ');
  return [`${noun} ${asked.toString()} is not among ${ports.toString()}`, ...names].join('; ');
}
