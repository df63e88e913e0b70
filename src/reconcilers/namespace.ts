import { FINALIZER } from '../api/names.ts';
import { DONE, type Outcome } from '../controller/controller.ts';
import { discoveryNeeds, type DesiredSet } from '../policy/desired.ts';
import { diffChildren, driftOf, isOwned, stepOf, type Change, type DriftReason } from '../policy/diff.ts';
import type { LiveNetworkPolicy } from '../policy/live.ts';
import { selectsNamespace } from '../policy/select.ts';
import { PENDING } from '../policy/tally.ts';
import type { CachedNamespace, CachedPolicy, Caches } from './caches.ts';
import type { ChildWriter } from './child-writer.ts';
import type { AddressDiscovery } from './discovery.ts';
import { DriftRecorder, type DriftRecorderOptions } from './drift-recorder.ts';
import { isTooEarly, outcomeOf, reportOf, type Plan, type Step } from './namespace-plan.ts';
import { selectorText, type PolicyState } from './policy-state.ts';
import type { SecondLook } from './second-look.ts';

/** What a {@link NamespaceReconciler} works with. */
export interface NamespaceReconcilerOptions extends DriftRecorderOptions {
  readonly caches: Caches;
  readonly writer: ChildWriter;
  readonly secondLook: SecondLook;
  readonly discovery: AddressDiscovery;
  readonly stateOf: (policy: CachedPolicy) => PolicyState;
  readonly protectedNamespaces: ReadonlySet<string>;
  /** Told that the report of a policy has changed. */
  readonly onReport: (policy: string) => void;
}

/**
 * Writes at a time of one namespace. Where each hangs until it fails, the namespaces that may be worked on then, see
 * {@link Controller}, must leave requests for the others.
 */
const MAX_WRITES_AT_A_TIME = 4;

const NOTHING_DESIRED: DesiredSet = { children: new Map(), withheld: [], unresolved: [] };

/**
 * Gives one namespace the children that all BaselinePolicies want in it, and takes away those that they no longer
 * want. Reads the caches, decides by the pure functions of policy/, writes, and reports.
 */
export class NamespaceReconciler {
  readonly #options: NamespaceReconcilerOptions;
  readonly #drift: DriftRecorder;

  constructor(options: NamespaceReconcilerOptions) {
    this.#options = options;
    this.#drift = new DriftRecorder(options);
  }

