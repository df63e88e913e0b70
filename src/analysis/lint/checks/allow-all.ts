import { ruleCovers } from '../../cover.ts';
import { matchesPeer } from '../../evaluate.ts';
import type { Direction, Rule } from '../../policy.ts';
import { peersField, rulesOf, type LintContext } from '../context.ts';
import { openTo } from '../everyone.ts';
import { policyObject, type Hit } from '../finding.ts';

/** BPL010: every port for everyone; BPL011: some ports, which a baseline opens on purpose. */
export function* allowAll(context: LintContext): Generator<Hit> {
  for (const policy of context.model.policies) {
    for (const { direction, rule } of rulesOf(policy)) {
      const everyone = openTo(rule);
      const { numbers } = rule.ports;
      if (everyone.length === 0 || (!numbers.isAll && policy.isManaged)) continue;
      yield {
        code: numbers.isAll ? 'BPL010' : 'BPL011',
        object: policyObject(policy),
        path: pathOf(direction, rule),
        message: openText(direction, rule),
      };
    }
  }
}

/** BPL016: a rule of a team for everyone, on pods that a baseline isolates, and that the baseline does not have itself. */
export function* opensBaseline(context: LintContext): Generator<Hit> {
  for (const policy of context.model.policies) {
    if (policy.isManaged) continue;
    const baseline = context.policiesIn(policy.namespace).filter(({ isManaged }) => isManaged);
    if (baseline.length === 0) continue;
    for (const { direction, rule } of rulesOf(policy)) {
      if (openTo(rule).length === 0) continue;
      const closing = context
        .subjectsOf(policy)
        .map((pod) =>
          baseline.filter(({ rules, selector }) => rules[direction] !== undefined && matchesPeer(selector, pod)),
        )
        .find(
          (policies) =>
            policies.length > 0 &&
            !policies.some(({ rules }) => rules[direction]?.some((one) => ruleCovers(one, rule)) === true),
        );
      const [first] = closing ?? [];
      if (first === undefined) continue;
      yield {
        code: 'BPL016',
        object: policyObject(policy),
        path: pathOf(direction, rule),
        message: `${openText(direction, rule)}, which the baseline policy ${first.name} closes`,
      };
    }
  }
}

function pathOf(direction: Direction, { path, peers }: Rule): string {
  return peers === undefined ? path : `${path}.${peersField(direction)}`;
}

function openText(direction: Direction, rule: Rule): string {
  const { numbers, names } = rule.ports;
  const named = names.map(({ name, protocol }) => `${name}/${protocol}`);
  const ports = [...(numbers.isEmpty ? [] : [numbers.toString()]), ...named].join(', ');
  const word = direction === 'Ingress' ? 'from' : 'to';
  return `the rule opens ${ports} ${word} ${openTo(rule).join(' and ')}`;
}
