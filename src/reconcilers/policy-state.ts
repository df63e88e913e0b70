import type { BaselinePolicy } from '../api/baselinepolicy.ts';
import { compilePolicy, type CompiledPolicy, type DesiredSet } from '../policy/desired.ts';
import { isOwned, type DriftReason, type SettledState } from '../policy/diff.ts';
import type { DiscoveredAddresses } from '../policy/discovery.ts';
import type { LiveNetworkPolicy } from '../policy/live.ts';
import type { HeldDeletion } from '../policy/status.ts';
import { ComplianceTally } from '../policy/tally.ts';
import type { CachedNamespace } from './caches.ts';

/** A difference of one child that has been seen and is not healed: drift, or anything that Audit mode reports. */
export interface DriftEpisode {
  readonly reason: DriftReason;
  /** When the namespace became dirty by it; monotonic milliseconds. */
  readonly since: number;
  /** Whether the totals of the status count it as seen. */
  noted: boolean;
  /** Actions of `baseline_policy_drift_total` that it was counted with, so that each counts once. */
  readonly counted: Set<'failed' | 'reported'>;
  /** Whether a write that should heal it failed in a way that leaves open whether it was done. */
  maybeHealed?: boolean;
}

/** What happens to the children of a BaselinePolicy that is being deleted. */
export type Removal = 'delete' | 'orphan';

/**
 * What the leader remembers of one BaselinePolicy beside the caches. All of it can be lost: a new leader starts with
 * what the status says. Nothing here decides what is wanted; it decides what is drift, what is held and what is counted.
 */
export class PolicyState {
  readonly uid: string;
  readonly tally = new ComplianceTally();
  /** Differences not healed yet: namespace, then name of the child. */
  readonly episodes = new Map<string, Map<string, DriftEpisode>>();
  /** Namespaces that wait for their first complete baseline, and since when (monotonic milliseconds). */
  readonly unprotectedSince = new Map<string, number>();
  readonly drift: { detectedTotal: number; healedTotal: number; lastDetectedTime?: string };

  /** Selector that deletions were judged by and allowed; undefined until judged. */
  acceptedSelector: string | undefined;
  /** Deletions that wait for a person, and for which selector. */
  held: (HeldDeletion & { readonly selector: string }) | undefined;
  /** How many reconciles of namespaces are at work for the policy: what they write may not be in the cache yet. */
  inHand = 0;
  /** Decided when the policy is being deleted; until then its children are left alone. */
  removal: Removal | undefined;
  /** What all namespaces were last told to look at; see the policy reconciler. */
  rolledOut = '';
  /** When the status was last written; monotonic milliseconds. */
  statusWrittenAt = Number.NEGATIVE_INFINITY;
  /** Generation for which the status of an earlier leader said that all was right. */
  readonly #trustedGeneration: number | undefined;
  readonly #settled = new Map<string, { readonly uid: string; readonly state: SettledState }>();
  #compiled: { readonly key: string; readonly policy: CompiledPolicy } | undefined;

  constructor(policy: BaselinePolicy) {
    const { status, metadata, spec } = policy;
    this.uid = metadata.uid ?? '';
    this.drift = { detectedTotal: 0, healedTotal: 0, ...status?.drift };
    const ready = status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') === true;
    const current = status?.observedGeneration === metadata.generation;
    this.#trustedGeneration = ready && current && spec.mode !== 'Audit' ? metadata.generation : undefined;
    const wasHeld = status?.conditions?.some(({ type }) => type === 'DeletionHeld') === true;
    // An earlier leader has let this selector pass.
    if (current && !wasHeld && spec.mode !== 'Audit') this.acceptedSelector = selectorText(policy);
  }

  /** The compiled policy, made anew only when its spec or the addresses that it uses have changed. */
  compile(policy: BaselinePolicy, discovered: DiscoveredAddresses, revision: string): CompiledPolicy {
    const key = `${policy.metadata.generation ?? 0}/${revision}`;
    if (this.#compiled?.key !== key) this.#compiled = { key, policy: compilePolicy(policy, discovered) };
    return this.#compiled.policy;
  }

  /**
   * What the namespace had when it was last right. A namespace that was not looked at yet counts as right if the
   * status of an earlier leader vouches for this generation and the namespace has any child.
   */
  settled(
    policy: BaselinePolicy,
    namespace: CachedNamespace,
    desired: DesiredSet,
    live: ReadonlyMap<string, LiveNetworkPolicy>,
  ): SettledState | undefined {
    const known = this.#settled.get(namespace.name);
    if (known !== undefined) return known.uid === namespace.uid ? known.state : undefined;
    if (this.#trustedGeneration === undefined || this.#trustedGeneration !== policy.metadata.generation)
      return undefined;
    const owned = [...live.values()].filter((child) => isOwned(child, this.uid)).map(({ name }) => name);
    // Addresses and labels may have changed meanwhile: a child that follows them may differ without anybody's doing.
    const follows = owned.filter((name) => this.#compiled?.policy.dependent.has(name));
    return owned.length > 0 ? { desired, unsettled: new Set(follows) } : undefined;
  }

  /** Notes what a namespace has now. */
  settle(namespace: CachedNamespace, state: SettledState): void {
    this.#settled.set(namespace.name, { uid: namespace.uid, state });
  }

  /** Whether the namespace, with this UID, has been looked at. */
  hasSettled(namespace: CachedNamespace): boolean {
    return this.#settled.get(namespace.name)?.uid === namespace.uid;
  }

  /** Forgets a namespace that is gone, or that the policy does not select and has no children in. */
  forget(namespace: string): void {
    this.tally.delete(namespace);
    this.episodes.delete(namespace);
    this.unprotectedSince.delete(namespace);
    this.#settled.delete(namespace);
  }
}

/** What of a spec decides which namespaces are selected, as one text. */
export function selectorText(policy: BaselinePolicy): string {
  return JSON.stringify([policy.spec.namespaceSelector ?? null, policy.spec.excludedNamespaces ?? []]);
}
