import type { LabelSelector, LabelSelectorRequirement } from '../api/networkpolicy.ts';
import { matchesSelector, type Labels } from '../policy/selector.ts';
import { compareText } from './cluster.ts';

/** A part of a selector that labels do not meet. */
export interface UnmetRequirement {
  readonly key: string;
  readonly operator: LabelSelectorRequirement['operator'];
  readonly values: readonly string[];
  /** The value that the labels have; absent when they do not have the key. */
  readonly actual?: string;
}

/** The parts of a selector, matchLabels first; each of them must be met. */
function requirementsOf(selector: LabelSelector): LabelSelectorRequirement[] {
  const labels = Object.entries(selector.matchLabels ?? {}).sort(([a], [b]) => compareText(a, b));
  return [
    ...labels.map(([key, value]): LabelSelectorRequirement => ({ key, operator: 'In', values: [value] })),
    ...(selector.matchExpressions ?? []),
  ];
}

/** The parts of a selector that labels do not meet; none when the selector matches. */
export function unmetRequirements(selector: LabelSelector, labels: Labels): UnmetRequirement[] {
  return requirementsOf(selector)
    .filter((requirement) => !matchesSelector({ matchExpressions: [requirement] }, labels))
    .map(({ key, operator, values }) => {
      const actual = Object.hasOwn(labels, key) ? labels[key] : undefined;
      return { key, operator, values: values ?? [], ...(actual !== undefined && { actual }) };
    });
}

/** A selector as kubectl writes it, such as `app=web,tier notin (a,b),!legacy`; empty for one that matches everything. */
export function formatSelector(selector: LabelSelector): string {
  return requirementsOf(selector).map(formatRequirement).join(',');
}

/** A part of a selector as kubectl writes it. */
export function formatRequirement({
  key,
  operator,
  values,
}: Pick<UnmetRequirement, 'key' | 'operator'> & { readonly values?: readonly string[] }): string {
  switch (operator) {
    case 'In':
      return values?.length === 1 ? `${key}=${values[0] ?? ''}` : `${key} in (${(values ?? []).join(',')})`;
    case 'NotIn':
      return `${key} notin (${(values ?? []).join(',')})`;
    case 'Exists':
      return key;
    case 'DoesNotExist':
      return `!${key}`;
  }
}

/** Why labels do not meet a requirement, as the end of a sentence: `has app=web`, `has no label app`. */
export function formatActual({ key, actual }: UnmetRequirement): string {
  return actual === undefined ? `has no label ${key}` : `has ${key}=${actual}`;
}
