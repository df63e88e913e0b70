import type {
  BaselinePolicy,
  BaselinePolicyStatus,
  Condition,
  DriftStatus,
  NamespaceFailure,
} from '../api/baselinepolicy.ts';
import { ANNOTATION_APPROVED_GENERATION } from '../api/names.ts';
import type { WithheldChild } from './desired.ts';
import type { TallySums } from './tally.ts';

/** How many failures a status lists at most. */
export const MAX_LISTED_FAILURES = 20;

/** Deletions that wait for a person. */
export interface HeldDeletion {
  readonly leaving: number;
  readonly total: number;
  readonly namespaces: number;
}

/** All that a status says. */
export interface StatusInput {
  readonly policy: BaselinePolicy;
  readonly sums: TallySums;
  readonly failures: { readonly listed: NamespaceFailure[]; readonly more: number };
  /** Number of children that exist. */
  readonly current: number;
  readonly drift: DriftStatus;
  /** Children that are withheld in every namespace, and why. */
  readonly withheld: readonly WithheldChild[];
  readonly held: HeldDeletion | undefined;
  /** Time of transitions, RFC 3339. */
  readonly now: string;
}

interface Verdict {
  readonly ready: boolean;
  readonly reason: string;
  readonly message: string;
  /** Which abnormal condition is true beside `Ready: False`; see kstatus of sigs.k8s.io/cli-utils. */
  readonly abnormal?: 'Reconciling' | 'Stalled';
}

/**
 * The status of a BaselinePolicy. `Ready` is always there; `Reconciling`, `Stalled` and the more specific conditions
 * only while they are true, so that kstatus (Flux) and Argo CD read the health right. Pure, and never larger than its
 * twenty failures.
 */
export function buildStatus(input: StatusInput): BaselinePolicyStatus {
  const { policy, sums, failures, held, withheld } = input;
  const generation = policy.metadata.generation ?? 0;
  const verdict = judge(input);
  const wanted: Omit<Condition, 'lastTransitionTime' | 'observedGeneration'>[] = [
    { type: 'Ready', status: verdict.ready ? 'True' : 'False', reason: verdict.reason, message: verdict.message },
  ];
  if (verdict.abnormal !== undefined) {
    wanted.push({ type: verdict.abnormal, status: 'True', reason: verdict.reason, message: verdict.message });
  }
  if (held !== undefined) {
    wanted.push({ type: 'DeletionHeld', status: 'True', reason: 'MassDeletion', message: heldMessage(policy, held) });
  }
  const unknown = withheld.find(({ reason }) => reason === 'AddressesUnknown');
  if (unknown !== undefined) {
    wanted.push({ type: 'AddressesUnknown', status: 'True', reason: 'NoEndpoints', message: unknown.message });
  }
  const before = new Map((policy.status?.conditions ?? []).map((condition) => [condition.type, condition]));
  return {
    observedGeneration: generation,
    conditions: wanted.map(({ type, status, reason, message }) => {
      const old = before.get(type);
      const lastTransitionTime = old?.status === status ? old.lastTransitionTime : input.now;
      return { type, status, observedGeneration: generation, lastTransitionTime, reason, message };
    }),
    namespaces: { selected: sums.selected, ...sums.states },
    networkPolicies: { desired: sums.desired, current: input.current },
    drift: input.drift,
    ...(policy.spec.mode === 'Audit' && { audit: sums.audit }),
    ...(failures.listed.length > 0 && { failures: failures.listed }),
    ...(failures.more > 0 && { moreFailures: failures.more }),
  };
}

function judge({ policy, sums, failures, current, withheld, held }: StatusInput): Verdict {
  const { states, leaving } = sums;
  const pending = states.pending + leaving.pending;
  const failed = states.failed + leaving.failed;
  if (policy.metadata.deletionTimestamp !== undefined) {
    const message = `Removing ${current} NetworkPolicies`;
    return { ready: false, reason: 'Deleting', message, abnormal: 'Reconciling' };
  }
  if (held !== undefined) {
    return { ready: false, reason: 'DeletionHeld', message: heldMessage(policy, held), abnormal: 'Stalled' };
  }
  const invalid = withheld.find(({ reason }) => reason === 'InvalidSpec');
  if (invalid !== undefined) {
    return { ready: false, reason: 'InvalidSpec', message: invalid.message, abnormal: 'Stalled' };
  }
  if (pending > 0) {
    const message = `${pending} namespaces are not done yet`;
    return { ready: false, reason: 'RollingOut', message, abnormal: 'Reconciling' };
  }
  const unknown = withheld[0];
  if (unknown !== undefined) {
    return { ready: false, reason: unknown.reason, message: unknown.message, abnormal: 'Reconciling' };
  }
  if (failed > 0) {
    const [first] = failures.listed;
    const detail = first === undefined ? '' : `; first: ${first.namespace}, ${first.rule}: ${first.message}`;
    const message = `${failed} of ${sums.selected + leaving.failed} namespaces failed${detail}`;
    return { ready: false, reason: 'NamespacesFailed', message, abnormal: 'Stalled' };
  }
  if (policy.spec.mode === 'Audit') {
    const { create, update, delete: remove } = sums.audit;
    const message =
      create + update + remove === 0
        ? `Audit: nothing would change in ${sums.selected} namespaces`
        : `Audit: would create ${create}, change ${update} and delete ${remove} NetworkPolicies ` +
          `in ${states.drifted} namespaces`;
    return { ready: true, reason: 'Audited', message };
  }
  if (states.drifted > 0) {
    const message = `${sums.drifted} NetworkPolicies in ${states.drifted} namespaces are not as they should be`;
    return { ready: false, reason: 'Drifted', message, abnormal: 'Reconciling' };
  }
  const message = `${sums.selected} namespaces have their ${sums.desired} NetworkPolicies`;
  return { ready: true, reason: 'Enforced', message };
}

function heldMessage(policy: BaselinePolicy, held: HeldDeletion): string {
  const { name, generation } = policy.metadata;
  return (
    `The selector of generation ${generation ?? 0} would delete ${held.leaving} of ${held.total} NetworkPolicies ` +
    `in ${held.namespaces} namespaces; they are kept until the selector changes or somebody approves: ` +
    `kubectl annotate baselinepolicy ${name} --overwrite ${ANNOTATION_APPROVED_GENERATION}=${generation ?? 0}`
  );
}

/**
 * Whether two statuses say the same. Counts only ever change together with something that matters, so all of it is
 * compared.
 */
export function sameStatus(a: BaselinePolicyStatus | undefined, b: BaselinePolicyStatus): boolean {
  return canonical(a) === canonical(b);
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
}
