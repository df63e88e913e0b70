import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import { DRIFT_REASONS, type DriftReason } from '../policy/diff.ts';
import { NAMESPACE_STATES, type NamespaceState } from '../policy/tally.ts';

/** What the operator did about drift; `reported` is all that Audit mode does. */
export const DRIFT_ACTIONS = ['healed', 'reported', 'failed'] as const;
export type DriftAction = (typeof DRIFT_ACTIONS)[number];

/** Outcomes of a reconcile, with the label values that controller-runtime uses. */
export const RECONCILE_RESULTS = ['success', 'error', 'requeue', 'requeue_after'] as const;
export type ReconcileResult = (typeof RECONCILE_RESULTS)[number];

/**
 * Label value for a rule that the policy does not have. The rule of an unexpected child is what its writer says it is,
 * so taking it as it comes would let anyone in a namespace add series without end.
 */
export const OTHER_RULE = 'other';

/** Work queue series of one queue, under the names of client-go's metrics provider. */
export interface QueueMetrics {
  readonly depth: Gauge.Internal<'name'>;
  readonly adds: Counter.Internal;
  readonly retries: Counter.Internal;
  /** Seconds from add to start of work. */
  readonly queueDuration: Histogram.Internal<'name'>;
  /** Seconds of work on one item. */
  readonly workDuration: Histogram.Internal<'name'>;
}

/** Watch series of one resource. */
export interface WatchMetrics {
  readonly restarts: Counter.Internal;
  /** Unix time in seconds. */
  readonly lastEvent: Gauge.Internal<'resource'>;
}

/** What `Metrics` needs to know of the process. */
export interface MetricsOptions {
  readonly version: string;
  /** Also collects `process_*` and `nodejs_*`; true by default. They hook into the process for its whole life. */
  readonly processMetrics?: boolean;
}

/** From 10 microseconds up: the decades of client-go's work queue metrics, without those below what a clock here tells apart. */
const WORK_QUEUE_BUCKETS = [0.00001, 0.0001, 0.001, 0.01, 0.1, 1, 10, 100, 1000];

interface TrackedPolicy {
  readonly mode: string;
  readonly rules: ReadonlySet<string>;
}

/**
 * Every metric of the operator, on a registry of its own.
 *
 * Series of a policy exist from `trackPolicy` to `forgetPolicy`. What happens once per child is recorded by the
 * `record…` and `set…` methods, which keep labels bounded; a write to an instrument itself must use a rule that is tracked, or
 * its series is never removed.
 */
export class Metrics {
  readonly registry = new Registry();

  /** `baseline_policy_drift_total`: see `recordDrift`. */
  readonly drift = new Counter({
    name: 'baseline_policy_drift_total',
    help: 'Drift of generated NetworkPolicies: changes that somebody made to a child that was right, by what the operator did about it.',
    labelNames: ['policy', 'rule', 'reason', 'action'],
    registers: [this.registry],
  });

  readonly driftedNetworkPolicies = new Gauge({
    name: 'baseline_policy_drifted_networkpolicies',
    help: 'Generated NetworkPolicies that are drifted and not healed now.',
    labelNames: ['policy'],
    registers: [this.registry],
  });

  readonly namespaces = new Gauge({
    name: 'baseline_policy_namespaces',
    help: 'Namespaces that a policy selects, by state.',
    labelNames: ['policy', 'state'],
    registers: [this.registry],
  });

  /** `baseline_policy_networkpolicies`: see `setNetworkPolicies`. */
  readonly networkPolicies = new Gauge({
    name: 'baseline_policy_networkpolicies',
    help: 'Generated NetworkPolicies that are present.',
    labelNames: ['policy', 'rule'],
    registers: [this.registry],
  });

  readonly healSeconds = new Histogram({
    name: 'baseline_policy_heal_seconds',
    help: 'Seconds from seeing drift to having healed it.',
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
    registers: [this.registry],
  });

