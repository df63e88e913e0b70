import type { LabelSelector, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort } from '../api/networkpolicy.ts';
import { LABEL_NAMESPACE_NAME } from '../api/names.ts';
import { formatAddress, type AddressRange } from './address.ts';
import { applyChanges, LABEL_NAME, type Change, type LabelChange } from './change.ts';
import { policyNamespace, workloadName, type Cluster, type Workload } from './cluster.ts';
import { matchesPeer } from './evaluate.ts';
import type { RuleFinding, Side } from './explain.ts';
import { podEndpoint, readModel, type Model } from './model.ts';
import type { PodPeer } from './policy.ts';
import type { PortSet } from './port-set.ts';
import type { Profile } from './profiles.ts';
import type { UnmetRequirement } from './selector-text.ts';
import { decide, NOT_PUBLIC_IPV4_CIDRS, PUBLIC_IPV6_CIDR, targetName, workloadTarget, type Target } from './verdict.ts';

/**
 * A change with how much it asks of people: labels and ports are less than new rules and policies, and those less than
 * labels that take a pod out of policies.
 */
interface Candidate {
  readonly changes: readonly Change[];
  readonly cost: number;
}

/** What a label costs more when policies that speak of the pod today do so no more: it loses what they say. */
const TAKEN_OUT = 10;

/** How many candidates of a side are tried. */
const TRIED = 12;

/**
 * The cheapest known changes after which the verdict is `allow`, or `deny` when it was `allow`. Each candidate is tried:
 * a label that pleases one rule can make another policy select the pod. Undefined when none of them does.
 */
export function changesThatTurn(
  model: Model,
  source: Target,
  destination: Target,
  ports: PortSet,
  profile: Profile,
  verdict: 'allow' | 'deny' | 'depends',
  sides: readonly Side[],
): readonly Change[] | undefined {
  const wanted = verdict === 'allow' ? 'deny' : 'allow';
  const ends = { Egress: { subject: source, peer: destination }, Ingress: { subject: destination, peer: source } };
  const bySide = sides
    .filter(({ allows }) => wanted === 'deny' || !allows.equals(ports))
    .map((side) => {
      const { subject, peer } = ends[side.direction];
      const found =
        wanted === 'deny' ? denyingChanges(model, side, subject) : allowingChanges(model, side, subject, peer, ports);
      return found.sort((a, b) => a.cost - b.cost).slice(0, TRIED);
    });
  // To allow takes both sides, to deny takes one.
  const [first = [], second] = bySide;
  const candidates =
    wanted === 'deny' || second === undefined
      ? bySide.flat()
      : first.flatMap((one) =>
          second.map((other) => ({ changes: [...one.changes, ...other.changes], cost: one.cost + other.cost })),
        );
  const names = [source, destination].map(targetName);
  const workloads = model.workloads.filter((workload) => names.includes(workloadName(workload)));
  const namespaces = workloads.map(({ namespace }) => namespace);
  // Policies of other namespaces select neither end, whatever the change.
  const cluster: Cluster = {
    ...model.cluster,
    workloads,
    policies: model.cluster.policies.filter((policy) => namespaces.includes(policyNamespace(policy))),
  };
  const turns = (changes: readonly Change[]): boolean => {
    const changed = readModel(applyChanges(cluster, changes));
    const again = (target: Target): Target => sameTarget(changed, target);
    return decide(changed, again(source), again(destination), ports, profile).verdict === wanted;
  };
  const found = candidates.sort((a, b) => a.cost - b.cost).find(({ changes }) => turns(changes))?.changes;
  // A label for one side may turn the other side too; other changes are of their side alone.
  if (found?.some(({ kind }) => kind === 'LabelPods' || kind === 'LabelNamespace') !== true) return found;
  return found.reduce((kept, change) => {
    const others = kept.filter((one) => one !== change);
    return others.length > 0 && turns(others) ? others : kept;
  }, found);
}

/** A target as it is in a changed model. */
function sameTarget(model: Model, target: Target): Target {
  if (target.kind === 'addresses') return target;
  const name = targetName(target);
  const workload = model.workloads.find((candidate) => workloadName(candidate) === name);
  return workload === undefined ? target : workloadTarget(workload);
}

