import { mayHaveBeenDone } from '../kube/errors.ts';
import type { EventRecorder } from '../kube/events.ts';
import type { Logger } from '../observability/log.ts';
import type { Metrics } from '../observability/metrics.ts';
import { reasonOf, ruleOfName } from '../policy/diff.ts';
import { FightDetector } from '../policy/fight.ts';
import type { CachedNamespace, CachedPolicy } from './caches.ts';
import { describeFailure } from './failure.ts';
import type { Plan, Step } from './namespace-plan.ts';
import type { DriftEpisode, PolicyState } from './policy-state.ts';

/** Where a {@link DriftRecorder} writes, and its clocks. */
export interface DriftRecorderOptions {
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly events: EventRecorder;
  /** Monotonic clock in milliseconds. */
  readonly monotonic: () => number;
  /** Now, RFC 3339. */
  readonly wallClock: () => string;
}

/**
 * Keeps count of drift from when it is seen until it is healed, each once, in metrics, events, logs and the totals of
 * the status; and finds out which children are fought over.
 */
export class DriftRecorder {
  readonly #options: DriftRecorderOptions;
  readonly #fights = new FightDetector();

  constructor(options: DriftRecorderOptions) {
    this.#options = options;
  }

  /**
   * Notes which differences are drift that begins or ends, and marks the steps of children that are fought over. Call
   * it before the steps are run.
   */
  assess(plan: Plan, namespace: CachedNamespace, addedAt: number): void {
    const { policy, state, audit } = plan;
    const episodes = state.episodes.get(namespace.name);
    const drifted = new Set<string>();
    for (const step of plan.steps) {
      // Audit reports all that differs by its reason, be it drift or not yet done.
      const reason = step.drift ?? (audit ? reasonOf(step.change) : undefined);
      if (reason === undefined) continue;
      drifted.add(step.change.name);
      if (episodes?.get(step.change.name)?.reason !== reason) {
        const episode: DriftEpisode = { reason, since: addedAt, noted: false, counted: new Set() };
        beginEpisode(state, namespace.name, step.change.name, episode);
      }
      if (step.result === 'todo') this.#judgeFight(policy, namespace, step);
    }
    for (const [name, episode] of episodes ?? []) {
      if (drifted.has(name)) continue;
      // What somebody else put right was not healed; what a write of ours put right whose answer was lost, was.
      if (episode.maybeHealed === true) this.#countHeal(plan, namespace, name, episode);
      episodes?.delete(name);
    }
  }

  /** Whether children are missing that may have gone with their namespace, and that were not counted yet. */
  doubts({ state, steps }: Plan, namespace: CachedNamespace): boolean {
    const episodes = state.episodes.get(namespace.name);
    return steps.some(({ change, drift }) => drift === 'Missing' && episodes?.get(change.name)?.noted !== true);
  }

  /** Counts and tells what the steps of a plan came to. Call it after they have been run. */
  record(plan: Plan, namespace: CachedNamespace): void {
    for (const step of plan.steps) this.#count(plan, namespace, step);
    this.#logWrites(plan, namespace);
  }

  #noteDrift(state: PolicyState, episode: DriftEpisode): void {
    episode.noted = true;
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

  #count(plan: Plan, namespace: CachedNamespace, step: Step): void {
    const { metrics, events } = this.#options;
    const { policy, state } = plan;
    const { name } = step.change;
    const rule = ruleOfName(name);
    const episodes = state.episodes.get(namespace.name);
    const episode = episodes?.get(name);
    if (episode?.noted === false && step.drift !== undefined) this.#noteDrift(state, episode);
    if (step.result === 'written' && episode !== undefined) {
      this.#countHeal(plan, namespace, name, episode);
      episodes?.delete(name);
      return;
    }
    if (step.result === 'failed' && episode !== undefined && mayHaveBeenDone(step.error)) episode.maybeHealed = true;
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

  #countHeal({ policy, state }: Plan, namespace: CachedNamespace, name: string, episode: DriftEpisode): void {
    const { metrics, events, monotonic } = this.#options;
    metrics.recordDrift(policy.name, ruleOfName(name), episode.reason, 'healed');
    metrics.healSeconds.observe((monotonic() - episode.since) / 1000);
    state.drift.healedTotal++;
    this.#fights.recordHeal(`${namespace.name}/${name}`, monotonic());
    const note = `Healed NetworkPolicy ${name} of namespace ${namespace.name}: ${episode.reason}`;
    events.record({ kind: 'BaselinePolicy', ...policy }, 'Warning', 'DriftHealed', 'Heal', note);
    events.record({ kind: 'Namespace', ...namespace }, 'Warning', 'DriftHealed', 'Heal', note);
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
}

function beginEpisode(state: PolicyState, namespace: string, child: string, episode: DriftEpisode): void {
  let episodes = state.episodes.get(namespace);
  if (episodes === undefined) {
    episodes = new Map();
    state.episodes.set(namespace, episodes);
  }
  episodes.set(child, episode);
}
