import type { Options } from 'yargs';
import { compareText, type Cluster, type Service } from '../../analysis/cluster.ts';
import { readModel, type Model } from '../../analysis/model.ts';
import type { Peer } from '../../analysis/policy.ts';
import { LABEL_MANAGED_BY, LABEL_NAMESPACE_NAME, LABEL_POLICY, MANAGER } from '../../api/names.ts';
import type { NetworkPolicy } from '../../api/networkpolicy.ts';
import { DEFAULT_PROTECTED_NAMESPACES } from '../../policy/select.ts';
import { matchesSelector, type Labels } from '../../policy/selector.ts';
import type { Flags } from '../command.ts';
import { InputError } from '../errors.ts';
import { childrenOf, discoveredAddresses, serviceAddresses, wantedChildren, type Wanted } from './children.ts';
import type { ObjectSet } from './objects.ts';
import { workloadsOf } from './workloads.ts';

/** An input made ready for questions. */
export interface Inventory {
  readonly model: Model;
  /** Name of the workload (see workloadName) of each pod, by `namespace/name`. */
  readonly ofPod: ReadonlyMap<string, string>;
  /** What a person should know of the input. */
  readonly warnings: readonly string[];
}

/**
 * Which BaselinePolicies take part: none, as in a cluster, whose NetworkPolicies are there already; those that the
 * operator would enforce; or those in mode Audit too.
 */
export type Participation = 'none' | 'enforced' | 'all';

/** Makes objects ready for questions. Throws InputError when what they say together cannot be. */
export function takeInventory(objects: ObjectSet, participation: Participation): Inventory {
  const namespaces = namespacesOf(objects);
  const { policies, warnings } = policiesWith(objects, participation);
  const { workloads, ofPod } = workloadsOf(objects, policies);
  const { confinedTo } = objects;
  const cluster: Cluster = {
    namespaces,
    workloads,
    policies,
    services: servicesOf(objects),
    ...(confinedTo !== undefined && { confinedTo }),
  };
  try {
    return { model: readModel(cluster), ofPod, warnings: [...notModelled(objects), ...warnings] };
  } catch (error) {
    if (error instanceof RangeError || (error instanceof Error && error.name === 'PolicyError')) {
      throw new InputError([error.message]);
    }
    throw error;
  }
}

/**
 * Throws InputError when whether pods may connect to each other depends on labels of their namespace that could not be
 * read.
 */
export function requireNamespaceLabels({ confinedTo, hasUnreadLabels = false }: ObjectSet, { policies }: Model): void {
  if (!hasUnreadLabels || confinedTo === undefined) return;
  const problems = policies.flatMap(({ namespace, name, rules }) =>
    (['Ingress', 'Egress'] as const).flatMap((direction) =>
      (rules[direction] ?? [])
        .filter(({ peers = [] }) => peers.some((peer) => dependsOnLabels(peer, confinedTo)))
        .map(({ path }) => `NetworkPolicy ${namespace}/${name} ${path}`),
    ),
  );
  if (problems.length === 0) return;
  throw new InputError([
    `expected the right to get namespace ${confinedTo}, as its labels decide what these rules are for: ${problems.join(', ')}`,
  ]);
}

/** Whether a peer matches a namespace by more than its name. */
function dependsOnLabels(peer: Peer, namespace: string): boolean {
  if (peer.kind === 'block' || typeof peer.namespaces === 'string') return false;
  const { matchLabels = {}, matchExpressions = [] } = peer.namespaces;
  const { [LABEL_NAMESPACE_NAME]: name, ...others } = matchLabels;
  const byName = {
    matchLabels: name === undefined ? {} : { [LABEL_NAMESPACE_NAME]: name },
    matchExpressions: matchExpressions.filter(({ key }) => key === LABEL_NAMESPACE_NAME),
  };
  const count = Object.keys(others).length + matchExpressions.length - byName.matchExpressions.length;
  return count > 0 && matchesSelector(byName, { [LABEL_NAMESPACE_NAME]: namespace });
}

/** What is said of policies of other kinds. */
export function notModelled(objects: ObjectSet): string[] {
  return objects.notModelled.map((name) => `not modelled: ${name}; it may allow or deny more than is said here`);
}

