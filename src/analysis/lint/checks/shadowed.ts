import { ruleCovers, selectorCovers } from '../../cover.ts';
import type { Direction, Policy, Rule } from '../../policy.ts';
import { rulesOf, type LintContext } from '../context.ts';
import { policyObject, type Hit } from '../finding.ts';

/** A rule and its place among the rules of a namespace: of two that are the same, the later is one too many. */
interface PlacedRule {
  readonly place: number;
  readonly policy: Policy;
  readonly direction: Direction;
  readonly rule: Rule;
}

/**
 * BPL008 and BPL009: a rule without which nothing changes, as another allows the same or more to the same or more pods,
 * whatever pods there are. Of rules that are the same the first is kept, and one of the baseline before others; all
 * that are found can go at once. Rules of the baseline are not told: they are there for what may come.
 */
export function* shadowedRules(context: LintContext): Generator<Hit> {
  const byNamespace = Map.groupBy(context.model.policies, ({ namespace }) => namespace);
  for (const policies of byNamespace.values()) {
    const baselineFirst = [...policies].sort((a, b) => Number(b.isManaged) - Number(a.isManaged));
    const rules = baselineFirst
      .flatMap((policy) => [...rulesOf(policy)].map((of) => ({ policy, ...of })))
      .map((of, place): PlacedRule => ({ place, ...of }));
    for (const [policy, own] of Map.groupBy(rules, (of) => of.policy)) {
      if (policy.isManaged) continue;
      const others = rules.filter((other) => selectsAllOf(other.policy, policy));
      for (const one of own) {
        const wider = others.find((other) => makesNeedless(other, one));
        if (wider !== undefined) yield hitOf(one, wider);
      }
    }
  }
}

/** Whether a policy selects every pod that another of the namespace selects. */
function selectsAllOf(wider: Policy, narrower: Policy): boolean {
  return wider === narrower || selectorCovers(wider.selector.pods, narrower.selector.pods);
}

/** Whether a rule, whose policy selects all pods of the other's, allows all that the other does, and is to be kept. */
function makesNeedless(other: PlacedRule, one: PlacedRule): boolean {
  if (other === one || other.direction !== one.direction || !ruleCovers(other.rule, one.rule)) return false;
  return other.place < one.place || !isSame(other, one);
}

/** Whether a rule that allows all that the other does allows no more. */
function isSame(other: PlacedRule, one: PlacedRule): boolean {
  return selectsAllOf(one.policy, other.policy) && ruleCovers(one.rule, other.rule);
}

function hitOf(one: PlacedRule, other: PlacedRule): Hit {
  const { policy, rule } = one;
  const where = other.policy === policy ? '' : ` of ${other.policy.name}`;
  const found = {
    object: policyObject(policy),
    path: rule.path,
  };
  return isSame(other, one)
    ? { ...found, code: 'BPL009', message: `${other.rule.path}${where} allows the same` }
    : { ...found, code: 'BPL008', message: `${other.rule.path}${where} allows all that this rule allows, and more` };
}
