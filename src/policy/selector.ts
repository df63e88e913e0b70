import type { LabelSelector, LabelSelectorRequirement } from '../api/networkpolicy.ts';

/** Labels of an object; absent labels are an empty map. */
export type Labels = Readonly<Record<string, string>>;

/**
 * Whether `selector` matches `labels`, as `metav1.LabelSelector` defines it: all of matchLabels and all of
 * matchExpressions; an empty selector matches everything; NotIn and DoesNotExist match a missing key.
 */
export function matchesSelector(selector: LabelSelector, labels: Labels): boolean {
  for (const [key, value] of Object.entries(selector.matchLabels ?? {})) {
    if (!Object.hasOwn(labels, key) || labels[key] !== value) return false;
  }
  return (selector.matchExpressions ?? []).every((requirement) => matchesRequirement(requirement, labels));
}

function matchesRequirement(requirement: LabelSelectorRequirement, labels: Labels): boolean {
  const value = Object.hasOwn(labels, requirement.key) ? labels[requirement.key] : undefined;
  switch (requirement.operator) {
    case 'In':
      return value !== undefined && (requirement.values ?? []).includes(value);
    case 'NotIn':
      return value === undefined || !(requirement.values ?? []).includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
  }
}