  readonly timeToProtectedSeconds = new Histogram({
    name: 'baseline_policy_time_to_protected_seconds',
    help: 'Seconds from a namespace being created or selected to all its children being in place.',
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300],
    registers: [this.registry],
  });

  readonly info = new Gauge({
    name: 'baseline_policy_info',
    help: 'BaselinePolicies and their mode; the value is always 1.',
    labelNames: ['policy', 'mode'],
    registers: [this.registry],
  });

  /** `baseline_policy_fights_total`: see `recordFight`. */
  readonly fights = new Counter({
    name: 'baseline_policy_fights_total',
    help: 'Times the operator backed off because something else kept changing the same child.',
    labelNames: ['policy', 'rule'],
    registers: [this.registry],
  });

  readonly deletionHeld = new Gauge({
    name: 'baseline_policy_deletion_held',
    help: 'Whether a mass deletion of children waits for approval (1) or not (0).',
    labelNames: ['policy'],
    registers: [this.registry],
  });

  readonly buildInfo = new Gauge({
    name: 'baseline_policy_operator_build_info',
    help: 'Version of the operator; the value is always 1.',
    labelNames: ['version'],
    registers: [this.registry],
  });

  readonly reconciles = new Counter({
    name: 'controller_reconcile_total',
    help: 'Reconciles, by controller and result.',
    labelNames: ['controller', 'result'],
    registers: [this.registry],
  });

  readonly reconcileSeconds = new Histogram({
    name: 'controller_reconcile_seconds',
    help: 'Seconds that a reconcile took, by controller and result.',
    labelNames: ['controller', 'result'],
    // A selection of the buckets of controller_runtime_reconcile_time_seconds, and shorter ones: many reconciles only read caches.
    buckets: [0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
    registers: [this.registry],
  });

  readonly queueDepth = new Gauge({
    name: 'workqueue_depth',
    help: 'Keys that wait in the work queue.',
    labelNames: ['name'],
    registers: [this.registry],
  });

  readonly queueAdds = new Counter({
    name: 'workqueue_adds_total',
    help: 'Keys added to the work queue.',
    labelNames: ['name'],
    registers: [this.registry],
  });

  readonly queueSeconds = new Histogram({
    name: 'workqueue_queue_duration_seconds',
    help: 'Seconds that a key waited in the work queue before work on it started.',
    labelNames: ['name'],
    buckets: WORK_QUEUE_BUCKETS,
    registers: [this.registry],
  });

  readonly workSeconds = new Histogram({
    name: 'workqueue_work_duration_seconds',
    help: 'Seconds of work on a key from the work queue.',
    labelNames: ['name'],
    buckets: WORK_QUEUE_BUCKETS,
    registers: [this.registry],
  });

  readonly queueRetries = new Counter({
    name: 'workqueue_retries_total',
    help: 'Keys added again after a failure.',
    labelNames: ['name'],
    registers: [this.registry],
  });

  readonly requests = new Counter({
    name: 'rest_client_requests_total',
    help: 'Requests to the API server, by status code ("<error>" when there was no response) and method.',
    labelNames: ['code', 'method'],
    registers: [this.registry],
  });

  readonly requestSeconds = new Histogram({
    name: 'rest_client_request_duration_seconds',
    help: 'Seconds that a request to the API server took, by status code, method and resource.',
    labelNames: ['code', 'method', 'resource'],
    // The buckets of k8s.io/component-base/metrics/prometheus/restclient.
    buckets: [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60],
    registers: [this.registry],
  });

  readonly concurrencyLimit = new Gauge({
    name: 'rest_client_concurrency_limit',
    help: 'Requests to the API server that may be in flight now; fewer than usual after it answered 429.',
    registers: [this.registry],
  });

  readonly latencyLimit = new Gauge({
    name: 'rest_client_latency_limit',
    help: 'Requests in flight up to which more of them made the API server faster; no more are sent at a time.',
    registers: [this.registry],
  });

  readonly watchRestarts = new Counter({
    name: 'watch_restarts_total',
    help: 'Watches started again, after an end, a failure or an expired resourceVersion.',
    labelNames: ['resource'],
    registers: [this.registry],
  });

  readonly watchLastEvent = new Gauge({
    name: 'watch_last_event_timestamp_seconds',
    help: 'Unix time of the last event or bookmark of a watch.',
    labelNames: ['resource'],
    registers: [this.registry],
  });

  readonly leaderElectionMasterStatus = new Gauge({
    name: 'leader_election_master_status',
    help: 'Whether this process is the leader (1) or a follower (0), by name of the Lease.',
    labelNames: ['name'],
    registers: [this.registry],
  });

  readonly #policies = new Map<string, TrackedPolicy>();

  constructor({ version, processMetrics = true }: MetricsOptions) {
    this.buildInfo.set({ version }, 1);
    if (processMetrics) collectDefaultMetrics({ register: this.registry });
  }

  /**
   * Makes the series of a policy, counters at 0, so that the first increment is not lost on `rate()`. Called again it
   * keeps values, and removes the series of rules that are gone and of the old mode.
   */
  trackPolicy(policy: string, mode: string, rules: readonly string[]): void {
    const before = this.#policies.get(policy);
    const now: TrackedPolicy = { mode, rules: new Set([...rules, OTHER_RULE]) };
    for (const rule of before?.rules ?? []) if (!now.rules.has(rule)) this.#removeRule(policy, rule);
    for (const rule of now.rules) if (before?.rules.has(rule) !== true) this.#addRule(policy, rule);
    if (before === undefined) {
      for (const state of NAMESPACE_STATES) this.namespaces.set({ policy, state }, 0);
      this.driftedNetworkPolicies.set({ policy }, 0);
      this.deletionHeld.set({ policy }, 0);
    }
    if (before !== undefined && before.mode !== mode) this.info.remove({ policy, mode: before.mode });
    this.info.set({ policy, mode }, 1);
    this.#policies.set(policy, now);
  }

  /** Removes every series of a policy. */
  forgetPolicy(policy: string): void {
    const tracked = this.#policies.get(policy);
    if (tracked === undefined) return;
    this.#policies.delete(policy);
    for (const rule of tracked.rules) this.#removeRule(policy, rule);
    for (const state of NAMESPACE_STATES) this.namespaces.remove({ policy, state });
    this.driftedNetworkPolicies.remove({ policy });
    this.deletionHeld.remove({ policy });
    this.info.remove({ policy, mode: tracked.mode });
  }

  /** Counts drift of one child. Ignored for a policy that is not tracked: work that ends late must not bring its series back. */
  recordDrift(policy: string, rule: string, reason: DriftReason, action: DriftAction): void {
    const label = this.#ruleLabel(policy, rule);
    if (label !== undefined) this.drift.inc({ policy, rule: label, reason, action });
  }

  /** Counts a fight over one child. Ignored for a policy that is not tracked. */
  recordFight(policy: string, rule: string): void {
    const label = this.#ruleLabel(policy, rule);
    if (label !== undefined) this.fights.inc({ policy, rule: label });
  }

  /** Sets how many children of each rule are present; a rule that is not in `counts` has none. Ignored for a policy that is not tracked. */
  setNetworkPolicies(policy: string, counts: ReadonlyMap<string, number>): void {
    const tracked = this.#policies.get(policy);
    if (tracked === undefined) return;
    let other = 0;
    for (const [rule, count] of counts) if (rule === OTHER_RULE || !tracked.rules.has(rule)) other += count;
    for (const rule of tracked.rules) {
      this.networkPolicies.set({ policy, rule }, rule === OTHER_RULE ? other : (counts.get(rule) ?? 0));
    }
  }

  /** Sets how many namespaces of a policy are in each state. Ignored for a policy that is not tracked. */
  setNamespaces(policy: string, counts: Readonly<Record<NamespaceState, number>>): void {
    if (!this.#policies.has(policy)) return;
    for (const state of NAMESPACE_STATES) this.namespaces.set({ policy, state }, counts[state]);
  }

  /** Sets how many children of a policy are drifted now. Ignored for a policy that is not tracked. */
  setDriftedNetworkPolicies(policy: string, count: number): void {
    if (this.#policies.has(policy)) this.driftedNetworkPolicies.set({ policy }, count);
  }

  /** Sets whether a mass deletion of a policy's children is held. Ignored for a policy that is not tracked. */
  setDeletionHeld(policy: string, held: boolean): void {
    if (this.#policies.has(policy)) this.deletionHeld.set({ policy }, held ? 1 : 0);
  }

  /**
   * A recorder of requests of one method on one resource. It takes the HTTP status code, or `<error>` (client-go's
   * value) when no response came, and the duration in seconds.
   */
  requestObserver(method: string, resource: string): (code: number | '<error>', seconds: number) => void {
    const byCode = new Map<number | '<error>', { total: Counter.Internal; seconds: Histogram.Internal<string> }>();
    return (code, seconds) => {
      let series = byCode.get(code);
      if (series === undefined) {
        const total = this.requests.labels({ code, method });
        series = { total, seconds: this.requestSeconds.labels({ code, method, resource }) };
        byCode.set(code, series);
      }
      series.total.inc();
      series.seconds.observe(seconds);
    };
  }

  /** A recorder of reconciles of one controller: result and duration in seconds. Counters start at 0. */
  reconcileObserver(controller: string): (result: ReconcileResult, seconds: number) => void {
    for (const result of RECONCILE_RESULTS) this.reconciles.inc({ controller, result }, 0);
    return (result, seconds) => {
      this.reconciles.inc({ controller, result });
      this.reconcileSeconds.observe({ controller, result }, seconds);
    };
  }

  /** The series of one work queue, at 0. */
  queue(name: string): QueueMetrics {
    this.queueDepth.inc({ name }, 0);
    this.queueAdds.inc({ name }, 0);
    this.queueRetries.inc({ name }, 0);
    return {
      depth: this.queueDepth.labels({ name }),
      adds: this.queueAdds.labels({ name }),
      retries: this.queueRetries.labels({ name }),
      queueDuration: this.queueSeconds.labels({ name }),
      workDuration: this.workSeconds.labels({ name }),
    };
  }

  /** The series of the watch on one resource; the counter is at 0, the time is not there before the first event. */
  watch(resource: string): WatchMetrics {
    this.watchRestarts.inc({ resource }, 0);
    return {
      restarts: this.watchRestarts.labels({ resource }),
      lastEvent: this.watchLastEvent.labels({ resource }),
    };
  }

  #ruleLabel(policy: string, rule: string): string | undefined {
    const tracked = this.#policies.get(policy);
    if (tracked === undefined) return undefined;
    return tracked.rules.has(rule) ? rule : OTHER_RULE;
  }

  #addRule(policy: string, rule: string): void {
    for (const labels of driftLabels(policy, rule)) this.drift.inc(labels, 0);
    this.fights.inc({ policy, rule }, 0);
    this.networkPolicies.inc({ policy, rule }, 0);
  }

  #removeRule(policy: string, rule: string): void {
    for (const labels of driftLabels(policy, rule)) this.drift.remove(labels);
    this.fights.remove({ policy, rule });
    this.networkPolicies.remove({ policy, rule });
  }
}

function driftLabels(policy: string, rule: string) {
  return DRIFT_REASONS.flatMap((reason) => DRIFT_ACTIONS.map((action) => ({ policy, rule, reason, action })));
}
