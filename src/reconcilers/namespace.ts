import { DONE, type Outcome } from '../controller/controller.ts';
import type { EventRecorder } from '../kube/events.ts';
import type { Logger } from '../observability/log.ts';
import type { Metrics } from '../observability/metrics.ts';
import { DEFAULT_DENY, discoveryNeeds, type DesiredSet } from '../policy/desired.ts';
import {
  diffChildren,
  driftOf,
  isOwned,
  reasonOf,
  ruleOfName,
  stepOf,
  type Change,
  type DriftReason,
} from '../policy/diff.ts';
import { FightDetector } from '../policy/fight.ts';
import type { LiveNetworkPolicy } from '../policy/live.ts';
import { selectsNamespace } from '../policy/select.ts';
import type { NamespaceReport } from '../policy/tally.ts';
import { FINALIZER } from '../api/names.ts';
import type { CachedNamespace, CachedPolicy, Caches } from './caches.ts';
import type { ChildWriter, WriteResult } from './child-writer.ts';
import type { AddressDiscovery } from './discovery.ts';
import { describeFailure } from './failure.ts';
import { selectorText, type PolicyState } from './policy-state.ts';

/** What a {@link NamespaceReconciler} works with. */
export interface NamespaceReconcilerOptions {
  readonly caches: Caches;
  readonly writer: ChildWriter;
  readonly discovery: AddressDiscovery;
  readonly stateOf: (policy: CachedPolicy) => PolicyState;
  readonly protectedNamespaces: ReadonlySet<string>;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly events: EventRecorder;
  /** Told that the report of a policy has changed. */
  readonly onReport: (policy: string) => void;
  /** Monotonic clock in milliseconds. */
  readonly monotonic: () => number;
  /** Now, RFC 3339. */
  readonly wallClock: () => string;
}

/** One change that a policy needs in the namespace, and what came of it. */
interface Step {
  readonly change: Change;
  /** Set when somebody else caused the change. */
  readonly drift: DriftReason | undefined;
  result: WriteResult | 'failed' | 'reported' | 'fighting' | 'withheld' | 'todo';
  error?: unknown;
  waitMs?: number;
}

/** All that one policy needs in the namespace. */
interface Plan {
  readonly policy: CachedPolicy;
  readonly state: PolicyState;
  readonly selected: boolean;
  readonly audit: boolean;
  /** Children lose our ownerReference instead of being deleted. */
  readonly orphan: boolean;
  readonly desired: DesiredSet;
  readonly steps: readonly Step[];
}

/** What a withheld step waits for. */
const WAITING = {
  create: { reason: 'WaitingForAllows', message: 'not created before all that it needs to allow' },
  update: { reason: 'WaitingForAllows', message: 'not changed before all that it needs to allow' },
  delete: { reason: 'WaitingForDeny', message: 'kept until default-deny is removed' },
} as const;

const NOTHING_DESIRED: DesiredSet = { children: new Map(), withheld: [], unresolved: [] };

/**
 * Gives one namespace the children that all BaselinePolicies want in it, and takes away those that they no longer
 * want. Reads the caches, decides by the pure functions of policy/, writes, and reports.
 */
export class NamespaceReconciler {
  readonly #options: NamespaceReconcilerOptions;
  readonly #fights = new FightDetector();

  constructor(options: NamespaceReconcilerOptions) {
    this.#options = options;
  }