function allowingChanges(model: Model, side: Side, subject: Target, peer: Target, ports: PortSet): Candidate[] {
  const held = peer.kind === 'workload' ? selectorsOf(model, peer.workload) : [];
  const candidates: Candidate[] = side.policies.flatMap(({ isManaged, rules }) =>
    rules.flatMap((rule) => {
      const missing = missingPorts(rule, ports);
      if (isManaged && missing.length > 0) return [];
      return byPeer(model, rule, peer, held, isManaged).map(({ changes, cost }) => ({
        changes: [...changes, ...missing],
        cost: cost + missing.length,
      }));
    }),
  );
  const { direction } = side;
  const word = direction.toLowerCase();
  const what = `allows ${ports.toString()} ${direction === 'Ingress' ? 'from' : 'to'} ${targetName(peer)}`;
  // A policy without rules is there to deny, one of the operator's would be healed, and a rule of one that selects other
  // workloads too would open those.
  const selectors = new Map(model.policies.map((policy) => [`${policy.namespace}/${policy.name}`, policy.selector]));
  const open = side.policies.find(
    ({ policy, isManaged, rules }) =>
      !isManaged && rules.length > 0 && selectsOnly(model, selectors.get(policy), subject),
  );
  if (open !== undefined) {
    const message = `add a rule to spec.${word} of ${open.policy} that ${what}`;
    const [namespace = ''] = open.policy.split('/');
    const rule = { peers: peersFor(namespace, peer), ports: portList(ports) };
    candidates.push({ changes: [{ kind: 'AddRule', policy: open.policy, direction, ...rule, message }], cost: 4 });
  }
  if (subject.kind === 'workload') {
    const { namespace, labels } = subject.workload;
    const [peers, list] = [peersFor(namespace, peer), portList(ports)];
    const policy: NetworkPolicy = {
      metadata: { namespace, name: freeName(model, namespace, `allow-${word}`) },
      spec: {
        podSelector: selectorFor(labels),
        policyTypes: [direction],
        ...(direction === 'Ingress'
          ? { ingress: [{ from: peers, ports: list }] }
          : { egress: [{ to: peers, ports: list }] }),
      },
    };
    const message = `add a policy to ${namespace} for the ${word} of ${targetName(subject)} that ${what}`;
    candidates.push({ changes: [{ kind: 'AddPolicy', policy, message }], cost: 5 });
  }
  return candidates;
}

/** Whether a selector matches no other workload than the one given. */
function selectsOnly({ cluster, workloads }: Model, selector: PodPeer | undefined, subject: Target): boolean {
  return (
    selector !== undefined &&
    workloads.every(
      (workload) =>
        workload.namespace !== selector.namespaces ||
        workloadName(workload) === targetName(subject) ||
        !matchesPeer(selector, podEndpoint(cluster, workload, [])),
    )
  );
}

function missingPorts(rule: RuleFinding, ports: PortSet): Change[] {
  const missing = ports.subtract(rule.ports);
  if (missing.isEmpty) return [];
  const message = `add ${missing.toString()} to the ports of ${rule.path} of ${rule.policy}`;
  return [{ kind: 'AddPorts', policy: rule.policy, path: rule.path, ports: portList(missing), message }];
}

/**
 * The labels that make a rule's peers match, one candidate for each peer that labels can make match.
 * @param held selectors that match the peer today; labels that lose one cost more
 * @param isManaged whether the operator made the rule, so that it stays as it is
 */
function byPeer(
  model: Model,
  rule: RuleFinding,
  peer: Target,
  held: readonly PodPeer[],
  isManaged: boolean,
): Candidate[] {
  if (rule.isForPeer) return [{ changes: [], cost: 0 }];
  if (peer.kind !== 'workload') return [];
  const { workload } = peer;
  return rule.peers.flatMap(({ path, mismatches }): Candidate[] => {
    const changes: Change[] = [];
    let cost = 0;
    for (const mismatch of mismatches) {
      if (!('unmet' in mismatch)) return [];
      const labels = labelsFor(mismatch.unmet);
      const what = labelsText(labels);
      if (mismatch.kind === 'PodLabels') {
        changes.push({
          kind: 'LabelPods',
          workload,
          ...labels,
          message: `on the pods of ${workloadName(workload)}, ${what}`,
        });
        cost += mismatch.unmet.length;
      } else {
        const { namespace } = workload;
        const [first, ...more] = mismatch.unmet;
        if (!isManaged && first !== undefined && more.length === 0 && meansName(first, namespace)) {
          const [label, meant] = [`${LABEL_NAME}=${namespace}`, `${LABEL_NAMESPACE_NAME}=${namespace}`];
          const message = `in ${path} of ${rule.policy}, select the namespace by ${meant} instead of ${label}`;
          changes.push({ kind: 'SelectByName', policy: rule.policy, path, namespace, message });
          cost += 1;
          continue;
        }
        // The name of a namespace cannot change.
        if (mismatch.unmet.some(({ key }) => key === LABEL_NAMESPACE_NAME)) return [];
        changes.push({
          kind: 'LabelNamespace',
          namespace,
          ...labels,
          message: `on the namespace ${namespace}, ${what}`,
        });
        cost += 2 * mismatch.unmet.length;
      }
    }
    const changed = applyChanges({ ...model.cluster, workloads: [workload] }, changes);
    const after = podEndpoint(changed, changed.workloads[0] ?? workload, []);
    const isTakenOut = held.some((selector) => !matchesPeer(selector, after));
    return [{ changes, cost: isTakenOut ? cost + TAKEN_OUT : cost }];
  });
}

function meansName({ key, operator, values }: UnmetRequirement, namespace: string): boolean {
  return key === LABEL_NAME && operator === 'In' && values.length === 1 && values[0] === namespace;
}

