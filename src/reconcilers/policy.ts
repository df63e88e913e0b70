import { CRD_NAME, type BaselinePolicy } from '../api/baselinepolicy.ts';
import type { KubernetesObject } from '../api/metadata.ts';
import { ANNOTATION_APPROVED_GENERATION, FINALIZER } from '../api/names.ts';
import { DONE, type Outcome } from '../controller/controller.ts';
import type { Lane } from '../controller/workqueue.ts';
import { RESOURCES, type KubeClient, type PatchOperation } from '../kube/client.ts';
import { FencedError, isConflict, isNotFound } from '../kube/errors.ts';
import type { EventRecorder } from '../kube/events.ts';
import type { Logger } from '../observability/log.ts';
import type { Metrics } from '../observability/metrics.ts';
import { isMassDeletion, type BrakeLimits } from '../policy/brake.ts';
import { discoveryNeeds, type CompiledPolicy } from '../policy/desired.ts';
import { isOwned, ruleOfName } from '../policy/diff.ts';
import type { LiveNetworkPolicy } from '../policy/live.ts';
import { selectsNamespace } from '../policy/select.ts';
import { buildStatus, MAX_LISTED_FAILURES, sameStatus } from '../policy/status.ts';
import { PENDING } from '../policy/tally.ts';
import type { CachedPolicy, Caches } from './caches.ts';
import type { AddressDiscovery } from './discovery.ts';
import type { OwnedCounter } from './owned-counter.ts';
import { selectorText, type PolicyState } from './policy-state.ts';
import type { PolicyStates } from './policy-states.ts';

/** What a {@link PolicyReconciler} works with. */
export interface PolicyReconcilerOptions {
  readonly caches: Caches;
  readonly client: KubeClient;
  readonly discovery: AddressDiscovery;
  readonly owned: OwnedCounter;
  readonly states: PolicyStates;
  readonly protectedNamespaces: ReadonlySet<string>;
  readonly brake: BrakeLimits;
  readonly mayWrite: () => boolean;
  readonly enqueueNamespace: (name: string, lane: Lane) => void;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly events: EventRecorder;
  /** Monotonic clock in milliseconds. */
  readonly monotonic: () => number;
  /** Now, RFC 3339. */
  readonly wallClock: () => string;
}

/** Least time between two writes of one policy's status. */
const STATUS_EVERY_MS = 2_000;
/** A small roll-out is over by then, and is told as done at once. */
const STATUS_AFTER_ROLLOUT_MS = 150;
/** How soon to look again whether writes that were on their way when a policy was deleted have been answered. */
const IN_HAND_AGAIN_MS = 100;

/** What all children of a policy would be made from; nothing depends on this namespace but variables. */
const NO_NAMESPACE = { name: '', labels: {} };

/**
 * Looks after one BaselinePolicy: its finalizer, whether deletions may happen, which namespaces must look again, its
 * status. It writes no NetworkPolicy itself.
 */
export class PolicyReconciler {
  readonly #options: PolicyReconcilerOptions;

  constructor(options: PolicyReconcilerOptions) {
    this.#options = options;
  }

  /** Reconciles the BaselinePolicy of that name; see {@link Outcome}. */
  readonly reconcile = async (name: string): Promise<Outcome> => {
    const { caches, states, mayWrite } = this.#options;
    const policy = caches.policies.get('', name);
    if (policy === undefined) {
      states.forget(name);
      return DONE;
    }
    if (!mayWrite()) return DONE;
    const state = states.of(policy);
    try {
      return policy.object.metadata.deletionTimestamp === undefined
        ? await this.#keep(policy, state)
        : await this.#remove(policy, state);
    } catch (error) {
      if (error instanceof FencedError) return DONE;
      // Gone or changed since it was cached: its event is on the way.
      if (isConflict(error) || isNotFound(error)) return { kind: 'retry' };
      throw error;
    }
  };

