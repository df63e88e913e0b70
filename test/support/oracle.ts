import assert from 'node:assert/strict';
import type { BaselinePolicySpec, BaselinePolicyStatus } from '../../src/api/baselinepolicy.ts';
import { LABEL_ENFORCE } from '../../src/api/names.ts';
import type { NetworkPolicy } from '../../src/api/networkpolicy.ts';
import { History, type HistoryEvent, type NetworkPolicyEvent } from './history.ts';
import type { KubeClient } from './kube.ts';

/**
 * What came of a scenario, without what differs from run to run: UIDs, resourceVersions and times. The name of the run
 * is written `RUN`, so that two runs can be compared.
 */
export interface Outcome {
  /** All NetworkPolicies: `namespace/name`, with metadata that people see and the spec. */
  readonly networkPolicies: Record<string, unknown>;
  /** The status of each BaselinePolicy. */
  readonly statuses: Record<string, unknown>;
  /** How often each NetworkPolicy was created and deleted. */
  readonly counts: Record<string, { added: number; deleted: number }>;
}

/** Something that must never be, with the events that led there. */
export interface Violation {
  readonly what: string;
  readonly revision: number;
}

/**
 * Judges what an operator did by what a watcher saw of it that goes round all faults: no namespace may ever be closed
 * without its allows, and none opened that was protected once. Shares no code with the operator.
 *
 * What a test does to children itself must be announced by {@link tamper}.
 */
export class Oracle implements AsyncDisposable {
  readonly #kube: KubeClient;
  readonly #history: History;
  readonly #tampered: Tampering[] = [];
  readonly #lagMs: number;

  private constructor(kube: KubeClient, history: History, lagMs: number) {
    this.#kube = kube;
    this.#history = history;
    this.#lagMs = lagMs;
  }