/** The selectors of policies and of their rules' peers that match a workload, each of them once. */
function selectorsOf({ cluster, policies }: Model, workload: Workload): PodPeer[] {
  const view = podEndpoint(cluster, workload, []);
  const selectors = new Map<string, PodPeer>();
  for (const { selector, rules } of policies) {
    const peers = [...(rules.Ingress ?? []), ...(rules.Egress ?? [])].flatMap((rule) => rule.peers ?? []);
    for (const peer of [selector, ...peers]) if (peer.kind === 'pods') selectors.set(peer.key, peer);
  }
  return [...selectors.values()].filter((selector) => matchesPeer(selector, view));
}

function labelsFor(unmet: readonly UnmetRequirement[]): LabelChange {
  const set: Record<string, string> = {};
  const remove: string[] = [];
  for (const { key, operator, values } of unmet) {
    if (operator === 'In') set[key] = values[0] ?? '';
    else if (operator === 'Exists') set[key] = 'true';
    else remove.push(key);
  }
  return { set, remove };
}

function labelsText({ set, remove }: LabelChange): string {
  return [
    ...Object.entries(set).map(([key, value]) => `set the label ${key}=${value}`),
    ...remove.map((key) => `remove the label ${key}`),
  ].join(' and ');
}

function denyingChanges(model: Model, side: Side, subject: Target): Candidate[] {
  if (side.isIsolated) {
    let cost = 0;
    const changes = side.policies.flatMap(({ policy, isManaged, rules }): Change[] => {
      const paths = rules.filter(({ allows }) => !allows.isEmpty).map(({ path }) => path);
      if (paths.length === 0) return [];
      cost += paths.length;
      const where = isManaged ? `${policy}, in the BaselinePolicy that makes it` : policy;
      return [{ kind: 'RemoveRules', policy, paths, message: `remove ${paths.join(' and ')} of ${where}` }];
    });
    return changes.length === 0 ? [] : [{ changes, cost }];
  }
  if (subject.kind !== 'workload') return [];
  const { namespace, labels } = subject.workload;
  const name = freeName(model, namespace, `deny-${side.direction.toLowerCase()}`);
  const policy: NetworkPolicy = {
    metadata: { namespace, name },
    spec: { podSelector: selectorFor(labels), policyTypes: [side.direction] },
  };
  const message =
    `add a policy to ${namespace} that isolates the ${side.direction.toLowerCase()} of ` +
    `${targetName(subject)}, and rules for what must stay allowed`;
  return [{ changes: [{ kind: 'AddPolicy', policy, message }], cost: side.direction === 'Ingress' ? 2 : 3 }];
}

function freeName(model: Model, namespace: string, wish: string): string {
  const taken = new Set(model.policies.filter((policy) => policy.namespace === namespace).map(({ name }) => name));
  let name = wish;
  for (let number = 2; taken.has(name); number++) name = `${wish}-${number}`;
  return name;
}

function selectorFor(labels: Readonly<Record<string, string>>): LabelSelector {
  return Object.keys(labels).length === 0 ? {} : { matchLabels: { ...labels } };
}

/** A peer is written from the view of a policy's own namespace. */
function peersFor(own: string, peer: Target): NetworkPolicyPeer[] {
  if (peer.kind === 'workload') {
    const { namespace, labels } = peer.workload;
    const podSelector = selectorFor(labels);
    if (own === namespace) return [{ podSelector }];
    return [{ namespaceSelector: { matchLabels: { [LABEL_NAMESPACE_NAME]: namespace } }, podSelector }];
  }
  const single = peer.ranges.flatMap((range) => cidrOf(range) ?? []);
  if (single.length === peer.ranges.length) return single.map((cidr) => ({ ipBlock: { cidr } }));
  const families = new Set(peer.ranges.map(({ family }) => family));
  return [
    ...(families.has(4) ? [{ ipBlock: { cidr: '0.0.0.0/0', except: [...NOT_PUBLIC_IPV4_CIDRS] } }] : []),
    ...(families.has(6) ? [{ ipBlock: { cidr: PUBLIC_IPV6_CIDR } }] : []),
  ];
}

/** The CIDR of a range, when it is one. */
function cidrOf({ family, first, last }: AddressRange): string | undefined {
  const size = last - first + 1n;
  const hostBits = size.toString(2).length - 1;
  if (size !== 1n << BigInt(hostBits) || first % size !== 0n) return undefined;
  return `${formatAddress(family, first)}/${(family === 4 ? 32 : 128) - hostBits}`;
}

/** Ports as a policy writes them; all ports are an empty list. */
function portList(ports: PortSet): NetworkPolicyPort[] {
  if (ports.isAll) return [];
  return ports.ranges().map(({ protocol, port, endPort }) => ({
    protocol,
    ...(port === 1 && endPort === 65_535 ? {} : { port, ...(endPort !== undefined && { endPort }) }),
  }));
}