  /** Reconciles the namespace of that name; see {@link Outcome}. */
  readonly reconcile = async (name: string, addedAt: number): Promise<Outcome> => {
    const { caches, stateOf } = this.#options;
    const namespace = caches.namespaces.get('', name);
    if (namespace === undefined || namespace.terminating) {
      // The namespace controller takes the children with it; writing would only fail.
      for (const policy of caches.policies.values()) this.#forget(policy.name, stateOf(policy), name);
      return DONE;
    }
    const live = caches.networkPolicies.inNamespace(name);
    const plans: Plan[] = [];
    for (const policy of caches.policies.values()) {
      const plan = this.#plan(policy, namespace, live, addedAt);
      if (plan !== undefined) plans.push(plan);
    }
    if (!(await this.#execute(plans, namespace))) return DONE;
    for (const plan of plans) this.#report(plan, namespace);
    return outcomeOf(plans);
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
    return this.#makePlan(policy, state, namespace, addedAt, {
      selected: true,
      orphan: false,
      desired,
      steps: changes.map((change) => ({ change, drift: driftOf(change, settled), result: 'todo' })),
    });
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
    return this.#makePlan(policy, state, namespace, 0, {
      selected: false,
      orphan,
      desired: NOTHING_DESIRED,
      steps: changes.map((change) => ({ change, drift: undefined, result: 'todo' })),
    });
  }

  #makePlan(
    policy: CachedPolicy,
    state: PolicyState,
    namespace: CachedNamespace,
    addedAt: number,
    plan: Pick<Plan, 'selected' | 'orphan' | 'desired' | 'steps'>,
  ): Plan {
    // A policy that is being deleted takes its children with it in any mode: the garbage collector would take them
    // without order.
    const audit = policy.object.spec.mode === 'Audit' && policy.object.metadata.deletionTimestamp === undefined;
    const episodes = state.episodes.get(namespace.name);
    const drifted = new Set<string>();
    for (const step of plan.steps) {
      // Audit reports all that differs by its reason, be it drift or not yet done.
      const reason = step.drift ?? (audit ? reasonOf(step.change) : undefined);
      if (reason === undefined) continue;
      drifted.add(step.change.name);
      if (episodes?.get(step.change.name)?.reason !== reason) {
        this.#beginEpisode(state, namespace.name, step.change.name, reason, addedAt);
        if (step.drift !== undefined) this.#noteDrift(state);
      }
      if (!audit && step.change.kind !== 'conflict') this.#judgeFight(policy, namespace, step);
    }
    for (const name of episodes?.keys() ?? []) if (!drifted.has(name)) episodes?.delete(name);
    for (const step of plan.steps) {
      if (audit || step.change.kind === 'conflict') step.result = 'reported';
    }
    return { policy, state, audit, ...plan };
  }

  #beginEpisode(state: PolicyState, namespace: string, child: string, reason: DriftReason, since: number): void {
    let episodes = state.episodes.get(namespace);
    if (episodes === undefined) {
      episodes = new Map();
      state.episodes.set(namespace, episodes);
    }
    episodes.set(child, { reason, since, counted: new Set() });
  }

  #noteDrift(state: PolicyState): void {
    state.drift.detectedTotal++;
    state.drift.lastDetectedTime = this.#options.wallClock();
  }

  #judgeFight(policy: CachedPolicy, namespace: CachedNamespace, step: Step): void {
    const { metrics, events, logger, monotonic } = this.#options;
    const { name } = step.change;
    const verdict = this.#fights.judge(`${namespace.name}/${name}`, monotonic());
    if (!verdict.fighting) return;
    step.result = 'fighting';
    step.waitMs = verdict.waitMs;
    if (!verdict.isNew) return;
    const rule = ruleOfName(name);
    metrics.recordFight(policy.name, rule);
    logger.warn('Stopped healing NetworkPolicy that something keeps changing', {
      namespace: namespace.name,
      policy: policy.name,
      rule,
      waitMs: Math.round(verdict.waitMs),
    });
    const seconds = Math.round(verdict.waitMs / 1000);
    const note = `Something keeps changing ${namespace.name}/${name}; it is left alone for ${seconds} s`;
    events.record({ kind: 'BaselinePolicy', ...policy }, 'Warning', 'Fighting', 'BackOff', note);
    events.record({ kind: 'Namespace', ...namespace }, 'Warning', 'Fighting', 'BackOff', note);
  }

  /**
   * Runs the steps of all plans, each kind after the other; see {@link stepOf}. False when there is nothing to report:
   * the namespace is going, or this process does not lead any more.
   */
  async #execute(plans: readonly Plan[], namespace: CachedNamespace): Promise<boolean> {
    for (const number of [0, 1, 2, 3]) {
      const writes: Promise<void>[] = [];
      for (const plan of plans) {
        for (const step of plan.steps) {
          if (step.result !== 'todo' || stepOf(step.change) !== number) continue;
          if (isTooEarly(plan, step)) step.result = 'withheld';
          else writes.push(this.#write(plan, step, namespace));
        }
      }
      await Promise.all(writes);
      const results = plans.flatMap(({ steps }) => steps.map(({ result }) => result));
      if (results.includes('namespace-gone') || results.includes('not-leader')) return false;
    }
    return true;
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
    for (const step of plan.steps) this.#count(plan, namespace, step);
    this.#logWrites(plan, namespace);
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
    state.tally.set(namespace.name, makeReport(plan));
    onReport(policy.name);
  }

  #count(plan: Plan, namespace: CachedNamespace, step: Step): void {
    const { metrics, events, monotonic } = this.#options;
    const { policy, state } = plan;
    const { name } = step.change;
    const rule = ruleOfName(name);
    const episodes = state.episodes.get(namespace.name);
    const episode = episodes?.get(name);
    if (step.result === 'written' && episode !== undefined) {
      const seconds = (monotonic() - episode.since) / 1000;
      metrics.recordDrift(policy.name, rule, episode.reason, 'healed');
      metrics.healSeconds.observe(seconds);
      state.drift.healedTotal++;
      this.#fights.recordHeal(`${namespace.name}/${name}`, monotonic());
      episodes?.delete(name);
      const note = `Healed NetworkPolicy ${name} of namespace ${namespace.name}: ${episode.reason}`;
      events.record({ kind: 'BaselinePolicy', ...policy }, 'Warning', 'DriftHealed', 'Heal', note);
      events.record({ kind: 'Namespace', ...namespace }, 'Warning', 'DriftHealed', 'Heal', note);
      return;
    }
    const action = step.result === 'failed' ? 'failed' : 'reported';
    if (step.result !== 'failed' && step.result !== 'reported' && step.result !== 'fighting') return;
    if (episode !== undefined && !episode.counted.has(action)) {
      episode.counted.add(action);
      metrics.recordDrift(policy.name, rule, episode.reason, action);
      if (step.change.kind === 'conflict') {
        const note = `A NetworkPolicy ${name} that is not ours is in the way in namespace ${namespace.name}; rename or delete it`;
        events.record({ kind: 'BaselinePolicy', ...policy }, 'Warning', 'NameConflict', 'Create', note);
        events.record({ kind: 'Namespace', ...namespace }, 'Warning', 'NameConflict', 'Create', note);
      }
    }
    if (step.result === 'failed') {
      const { reason, message } = describeFailure(step.error);
      const note = `NetworkPolicy ${name} of namespace ${namespace.name}: ${message}`;
      events.record({ kind: 'BaselinePolicy', ...policy }, 'Warning', reason, 'Write', note);
      events.record({ kind: 'Namespace', ...namespace }, 'Warning', reason, 'Write', note);
    }
  }

  #logWrites(plan: Plan, namespace: CachedNamespace): void {
    const { logger } = this.#options;
    const counts = { created: 0, updated: 0, deleted: 0 };
    for (const { change, drift, result } of plan.steps) {
      if (result !== 'written') continue;
      if (drift !== undefined) {
        const fields = {
          namespace: namespace.name,
          policy: plan.policy.name,
          rule: ruleOfName(change.name),
          reason: drift,
        };
        logger.info('Healed NetworkPolicy', fields);
      } else if (change.kind === 'create') counts.created++;
      else if (change.kind === 'update') counts.updated++;
      else counts.deleted++;
    }
    const done = Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
    if (Object.keys(done).length === 0) return;
    const what = plan.orphan ? { released: counts.deleted } : done;
    logger.info('Reconciled NetworkPolicies', { namespace: namespace.name, policy: plan.policy.name, ...what });
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

