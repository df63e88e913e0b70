import { DEFAULT_DENY, type DesiredChild, type DesiredSet } from './desired.ts';
import type { LiveNetworkPolicy } from './live.ts';

/** Why a child is not as it should be. */
export type DriftReason = 'Missing' | 'Modified' | 'Metadata' | 'Unexpected' | 'NameConflict';

/** All reasons of drift, in the order of the documentation. */
export const DRIFT_REASONS: readonly DriftReason[] = ['Missing', 'Modified', 'Metadata', 'Unexpected', 'NameConflict'];

/** One difference between what a policy wants in a namespace and what is there. */
export type Change =
  | { readonly kind: 'create'; readonly name: string; readonly child: DesiredChild }
  | {
      readonly kind: 'update';
      readonly name: string;
      readonly child: DesiredChild;
      readonly live: LiveNetworkPolicy;
      /** Whether the metadata that is ours differs too, and not the spec alone. */
      readonly identityDiffers: boolean;
      readonly specDiffers: boolean;
    }
  | { readonly kind: 'delete'; readonly name: string; readonly live: LiveNetworkPolicy }
  | {
      readonly kind: 'conflict';
      readonly name: string;
      readonly child: DesiredChild;
      readonly live: LiveNetworkPolicy;
    };

/** Whether a live object is a child of this policy: it has our owner UID, or had it when it was last seen with one. */
export function isOwned(live: LiveNetworkPolicy, policyUid: string): boolean {
  return live.ownerUid === policyUid || (live.ownerUid === '' && live.lastOwnerUid === policyUid);
}

/**
 * The differences between the wanted and the live children of one policy in one namespace; pure. Objects of others
 * are never changed: one that holds the name of a child is a conflict. Withheld children are left as they are.
 * @param live all cached NetworkPolicies of the namespace, by name
 */
export function diffChildren(
  desired: DesiredSet,
  live: ReadonlyMap<string, LiveNetworkPolicy>,
  policyUid: string,
): Change[] {
  const changes: Change[] = [];
  for (const child of desired.children.values()) {
    const found = live.get(child.name);
    if (found === undefined) {
      changes.push({ kind: 'create', name: child.name, child });
    } else if (!isOwned(found, policyUid)) {
      changes.push({ kind: 'conflict', name: child.name, child, live: found });
    } else if (!found.deleting) {
      const specDiffers = found.spec !== child.spec;
      const identityDiffers = found.identity !== child.identity;
      if (specDiffers || identityDiffers) {
        changes.push({ kind: 'update', name: child.name, child, live: found, identityDiffers, specDiffers });
      }
    }
  }
  const withheld = new Set(desired.withheld.map(({ name }) => name));
  for (const found of live.values()) {
    if (!isOwned(found, policyUid) || found.deleting) continue;
    if (!desired.children.has(found.name) && !withheld.has(found.name)) {
      changes.push({ kind: 'delete', name: found.name, live: found });
    }
  }
  return changes;
}

/** The reason of a difference, as if somebody had made it. */
export function reasonOf(change: Change): DriftReason {
  switch (change.kind) {
    case 'create':
      return 'Missing';
    case 'update':
      return change.specDiffers ? 'Modified' : 'Metadata';
    case 'delete':
      return 'Unexpected';
    case 'conflict':
      return 'NameConflict';
  }
}

/** What a namespace had when it was last looked at: the measure of what is drift and what is our own doing. */
export interface SettledState {
  /** What was wanted then. */
  readonly desired: DesiredSet;
  /** Names of children that were not right then: what changes about them is nobody's drift. */
  readonly unsettled: ReadonlySet<string>;
}

/**
 * The reason of a difference if it is drift: something that was right and that somebody changed. Undefined when the
 * difference comes from us: a new namespace, a changed policy, addresses that moved.
 */
export function driftOf(change: Change, settled: SettledState | undefined): DriftReason | undefined {
  if (change.kind === 'conflict') return 'NameConflict';
  if (settled === undefined) return undefined;
  if (settled.unsettled.has(change.name)) return undefined;
  const before = settled.desired.children.get(change.name);
  if (change.kind === 'delete') {
    // A child that was wanted until now is pruned; one that nobody wanted was put there.
    const wanted = before !== undefined || settled.desired.withheld.some(({ name }) => name === change.name);
    return wanted ? undefined : 'Unexpected';
  }
  const unchanged = before?.spec === change.child.spec && before.identity === change.child.identity;
  return unchanged ? reasonOf(change) : undefined;
}

/** The rule that a child's name stands for: what follows the first dot, as a policy's name has none. */
export function ruleOfName(name: string): string {
  return name.slice(name.indexOf('.') + 1);
}

/**
 * Which of the four steps a change belongs to. Steps run one after the other, so that no namespace is ever closed
 * without its allows: default-deny is removed first and made last, allows are removed last.
 */
export function stepOf(change: Change): 0 | 1 | 2 | 3 {
  const isDeny = ruleOfName(change.name) === DEFAULT_DENY;
  if (change.kind === 'delete') return isDeny ? 0 : 3;
  return isDeny ? 2 : 1;
}