  /** Reconciles the namespace of that name; see {@link Outcome}. */
  readonly reconcile = async (name: string, addedAt: number): Promise<Outcome> => {
    const { caches, secondLook, stateOf, writer } = this.#options;
    const namespace = caches.namespaces.get('', name);
    if (namespace === undefined || namespace.terminating) {
      // The namespace controller takes the children with it; writing would only fail.
      for (const policy of caches.policies.values()) this.#forget(policy.name, stateOf(policy), name);
      return DONE;
    }
    const leftovers = secondLook.leftovers(namespace);
    if (leftovers.length > 0) {
      await Promise.all(leftovers.map((child) => writer.refresh(name, child.name)));
      secondLook.lookedAt(namespace);
      return this.reconcile(name, addedAt);
    }
    secondLook.lookedAt(namespace);
    const live = caches.networkPolicies.inNamespace(name);
    const plans: Plan[] = [];
    for (const policy of caches.policies.values()) {
      const plan = this.#plan(policy, namespace, live, addedAt);
      if (plan !== undefined) plans.push(plan);
    }
    for (const { state } of plans) state.inHand++;
    try {
      if (!(await this.#confirmDeletions(plans, namespace))) return { kind: 'retry' };
      // Asked beside the writes, as these heal in any case.
      const [executed, lives] = await Promise.all([this.#execute(plans, namespace), this.#lives(plans, namespace)]);
      if (!lives) return this.#disown(plans, namespace);
      if (!executed) return this.#giveUp(plans, namespace);
      for (const plan of plans) this.#report(plan, namespace);
      return outcomeOf(plans);
    } finally {
      for (const { state } of plans) state.inHand--;
    }
  };

  /** What one policy needs; undefined when there is nothing to say about it now. */
  #plan(
    policy: CachedPolicy,
    namespace: CachedNamespace,
    live: ReadonlyMap<string, LiveNetworkPolicy>,
    addedAt: number,
  ): Plan | undefined {
    const { discovery, protectedNamespaces, stateOf } = this.#options;
    const { object } = policy;
    const state = stateOf(policy);
    const deleting = object.metadata.deletionTimestamp !== undefined;
    // Nothing is written in a protected namespace, nor removed from one that became protected later: that would open
    // it. Only with their policy children go, in order, as the garbage collector would take them without.
    if (!deleting && protectedNamespaces.has(namespace.name)) return undefined;
    const selected = !deleting && selectsNamespace(object.spec, namespace, protectedNamespaces);
    if (!selected) return this.#planLeaving(policy, state, namespace, live, deleting);
    const needs = discoveryNeeds(object.spec);
    // Without the finalizer the children could outlive an orderly removal; without addresses the wants are unknown.
    const ready = object.metadata.finalizers?.includes(FINALIZER) === true && discovery.isKnown(needs);
    if (!ready) return undefined;
    if (!state.hasSettled(namespace) && !state.unprotectedSince.has(namespace.name)) {
      state.unprotectedSince.set(namespace.name, addedAt);
    }
    const { addresses, revision } = discovery.addresses(needs);
    const desired = state.compile(object, addresses, revision).desiredIn(namespace);
    const settled = state.settled(object, namespace, desired, live);
    const changes = diffChildren(desired, live, state.uid);
    const steps = changes.map((change) => [change, driftOf(change, settled)] as const);
    return this.#makePlan(policy, state, namespace, addedAt, { selected: true, orphan: false, desired }, steps);
  }

  /** What is to be removed from a namespace that the policy does not select, or that is being deleted itself. */
  #planLeaving(
    policy: CachedPolicy,
    state: PolicyState,
    namespace: CachedNamespace,
    live: ReadonlyMap<string, LiveNetworkPolicy>,
    deleting: boolean,
  ): Plan | undefined {
    const owned = [...live.values()].some((child) => isOwned(child, state.uid));
    if (!owned) {
      this.#forget(policy.name, state, namespace.name);
      return undefined;
    }
    // Until it is judged whether the deletions may happen, everything stays. In Audit mode there is nothing to judge.
    const judged = deleting ? state.removal !== undefined : state.acceptedSelector === selectorText(policy.object);
    if (!judged && (deleting || policy.object.spec.mode !== 'Audit')) return undefined;
    const orphan = deleting && state.removal === 'orphan';
    // A child that lost its ownerReference while the policy goes was released by somebody, and stays.
    const changes = diffChildren(NOTHING_DESIRED, live, state.uid).filter(
      (change) => !deleting || (change.kind === 'delete' && change.live.ownerUid === state.uid),
    );
    const steps = changes.map((change) => [change, undefined] as const);
    return this.#makePlan(policy, state, namespace, 0, { selected: false, orphan, desired: NOTHING_DESIRED }, steps);
  }

  #makePlan(
    policy: CachedPolicy,
    state: PolicyState,
    namespace: CachedNamespace,
    addedAt: number,
    wanted: Pick<Plan, 'selected' | 'orphan' | 'desired'>,
    steps: readonly (readonly [Change, DriftReason | undefined])[],
  ): Plan {
    // A policy that is being deleted takes its children with it in any mode: the garbage collector would take them
    // without order.
    const audit = policy.object.spec.mode === 'Audit' && policy.object.metadata.deletionTimestamp === undefined;
    const plan: Plan = {
      policy,
      state,
      audit,
      ...wanted,
      steps: steps.map(([change, drift]) => {
        return { change, drift, result: audit || change.kind === 'conflict' ? 'reported' : 'todo' };
      }),
    };
    this.#drift.assess(plan, namespace, addedAt);
    return plan;
  }

  /** Whether what the plans rest on that delete children still holds; deletions of which that cannot be told have failed. */
  async #confirmDeletions(plans: readonly Plan[], namespace: CachedNamespace): Promise<boolean> {
    for (const { policy, steps } of plans) {
      const deletions = steps.filter(({ change, result }) => change.kind === 'delete' && result === 'todo');
      // A policy that is being deleted never comes back: its children go whatever else has changed.
      if (deletions.length === 0 || policy.object.metadata.deletionTimestamp !== undefined) continue;
      try {
        if (!(await this.#options.secondLook.holds(namespace, policy))) return false;
      } catch (error) {
        for (const step of deletions) Object.assign(step, { result: 'failed', error } satisfies Partial<Step>);
      }
    }
    return true;
  }

  /**
   * Runs the steps of all plans, each kind after the other; see {@link stepOf}. False when there is nothing to report:
   * the namespace is going, or this process does not lead any more.
   */
  async #execute(plans: readonly Plan[], namespace: CachedNamespace): Promise<boolean> {
    for (const number of [0, 1, 2, 3]) {
      const writes: [plan: Plan, step: Step][] = [];
      for (const plan of plans) {
        for (const step of plan.steps) {
          if (step.result !== 'todo' || stepOf(step.change) !== number) continue;
          if (isTooEarly(plan, step)) step.result = 'withheld';
          else writes.push([plan, step]);
        }
      }
      await this.#writeAll(writes, namespace);
      const results = plans.flatMap(({ steps }) => steps.map(({ result }) => result));
      if (results.includes('namespace-gone') || results.includes('not-leader')) return false;
    }
    return true;
  }

  /** Whether children can be missing by somebody's doing, and not because their namespace went; asked once a drift. */
  async #lives(plans: readonly Plan[], namespace: CachedNamespace): Promise<boolean> {
    if (!plans.some((plan) => this.#drift.doubts(plan, namespace))) return true;
    try {
      return await this.#options.secondLook.lives(namespace);
    } catch {
      // Where that cannot be told, what was seen counts.
      return true;
    }
  }

  /** What comes after steps for a namespace that is not there any more: what was made was made for its successor. */
  #disown(plans: readonly Plan[], namespace: CachedNamespace): Outcome {
    for (const plan of plans) {
      for (const step of plan.steps) step.drift = undefined;
      this.#forget(plan.policy.name, plan.state, namespace.name);
      this.#drift.record(plan, namespace);
    }
    return { kind: 'retry' };
  }

  /**
   * What comes after steps that were not all run. A namespace that is going is left alone, but not before its own event
   * says so: for a moment, the API server may take a namespace for the one that had its name before, and refuse.
   */
  #giveUp(plans: readonly Plan[], namespace: CachedNamespace): Outcome {
    if (plans.every(({ steps }) => steps.every(({ result }) => result !== 'namespace-gone'))) return DONE;
    for (const { selected, state, policy } of plans) {
      if (!selected || state.tally.get(namespace.name) !== undefined) continue;
      state.tally.set(namespace.name, PENDING);
      this.#options.onReport(policy.name);
    }
    return { kind: 'retry' };
  }