/**
 * Whether a step would leave a namespace closed without its allows: default-deny made, or changed by us, while an allow
 * could not be made, or an allow removed while default-deny could not be. What a person did to default-deny is healed
 * all the same.
 */
function isTooEarly(plan: Plan, { change, drift }: Step): boolean {
  const isDeny = ruleOfName(change.name) === DEFAULT_DENY;
  const undone = plan.steps.filter((other) => other.change !== change && other.result !== 'written');
  if (change.kind === 'delete') {
    if (isDeny || plan.orphan) return false;
    return undone.some((other) => other.change.kind === 'delete' && ruleOfName(other.change.name) === DEFAULT_DENY);
  }
  const closes = change.kind === 'create' || (change.kind === 'update' && change.specDiffers && drift === undefined);
  return isDeny && closes && undone.some(({ change: { kind } }) => kind === 'create' || kind === 'conflict');
}

function makeReport(plan: Plan): NamespaceReport {
  const { steps, desired } = plan;
  const failures: { rule: string; reason: string; message: string }[] = [];
  const audit = { create: 0, update: 0, delete: 0 };
  let drifted = 0;
  for (const { change, result, error, waitMs } of steps) {
    const rule = ruleOfName(change.name);
    if (change.kind === 'conflict') {
      const message = `a NetworkPolicy ${change.name} exists that is not ours; rename or delete it`;
      failures.push({ rule, reason: 'NameConflict', message });
    } else if (result === 'reported') {
      audit[change.kind]++;
      drifted++;
    } else if (result === 'failed') {
      failures.push({ rule, ...describeFailure(error) });
      if (change.kind !== 'create') drifted++;
    } else if (result === 'withheld') {
      failures.push({ rule, ...WAITING[change.kind] });
    } else if (result === 'fighting') {
      drifted++;
      const message = `something keeps changing it: ${reasonOf(change)}; left alone for ${Math.round((waitMs ?? 0) / 1000)} s`;
      failures.push({ rule, reason: 'Fighting', message });
    }
  }
  for (const { rule, message } of desired.unresolved) failures.push({ rule, reason: 'MissingLabel', message });
  const fighting = failures.every(({ reason }) => reason === 'Fighting');
  const state = failures.length > 0 && !fighting ? 'failed' : drifted > 0 ? 'drifted' : 'compliant';
  return { state, selected: plan.selected, desired: desired.children.size, drifted, audit, failures };
}

function outcomeOf(plans: readonly Plan[]): Outcome {
  const steps = plans.flatMap((plan) => plan.steps);
  const failed = steps.find(({ result }) => result === 'failed');
  if (failed !== undefined) return { kind: 'retry', error: failed.error };
  if (steps.some(({ result }) => result === 'stale')) return { kind: 'retry' };
  const waits = steps.flatMap(({ waitMs }) => (waitMs === undefined ? [] : [waitMs]));
  return waits.length > 0 ? { kind: 'after', ms: Math.min(...waits) } : DONE;
}