  async #keep(policy: CachedPolicy, state: PolicyState): Promise<Outcome> {
    const { discovery, metrics } = this.#options;
    const { object } = policy;
    if (object.metadata.finalizers?.includes(FINALIZER) !== true) {
      const finalizers = [...(object.metadata.finalizers ?? []), FINALIZER];
      await this.#patch(policy, [{ op: 'add', path: '/metadata/finalizers', value: finalizers }]);
      // The answer is in the cache, and has put this key into the queue again.
      return DONE;
    }
    const needs = discoveryNeeds(object.spec);
    if (!discovery.isKnown(needs)) return DONE;
    const { addresses, revision } = discovery.addresses(needs);
    const compiled = state.compile(object, addresses, revision);
    metrics.trackPolicy(policy.name, object.spec.mode ?? 'Enforce', compiled.rules);
    this.#judgeDeletions(policy, state);
    const rollout = [object.metadata.generation, revision, state.acceptedSelector].join(' ');
    if (state.rolledOut !== rollout) {
      state.rolledOut = rollout;
      this.#rollOut(policy, state);
      // The status follows when the namespaces have answered, or soon.
      return { kind: 'after', ms: STATUS_AFTER_ROLLOUT_MS };
    }
    return this.#writeStatus(policy, state, compiled);
  }

  async #remove(policy: CachedPolicy, state: PolicyState): Promise<Outcome> {
    const { caches, enqueueNamespace, logger } = this.#options;
    if (policy.object.metadata.finalizers?.includes(FINALIZER) !== true) return DONE;
    // To keep the children is for good: the garbage collector takes its finalizer off as soon as it has done its part.
    const removal = state.removal === 'orphan' ? 'orphan' : await this.#decideRemoval(policy.object);
    if (state.removal !== removal) {
      state.removal = removal;
      logger.info('Removing BaselinePolicy', { policy: policy.name, children: removal });
    }
    const left = this.#childrenLeft(state);
    if (left.length > 0) {
      const rollout = `remove ${removal}`;
      if (state.rolledOut !== rollout) {
        state.rolledOut = rollout;
        for (const namespace of new Set(left.map((child) => child.namespace))) {
          if (caches.namespaces.get('', namespace) === undefined) continue;
          state.tally.set(namespace, { ...PENDING, selected: false });
          enqueueNamespace(namespace, 'backlog');
        }
        return { kind: 'after', ms: STATUS_AFTER_ROLLOUT_MS };
      }
      return this.#writeStatus(policy, state, undefined);
    }
    // A child that comes when its policy is gone would be the garbage collector's, which knows no order.
    if (state.inHand > 0) return { kind: 'after', ms: IN_HAND_AGAIN_MS };
    const finalizers = policy.object.metadata.finalizers.filter((name) => name !== FINALIZER);
    await this.#patch(policy, [{ op: 'add', path: '/metadata/finalizers', value: finalizers }]);
    // With its last finalizer the policy itself goes; the answer shows it as it was before.
    if (finalizers.length === 0) caches.policies.removeOwn(policy);
    logger.info('Released BaselinePolicy', { policy: policy.name });
    return DONE;
  }

  /**
   * Whether the children go with their policy. They stay when the policy says so, when whoever deletes it asks the
   * garbage collector to orphan dependents, and when the CustomResourceDefinition itself goes: losing the definition
   * must not open the cluster.
   */
  async #decideRemoval(policy: BaselinePolicy): Promise<'delete' | 'orphan'> {
    if (policy.spec.deletionPolicy === 'Orphan' || policy.metadata.finalizers?.includes('orphan') === true) {
      return 'orphan';
    }
    try {
      const crd = await this.#options.client.get<KubernetesObject>(RESOURCES.customResourceDefinitions, CRD_NAME);
      return crd.metadata.deletionTimestamp === undefined ? 'delete' : 'orphan';
    } catch (error) {
      if (isNotFound(error)) return 'orphan';
      throw error;
    }
  }

  /**
   * Children that still have to be removed or released. Those of namespaces that are going are left to them; one
   * without our ownerReference was released by somebody, perhaps by the garbage collector on demand, and stays.
   */
  #childrenLeft(state: PolicyState): LiveNetworkPolicy[] {
    const { caches } = this.#options;
    return [...caches.networkPolicies.values()].filter(
      (child) => child.ownerUid === state.uid && caches.namespaces.get('', child.namespace)?.terminating === false,
    );
  }

  /**
   * Judges what a new selector would delete. Held deletions stay held until the selector changes, nothing is left to
   * delete, or a person approves this generation. In Audit mode nothing is deleted, and so nothing is judged.
   */
  #judgeDeletions(policy: CachedPolicy, state: PolicyState): void {
    const { brake, logger, events, owned, metrics } = this.#options;
    const { object, name } = policy;
    const selector = selectorText(object);
    if (object.spec.mode === 'Audit' || state.acceptedSelector === selector) {
      state.held = undefined;
      metrics.setDeletionHeld(name, false);
      return;
    }
    const leaving = this.#leavingChildren(policy, state);
    const total = Math.max(owned.total(state.uid), leaving.length);
    const approved = object.metadata.annotations?.[ANNOTATION_APPROVED_GENERATION];
    const isApproved = approved === String(object.metadata.generation);
    const goesOn = state.held?.selector === selector && leaving.length > 0;
    if (!isApproved && (goesOn || isMassDeletion(leaving.length, total, brake))) {
      const namespaces = new Set(leaving.map((child) => child.namespace)).size;
      if (!goesOn) {
        const fields = { policy: name, leaving: leaving.length, total, namespaces };
        logger.warn('Held mass deletion until it is approved', fields);
        const note = `The selector would delete ${leaving.length} of ${total} NetworkPolicies in ${namespaces} namespaces`;
        events.record({ kind: 'BaselinePolicy', ...policy }, 'Warning', 'DeletionHeld', 'Hold', note);
      }
      state.held = { leaving: leaving.length, total, namespaces, selector };
      metrics.setDeletionHeld(name, true);
      return;
    }
    if (state.held !== undefined) logger.info('Released held deletion', { policy: name, approved: isApproved });
    state.held = undefined;
    state.acceptedSelector = selector;
    metrics.setDeletionHeld(name, false);
  }

  /** Children in namespaces that the policy does not select any more. */
  #leavingChildren(policy: CachedPolicy, state: PolicyState): LiveNetworkPolicy[] {
    const { caches, protectedNamespaces } = this.#options;
    return [...caches.networkPolicies.values()].filter((child) => {
      if (!isOwned(child, state.uid)) return false;
      const namespace = caches.namespaces.get('', child.namespace);
      if (namespace === undefined || namespace.terminating || protectedNamespaces.has(namespace.name)) return false;
      return !selectsNamespace(policy.object.spec, namespace, protectedNamespaces);
    });
  }

  /** Tells all namespaces that the policy selects, or has children in, to look again. */
  #rollOut(policy: CachedPolicy, state: PolicyState): void {
    const { caches, protectedNamespaces, enqueueNamespace } = this.#options;
    for (const namespace of caches.namespaces.values()) {
      if (namespace.terminating || !selectsNamespace(policy.object.spec, namespace, protectedNamespaces)) continue;
      state.tally.set(namespace.name, PENDING);
      enqueueNamespace(namespace.name, 'backlog');
    }
    for (const child of this.#leavingChildren(policy, state)) {
      // Held children are no work in progress: they wait for a person.
      if (state.held === undefined) state.tally.set(child.namespace, { ...PENDING, selected: false });
      else state.tally.delete(child.namespace);
      enqueueNamespace(child.namespace, 'backlog');
    }
    for (const name of [...state.tally.namespaces()]) enqueueNamespace(name, 'backlog');
  }

  async #writeStatus(policy: CachedPolicy, state: PolicyState, compiled: CompiledPolicy | undefined): Promise<Outcome> {
    const { monotonic, wallClock, owned, metrics } = this.#options;
    const sums = state.tally.sums();
    const byName = owned.byName(state.uid);
    const rules = new Map([...byName].map(([name, count]) => [ruleOfName(name), count]));
    metrics.setNamespaces(policy.name, sums.states);
    metrics.setDriftedNetworkPolicies(policy.name, sums.drifted);
    metrics.setNetworkPolicies(policy.name, rules);
    const status = buildStatus({
      policy: policy.object,
      sums,
      failures: state.tally.failures(MAX_LISTED_FAILURES),
      current: owned.total(state.uid),
      drift: { ...state.drift },
      withheld: compiled?.desiredIn(NO_NAMESPACE).withheld ?? [],
      held: state.held,
      now: wallClock(),
    });
    if (sameStatus(policy.object.status, status)) return DONE;
    const waitMs = state.statusWrittenAt + STATUS_EVERY_MS - monotonic();
    if (waitMs > 0) return { kind: 'after', ms: waitMs };
    await this.#patch(policy, [{ op: 'add', path: '/status', value: status }], 'status');
    // Only what was written counts: after a failure the queue waits, longer each time.
    state.statusWrittenAt = monotonic();
    return DONE;
  }

  /** Patches the policy if it is the one that is cached, and takes the answer into the cache. */
  async #patch(policy: CachedPolicy, operations: readonly PatchOperation[], subresource?: string): Promise<void> {
    const { client, caches } = this.#options;
    const guard: PatchOperation =
      subresource === undefined
        ? { op: 'replace', path: '/metadata/resourceVersion', value: policy.resourceVersion }
        : // A status must not be lost to each edit of the spec; nobody else writes it.
          { op: 'test', path: '/metadata/uid', value: policy.uid };
    const target = { name: policy.name, ...(subresource !== undefined && { subresource }) };
    caches.policies.observeWrite(
      await client.patch<BaselinePolicy>(RESOURCES.baselinePolicies, target, [guard, ...operations]),
    );
  }
}
