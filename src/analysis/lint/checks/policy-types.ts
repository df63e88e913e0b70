import { isolatingPolicies } from '../../evaluate.ts';
import type { Direction, Policy } from '../../policy.ts';
import type { LintContext } from '../context.ts';
import { policyObject, type Hit } from '../finding.ts';

/** BPL001: the types are derived from the rules. */
export function* missingPolicyTypes(context: LintContext): Generator<Hit> {
  for (const policy of context.model.policies) {
    if (hasTypes(context, policy)) continue;
    const types = Object.keys(policy.rules).join(', ');
    yield {
      code: 'BPL001',
      object: policyObject(policy),
      path: 'spec.policyTypes',
      message: `policyTypes is missing; it is taken to be [${types}]`,
      fix: `Write spec.policyTypes: [${types}] if that is what is meant.`,
    };
  }
}

/** BPL002: rules, or an empty list of them that looks like a deny, of a direction that the policy is not for. */
export function* ignoredRules(context: LintContext): Generator<Hit> {
  for (const policy of context.model.policies) {
    const spec = context.writtenSpec(policy);
    for (const [direction, field] of [
      ['Ingress', 'ingress'],
      ['Egress', 'egress'],
    ] as const) {
      const rules = listOf(spec[field]);
      if (rules === undefined || policy.rules[direction] !== undefined) continue;
      const what =
        rules.length === 0 ? 'an empty list denies nothing' : countText(rules.length, 'rule has', 'rules have');
      const cause = hasTypes(context, policy) ? 'policyTypes lacks' : 'without policyTypes this policy is not for';
      yield {
        code: 'BPL002',
        object: policyObject(policy),
        path: `spec.${field}`,
        message: `${what}${rules.length === 0 ? '' : ' no effect'}: ${cause} ${direction}`,
        fix:
          rules.length === 0
            ? `Add ${direction} to spec.policyTypes to deny, or remove spec.${field}.`
            : `Add ${direction} to spec.policyTypes, or remove spec.${field}.`,
      };
    }
  }
}

/** BPL003: a policy of a team for ingress alone, on pods that no policy isolates for egress. */
export function* ingressOnly(context: LintContext): Generator<Hit> {
  for (const policy of context.model.policies) {
    if (policy.isManaged || policy.rules.Ingress === undefined || policy.rules.Egress !== undefined) continue;
    const subjects = context.subjectsOf(policy);
    const open = subjects.filter((pod) => !isIsolated(context, policy, 'Egress', pod));
    if (open.length === 0) continue;
    const of =
      open.length === subjects.length
        ? 'the pods that it selects'
        : `${open.length} of its ${subjects.length} workloads`;
    yield {
      code: 'BPL003',
      object: policyObject(policy),
      path: 'spec.policyTypes',
      message: `the policy isolates only ingress, and no other policy isolates ${of} for egress`,
    };
  }
}

function isIsolated(
  context: LintContext,
  { namespace }: Policy,
  direction: Direction,
  pod: Parameters<typeof isolatingPolicies>[2],
): boolean {
  return isolatingPolicies(context.policiesIn(namespace), direction, pod).length > 0;
}

function hasTypes(context: LintContext, policy: Policy): boolean {
  return (listOf(context.writtenSpec(policy).policyTypes) ?? []).length > 0;
}

/** A list of wire JSON, where null is absent. */
function listOf<T>(list: readonly T[] | null | undefined): readonly T[] | undefined {
  return list ?? undefined;
}

function countText(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}