  /**
   * Starts to watch a cluster; `kube` must not lead through a fault.
   * @param lagMs how long an operator may act on labels and specs that have just changed; 0 for a scenario that waits
   *   after each change
   */
  static async start(kube: KubeClient, lagMs = 0): Promise<Oracle> {
    return new Oracle(kube, await History.start(kube), lagMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#history[Symbol.asyncDispose]();
  }

  /** Announces that the test itself, and not the operator, deletes a child now, or opens a default-deny; and does it. */
  async tamper<T>(namespace: string, name: string, act: () => Promise<T>): Promise<T> {
    const { metadata } = await this.#kube.namespaces.page({ limit: 1 });
    const tampering = { child: `${namespace}/${name}`, revision: Number(metadata.resourceVersion) };
    this.#tampered.push(tampering);
    try {
      return await act();
    } catch (error) {
      this.#tampered.splice(this.#tampered.indexOf(tampering), 1);
      throw error;
    }
  }

  /** The end state of a run as it is now, and how it came there. Objects of a run carry its name in theirs. */
  async outcome(run: string): Promise<Outcome> {
    await this.#history.caughtUp();
    const children = (await this.#kube.networkPolicies().list()).filter(({ metadata }) =>
      isOf(run, metadata.namespace),
    );
    const policies = (await this.#kube.baselinePolicies.list()).filter(({ metadata }) => isOf(run, metadata.name));
    const counts: Record<string, { added: number; deleted: number }> = {};
    for (const event of this.#history.events) {
      if (event.resource !== 'networkpolicies' || !isOf(run, event.namespace)) continue;
      const count = (counts[keyOf(event)] ??= { added: 0, deleted: 0 });
      if (event.type === 'ADDED') count.added++;
      if (event.type === 'DELETED') count.deleted++;
    }
    const outcome: Outcome = {
      networkPolicies: sorted(children.map((child) => [keyOf({ ...child.metadata }), visible(child)])),
      statuses: sorted(policies.map(({ metadata, status }) => [metadata.name, timeless(status)])),
      counts: sorted(Object.entries(counts)),
    };
    return JSON.parse(JSON.stringify(outcome).replaceAll(new RegExp(`\\b${run}(?=[-."])`, 'g'), 'RUN')) as Outcome;
  }

  /** Fails unless, at each moment so far, what must never be was not. */
  async assertNothingOpenedOrBroken(): Promise<void> {
    await this.#history.caughtUp();
    assert.deepEqual(judge(this.#history.events, this.#tampered, this.#lagMs), []);
  }

  /** All that was seen of the objects of a run, for messages and for assertions of a scenario's own. */
  async events(run: string): Promise<HistoryEvent[]> {
    await this.#history.caughtUp();
    return this.#history.events.filter((event) =>
      isOf(run, event.resource === 'networkpolicies' ? event.namespace : event.name),
    );
  }
}

/** Whether an object of this name belongs to a run: `run`, `run-1`, `run-b` and so on. */
function isOf(run: string, name = ''): boolean {
  return name === run || name.startsWith(`${run}-`);
}

function keyOf({ namespace = '', name }: { namespace?: string; name: string }): string {
  return `${namespace}/${name}`;
}

function sorted<T>(entries: readonly (readonly [string, T])[]): Record<string, T> {
  return Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function visible({ metadata, spec }: NetworkPolicy): unknown {
  const { labels, annotations, ownerReferences = [], deletionTimestamp } = metadata;
  const owners = ownerReferences.map(({ kind, name, controller }) => ({ kind, name, controller }));
  return { labels, annotations, owners, deleting: deletionTimestamp !== undefined, spec };
}

function timeless(status: BaselinePolicyStatus = {}): unknown {
  const { conditions = [], drift, ...rest } = status;
  return {
    ...rest,
    conditions: conditions.map(({ lastTransitionTime: _time, ...condition }) => condition),
    drift: drift && { detectedTotal: drift.detectedTotal, healedTotal: drift.healedTotal },
  };
}

/** What an object was, and when that was first seen, by performance.now(). */
interface View {
  readonly at: number;
}

interface NamespaceView extends View {
  readonly labels: Readonly<Record<string, string>>;
  readonly terminating: boolean;
}

interface PolicyView extends View {
  readonly spec: BaselinePolicySpec;
  readonly deleting: boolean;
}

/** What objects were: an operator may act on what was true until shortly before. */
class Views<T extends View> {
  readonly #views = new Map<string, T[]>();
  readonly #lagMs: number;

  constructor(lagMs: number) {
    this.#lagMs = lagMs;
  }

  set(name: string, view: T): void {
    this.#views.set(name, [...(this.#views.get(name) ?? []), view]);
  }

  delete(name: string): void {
    this.#views.delete(name);
  }

  /** What an operator may take for true at a time: what is, and what was within the lag before. */
  at(name: string, time: number): T[] {
    const views = this.#views.get(name) ?? [];
    const kept = views.filter(
      (_view, index) => (views[index + 1]?.at ?? Number.POSITIVE_INFINITY) >= time - this.#lagMs,
    );
    this.#views.set(name, kept);
    return kept;
  }
}

const DENY = 'default-deny';

/** What a test did to a child itself, and the revision of the cluster before. */
export interface Tampering {
  /** `namespace/name`. */
  readonly child: string;
  readonly revision: number;
}

/**
 * Plays events, which are in order of revision, and says what was wrong after which of them.
 * @param lagMs see {@link Oracle.start}
 */
export function judge(events: readonly HistoryEvent[], tampered: readonly Tampering[], lagMs: number): Violation[] {
  const namespaces = new Views<NamespaceView>(lagMs);
  const policies = new Views<PolicyView>(lagMs);
  const children = new Map<string, Map<string, string>>();
  const violations: Violation[] = [];
  const excuses = [...tampered];
  /** When the test itself deleted a child that has not come back. */
  const removed = new Map<string, number>();

  /** Whether the test did this itself; each announcement excuses one event of its child. */
  const isExcused = (event: NetworkPolicyEvent): boolean => {
    const index = excuses.findIndex(({ child, revision }) => child === keyOf(event) && revision < event.revision);
    if (index >= 0) excuses.splice(index, 1);
    return index >= 0;
  };

  const judgeChild = (event: NetworkPolicyEvent, before: string | undefined): void => {
    const dot = event.name.indexOf('.');
    const [policyName, rule] = [event.name.slice(0, dot), event.name.slice(dot + 1)];
    if (dot < 0) return;
    const held = children.get(event.namespace) ?? new Map<string, string>();
    const has = (other: string): boolean => held.has(`${policyName}.${other}`);
    /** Whether the operator may still believe in a child that the test has just deleted. */
    const seems = (other: string): boolean => {
      const goneAt = removed.get(`${event.namespace}/${policyName}.${other}`) ?? Number.NEGATIVE_INFINITY;
      return has(other) || goneAt + lagMs > event.at;
    };
    const policyViews = policies.at(policyName, event.at);
    const namespaceViews = namespaces.at(event.namespace, event.at);
    /** Blames the operator if the act is wrong whichever of the views it acted on. */
    const blameIf = (isWrong: (policy: PolicyView, wanted: boolean) => boolean, what: string): void => {
      const pairs = policyViews.flatMap((policy) => namespaceViews.map((namespace) => ({ policy, namespace })));
      const wrong = pairs.every(({ policy, namespace }) => {
        const wanted = !policy.deleting && selects(policy.spec, event.namespace, namespace.labels);
        return isWrong(policy, wanted);
      });
      if (!wrong || pairs.length === 0) return;
      const others = [...held.keys()].join(', ');
      violations.push({ what: `${keyOf(event)}: ${what}; the namespace has: ${others}`, revision: event.revision });
    };
    if (event.type === 'ADDED') {
      removed.delete(keyOf(event));
      // In a namespace that is going nothing starts any more; a create that was on its way may still come.
      if (rule !== DENY || namespaceViews.some(({ terminating }) => terminating)) return;
      blameIf(({ spec }) => allowsOf(spec).some((allow) => !seems(allow)), 'default-deny came before an allow');
    } else if (event.type === 'DELETED') {
      // The namespace controller takes everything, in no order.
      if (namespaceViews.some(({ terminating }) => terminating)) return;
      if (isExcused(event)) {
        removed.set(keyOf(event), event.at);
        return;
      }
      if (rule === DENY) {
        const isWrong = ({ spec }: PolicyView, wanted: boolean): boolean =>
          wanted && spec.rules?.defaultDeny?.enabled !== false;
        blameIf(isWrong, 'default-deny went from a namespace that is selected');
      } else if (has(DENY)) {
        const isWrong = ({ spec }: PolicyView, wanted: boolean): boolean => !wanted || allowsOf(spec).includes(rule);
        blameIf(isWrong, 'an allow went while default-deny was there');
      }
    } else if (rule === DENY && before !== event.spec) {
      const { ingress = [], egress = [] } = JSON.parse(event.spec) as { ingress?: unknown[]; egress?: unknown[] };
      if (ingress.length + egress.length > 0 && !isExcused(event)) blameIf(() => true, 'default-deny was opened');
    }
  };

  for (const event of events) {
    switch (event.resource) {
      case 'namespaces':
        // Created again under its name, it is for a while still the old one to who lags.
        namespaces.set(event.name, event.type === 'DELETED' ? { ...event, terminating: true } : event);
        break;
      case 'baselinepolicies':
        if (event.type === 'DELETED') policies.delete(event.name);
        else policies.set(event.name, event);
        break;
      case 'networkpolicies': {
        const held = children.get(event.namespace) ?? new Map<string, string>();
        children.set(event.namespace, held);
        const before = held.get(event.name);
        if (event.type === 'DELETED') held.delete(event.name);
        else held.set(event.name, event.spec);
        judgeChild(event, before);
      }
    }
  }
  return violations;
}

/** Selection by matchLabels, which is all that scenarios use. */
function selects(spec: BaselinePolicySpec, name: string, labels: Readonly<Record<string, string>>): boolean {
  const { matchLabels = {}, matchExpressions } = spec.namespaceSelector ?? { matchLabels: { [LABEL_ENFORCE]: 'true' } };
  if (matchExpressions !== undefined) throw new Error('Expected a selector of matchLabels only');
  if (spec.excludedNamespaces?.includes(name) === true) return false;
  return Object.entries(matchLabels).every(([key, value]) => labels[key] === value);
}

/** Rules of a spec that allow something in every selected namespace; variables and discovered addresses left out. */
function allowsOf({ rules = {}, additionalPolicies = [] }: BaselinePolicySpec): string[] {
  const allows: [string, boolean][] = [
    ['allow-dns', rules.allowDNS?.enabled ?? true],
    ['allow-monitoring', rules.allowMonitoring?.enabled ?? true],
    ['allow-same-namespace', rules.allowSameNamespace?.enabled ?? false],
    ['allow-ingress-controller', rules.allowIngressController?.enabled ?? false],
    ['allow-external-egress', rules.allowExternalEgress?.enabled ?? false],
  ];
  const additional = additionalPolicies.filter(({ spec }) => !JSON.stringify(spec).includes('$('));
  return [...allows.filter(([, enabled]) => enabled).map(([rule]) => rule), ...additional.map(({ name }) => name)];
}