  async #writeAll(writes: readonly [plan: Plan, step: Step][], namespace: CachedNamespace): Promise<void> {
    const queue = writes.values();
    const takeTurns = async (): Promise<void> => {
      for (const [plan, step] of queue) await this.#write(plan, step, namespace);
    };
    await Promise.all(Array.from({ length: Math.min(MAX_WRITES_AT_A_TIME, writes.length) }, takeTurns));
  }

  async #write(plan: Plan, step: Step, namespace: CachedNamespace): Promise<void> {
    const { writer } = this.#options;
    const { change } = step;
    try {
      switch (change.kind) {
        case 'create':
          step.result = await writer.create(change.child, namespace.name);
          break;
        case 'update':
          step.result = await writer.update(change.child, change.live, change.identityDiffers);
          break;
        case 'delete':
          step.result = await (plan.orphan ? writer.orphan(change.live) : writer.remove(change.live));
          break;
        case 'conflict':
          break;
      }
    } catch (error) {
      step.result = 'failed';
      step.error = error;
    }
  }

  /** Counts what happened, and replaces the report of the namespace. */
  #report(plan: Plan, namespace: CachedNamespace): void {
    const { state, policy } = plan;
    this.#drift.record(plan, namespace);
    const { onReport } = this.#options;
    const settledNow = plan.steps.every(({ result }) => result === 'written');
    if (!plan.selected && settledNow) {
      this.#forget(policy.name, state, namespace.name);
      return;
    }
    if (plan.steps.some(({ result }) => result === 'stale')) return;
    if (plan.selected) {
      // A child whose name somebody else holds was not right either: making it later heals nothing.
      const unsettled = plan.steps.filter(
        ({ change, result, drift }) => result !== 'written' && (drift === undefined || change.kind === 'conflict'),
      );
      state.settle(namespace, {
        desired: plan.desired,
        unsettled: new Set(unsettled.map(({ change }) => change.name)),
      });
      this.#measureProtection(plan, namespace, settledNow);
    }
    state.tally.set(namespace.name, reportOf(plan));
    onReport(policy.name);
  }

  #measureProtection(plan: Plan, namespace: CachedNamespace, settledNow: boolean): void {
    const { unprotectedSince } = plan.state;
    const since = unprotectedSince.get(namespace.name);
    if (since === undefined || !settledNow) return;
    unprotectedSince.delete(namespace.name);
    const { metrics, monotonic } = this.#options;
    // A namespace that was right at the first look, after a start, was not protected just now.
    if (plan.steps.length > 0) metrics.timeToProtectedSeconds.observe((monotonic() - since) / 1000);
  }

  #forget(policy: string, state: PolicyState, namespace: string): void {
    const reported = state.tally.get(namespace) !== undefined;
    state.forget(namespace);
    if (reported) this.#options.onReport(policy);
  }
}