/** Labels of namespaces by name: those that are given, and those that other objects name. */
export function namespacesOf(objects: ObjectSet): Map<string, Labels> {
  const named = [...objects.pods, ...objects.controllers, ...objects.networkPolicies];
  const namespaces = new Map<string, Labels>();
  for (const { metadata } of named) {
    const { namespace = 'default' } = metadata;
    namespaces.set(namespace, { [LABEL_NAMESPACE_NAME]: namespace });
  }
  for (const { metadata } of objects.namespaces) {
    namespaces.set(metadata.name, { ...metadata.labels, [LABEL_NAMESPACE_NAME]: metadata.name });
  }
  return new Map([...namespaces].sort(([a], [b]) => compareText(a, b)));
}

/** The flag for the namespaces that no BaselinePolicy selects; the operator has the same. */
export const PROTECTED_FLAG: Readonly<Record<string, Options>> = {
  'protected-namespaces': {
    type: 'string',
    requiresArg: true,
    default: DEFAULT_PROTECTED_NAMESPACES.join(','),
    description: "Namespaces that no policy selects: what the operator's flag of this name says, and its own namespace",
  },
};

/** The namespaces that the flag names. */
export function protectedNamespacesOf(flags: Flags): string[] {
  return flags.required('protected-namespaces').split(',');
}

/**
 * What the BaselinePolicies of the input want. Throws InputError for what the operator would refuse; in a cluster, where
 * it has refused it, that is a warning.
 */
export function wantedOf(
  objects: ObjectSet,
  {
    protectedNamespaces = DEFAULT_PROTECTED_NAMESPACES,
    isLive = false,
  }: { readonly protectedNamespaces?: readonly string[]; readonly isLive?: boolean } = {},
): { wanted: readonly Wanted[]; warnings: readonly string[] } {
  const { wanted, problems, warnings } = wantedChildren(
    objects.baselinePolicies,
    namespacesOf(objects),
    discoveredAddresses(objects),
    protectedNamespaces,
  );
  if (problems.length > 0 && !isLive) throw new InputError(problems);
  return { wanted, warnings: [...problems, ...warnings] };
}

function policiesWith(
  objects: ObjectSet,
  participation: Participation,
): { policies: readonly NetworkPolicy[]; warnings: readonly string[] } {
  if (participation === 'none') return { policies: objects.networkPolicies, warnings: [] };
  const { wanted, warnings } = wantedOf(objects);
  const audits = new Set(wanted.map(({ policy }) => policy).filter(({ spec }) => spec.mode === 'Audit'));
  const notices = [...warnings];
  if (participation === 'enforced') {
    for (const { metadata } of audits) {
      notices.push(`BaselinePolicy ${metadata.name} is in mode Audit: its NetworkPolicies take no part`);
    }
  }
  const taking = wanted.filter(({ policy }) => participation === 'all' || !audits.has(policy));
  const makers = new Set(taking.map(({ policy }) => policy.metadata.name));
  const withheld = new Set(
    taking.flatMap(({ namespace, desired }) => desired.withheld.map(({ name }) => `${namespace.name}/${name}`)),
  );
  // What the operator has made before goes when its policy does not want it any more.
  const kept = objects.networkPolicies.filter(
    (policy) =>
      !isChild(policy) || !makers.has(policy.metadata.labels?.[LABEL_POLICY] ?? '') || withheld.has(idOf(policy)),
  );
  const byName = new Map(kept.map((policy) => [idOf(policy), policy]));
  for (const one of taking) {
    for (const child of childrenOf(one)) {
      const present = byName.get(idOf(child));
      if (present !== undefined && !isChild(present)) {
        const { name } = one.policy.metadata;
        notices.push(`BaselinePolicy ${name}: NetworkPolicy ${idOf(child)} is not the operator's, and keeps its place`);
        continue;
      }
      byName.set(idOf(child), child);
    }
  }
  return { policies: [...byName.values()], warnings: notices };
}

/** Whether the operator has made a NetworkPolicy. */
function isChild({ metadata }: NetworkPolicy): boolean {
  return metadata.labels?.[LABEL_MANAGED_BY] === MANAGER;
}

function idOf({ metadata }: NetworkPolicy): string {
  return `${metadata.namespace ?? 'default'}/${metadata.name}`;
}

function servicesOf(objects: ObjectSet): Service[] {
  return objects.services.map(({ metadata, spec = {} }) => {
    const { clusterIP: _one, selector, type, externalIPs, externalTrafficPolicy } = spec;
    return {
      namespace: metadata.namespace ?? 'default',
      name: metadata.name,
      clusterIPs: serviceAddresses(spec),
      ...(selector !== undefined && { selector }),
      ...(type !== undefined && { type }),
      ...(externalIPs !== undefined && { externalIPs }),
      ...(externalTrafficPolicy !== undefined && { externalTrafficPolicy }),
    };
  });
}
