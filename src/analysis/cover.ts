import type { LabelSelector, LabelSelectorRequirement } from '../api/networkpolicy.ts';
import { LABEL_NAMESPACE_NAME } from '../api/names.ts';
import { isWithin, type AddressBlock, type AddressRange } from './address.ts';
import type { Peer, Rule, RulePorts } from './policy.ts';
import { PortSet } from './port-set.ts';

/*
 * Whether one thing matches all that another does, whatever pods, labels and addresses there are. A yes is certain; a no
 * may be wrong for selectors that say the same in ways that are not compared here.
 */

/** Whether a selector matches every set of labels that another matches. */
export function selectorCovers(wider: LabelSelector, narrower: LabelSelector): boolean {
  const known = requirementsOf(narrower);
  return requirementsOf(wider).every((wanted) => known.some((one) => implies(one, wanted)));
}

function requirementsOf(selector: LabelSelector): LabelSelectorRequirement[] {
  return [
    ...Object.entries(selector.matchLabels ?? {}).map(([key, value]): LabelSelectorRequirement => ({
      key,
      operator: 'In',
      values: [value],
    })),
    ...(selector.matchExpressions ?? []),
  ];
}

/** Whether labels that meet one requirement always meet the other. */
function implies(one: LabelSelectorRequirement, other: LabelSelectorRequirement): boolean {
  if (one.key !== other.key) return false;
  const [values, others] = [one.values ?? [], other.values ?? []];
  switch (other.operator) {
    case 'In':
      return one.operator === 'In' && values.every((value) => others.includes(value));
    case 'NotIn':
      return (
        one.operator === 'DoesNotExist' ||
        (one.operator === 'In' && !values.some((value) => others.includes(value))) ||
        (one.operator === 'NotIn' && others.every((value) => values.includes(value)))
      );
    case 'Exists':
      return one.operator === 'In' || one.operator === 'Exists';
    case 'DoesNotExist':
      return one.operator === 'DoesNotExist';
  }
}

/** Whether a peer has every pod and address that another has. */
export function peerCovers(wider: Peer, narrower: Peer): boolean {
  if (wider.kind === 'block' || narrower.kind === 'block') {
    return wider.kind === 'block' && narrower.kind === 'block' && blockCovers(wider.block, narrower.block);
  }
  return (
    selectorCovers(namespacesOf(wider.namespaces), namespacesOf(narrower.namespaces)) &&
    selectorCovers(wider.pods, narrower.pods)
  );
}

function namespacesOf(namespaces: LabelSelector | string): LabelSelector {
  return typeof namespaces === 'string' ? { matchLabels: { [LABEL_NAMESPACE_NAME]: namespaces } } : namespaces;
}

function blockCovers(wider: AddressBlock, narrower: AddressBlock): boolean {
  return (
    isWithin(narrower.cidr, wider.cidr) &&
    wider.except.every(
      (except) => !overlaps(except, narrower.cidr) || narrower.except.some((own) => isWithin(except, own)),
    )
  );
}

function overlaps(one: AddressRange, other: AddressRange): boolean {
  return one.family === other.family && one.first <= other.last && other.first <= one.last;
}

/** Whether ports have all that others have, whatever the names of ports stand for. */
export function portsCover(wider: RulePorts, narrower: RulePorts): boolean {
  return (
    wider.numbers.includes(narrower.numbers) &&
    narrower.names.every(
      ({ protocol, name }) =>
        wider.numbers.includes(PortSet.protocol(protocol)) ||
        wider.names.some((one) => one.protocol === protocol && one.name === name),
    )
  );
}

/** Whether a rule allows all that another of the same direction, for the same pods, allows. */
export function ruleCovers(wider: Rule, narrower: Rule): boolean {
  if (!portsCover(wider.ports, narrower.ports)) return false;
  const { peers } = wider;
  if (peers === undefined) return true;
  return narrower.peers?.every((peer) => peers.some((one) => peerCovers(one, peer))) ?? false;
}
