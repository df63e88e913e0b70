import { DONE, type Outcome } from '../controller/controller.ts';
import { DEFAULT_DENY, type DesiredSet } from '../policy/desired.ts';
import { reasonOf, ruleOfName, type Change, type DriftReason } from '../policy/diff.ts';
import type { NamespaceReport } from '../policy/tally.ts';
import type { CachedPolicy } from './caches.ts';
import type { WriteResult } from './child-writer.ts';
import { describeFailure } from './failure.ts';
import type { PolicyState } from './policy-state.ts';

/** One change that a policy needs in the namespace, and what came of it. */
export interface Step {
  readonly change: Change;
  /** Set when somebody else caused the change. */
  drift: DriftReason | undefined;
  result: WriteResult | 'failed' | 'reported' | 'fighting' | 'withheld' | 'todo';
  error?: unknown;
  waitMs?: number;
}

/** All that one policy needs in the namespace. */
export interface Plan {
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

/**
 * Whether a step would leave a namespace closed without its allows: default-deny made, or changed by us, while an allow
 * could not be made, or an allow removed while default-deny could not be. What a person did to default-deny is healed
 * all the same.
 */
export function isTooEarly(plan: Plan, { change, drift }: Step): boolean {
  const isDeny = ruleOfName(change.name) === DEFAULT_DENY;
  const undone = plan.steps.filter((other) => other.change !== change && other.result !== 'written');
  if (change.kind === 'delete') {
    if (isDeny || plan.orphan) return false;
    return undone.some((other) => other.change.kind === 'delete' && ruleOfName(other.change.name) === DEFAULT_DENY);
  }
  const closes = change.kind === 'create' || (change.kind === 'update' && change.specDiffers && drift === undefined);
  return isDeny && closes && undone.some(({ change: { kind } }) => kind === 'create' || kind === 'conflict');
}

/** How the namespace stands with the policy of a plan whose steps have been run. */
export function reportOf(plan: Plan): NamespaceReport {
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

/** What is to be done next, after the steps of all plans have been run. */
export function outcomeOf(plans: readonly Plan[]): Outcome {
  const steps = plans.flatMap((plan) => plan.steps);
  const failed = steps.find(({ result }) => result === 'failed');
  if (failed !== undefined) return { kind: 'retry', error: failed.error };
  if (steps.some(({ result }) => result === 'stale')) return { kind: 'retry' };
  const waits = steps.flatMap(({ waitMs }) => (waitMs === undefined ? [] : [waitMs]));
  return waits.length > 0 ? { kind: 'after', ms: Math.min(...waits) } : DONE;
}
