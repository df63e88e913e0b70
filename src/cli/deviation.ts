import { compareText } from '../analysis/cluster.ts';
import type { BaselinePolicy } from '../api/baselinepolicy.ts';
import type { NetworkPolicy } from '../api/networkpolicy.ts';
import { LABEL_MANAGED_BY, LABEL_POLICY, MANAGER } from '../api/names.ts';
import { isBaselinePolicyReference, ownerReference } from '../policy/child.ts';
import type { DesiredSet } from '../policy/desired.ts';
import { diffChildren, isOwned, type Change } from '../policy/diff.ts';
import { trimNetworkPolicy, type LiveNetworkPolicy } from '../policy/live.ts';
import { FILE_UID, type Wanted } from './input/children.ts';
import type { Namespace, ObjectSet } from './input/objects.ts';

/** How a namespace differs from what a BaselinePolicy wants in it. */
export interface Deviation {
  readonly policy: BaselinePolicy;
  readonly namespace: string;
  /** Whether the policy selects the namespace; else only children that must go are there. */
  readonly isSelected: boolean;
  readonly desired: DesiredSet;
  /** None when all is as wanted. */
  readonly changes: readonly Change[];
}

const NOTHING: DesiredSet = { children: new Map(), withheld: [], unresolved: [] };

/**
 * What the operator would do for each policy and each namespace that the policy selects, or in which it has children;
 * in the order of policies and namespaces. Namespaces that are being deleted are left alone, as the operator leaves
 * them. A policy that is being deleted wants nothing, and with deletionPolicy Orphan does nothing.
 */
export function deviations(objects: ObjectSet, wanted: readonly Wanted[]): Deviation[] {
  const terminating = new Set(objects.namespaces.filter(isTerminating).map(({ metadata }) => metadata.name));
  const policies = [...objects.baselinePolicies].sort((a, b) => compareText(a.metadata.name, b.metadata.name));
  const wantedBy = Map.groupBy(wanted, ({ policy }) => policy);
  const byNamespace = Map.groupBy(objects.networkPolicies, ({ metadata }) => metadata.namespace ?? 'default');
  return policies.flatMap((policy) => {
    const isLeaving = policy.metadata.deletionTimestamp !== undefined;
    if (isLeaving && policy.spec.deletionPolicy === 'Orphan') return [];
    const identified = withUid(policy);
    const desiredIn = new Map(
      isLeaving ? [] : (wantedBy.get(policy) ?? []).map(({ namespace, desired }) => [namespace.name, desired]),
    );
    const names = new Set([...desiredIn.keys(), ...byNamespace.keys()].filter((name) => !terminating.has(name)));
    return [...names].sort(compareText).flatMap((namespace): Deviation[] => {
      const live = liveIn(identified, byNamespace.get(namespace) ?? []);
      const desired = desiredIn.get(namespace);
      const owned = [...live.values()].some((one) => isOwned(one, identified.uid));
      if (desired === undefined && !owned) return [];
      const changes = diffChildren(desired ?? NOTHING, live, identified.uid);
      return [{ policy, namespace, isSelected: desired !== undefined, desired: desired ?? NOTHING, changes }];
    });
  });
}

function isTerminating(namespace: Namespace): boolean {
  return namespace.metadata.deletionTimestamp !== undefined;
}

interface Identified {
  readonly policy: BaselinePolicy;
  readonly uid: string;
  /** Whether the policy comes from a cluster, and its children have its UID. */
  readonly isLive: boolean;
}

function withUid(policy: BaselinePolicy): Identified {
  const { uid } = policy.metadata;
  return { policy, uid: uid ?? FILE_UID, isLive: uid !== undefined };
}

function liveIn(identified: Identified, policies: readonly NetworkPolicy[]): Map<string, LiveNetworkPolicy> {
  const live = new Map<string, LiveNetworkPolicy>();
  for (const object of policies) {
    const trimmed = trimNetworkPolicy(
      identified.isLive ? object : withOwner(object, identified),
      undefined,
      (text) => text,
    );
    if (trimmed !== undefined) live.set(trimmed.name, trimmed);
  }
  return live;
}

/** In files the labels tell whose a child is: nothing there has a UID. */
function withOwner(object: NetworkPolicy, { policy }: Identified): NetworkPolicy {
  const { labels, ownerReferences = [] } = object.metadata;
  if (labels?.[LABEL_MANAGED_BY] !== MANAGER || labels[LABEL_POLICY] !== policy.metadata.name) return object;
  const others = ownerReferences.filter((owner) => !isBaselinePolicyReference(owner));
  const owner = { ...ownerReference(policy), uid: FILE_UID };
  return { ...object, metadata: { ...object.metadata, ownerReferences: [...others, owner] } };
}
