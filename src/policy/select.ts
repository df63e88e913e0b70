import type { BaselinePolicySpec } from '../api/baselinepolicy.ts';
import { LABEL_ENFORCE } from '../api/names.ts';
import type { LabelSelector } from '../api/networkpolicy.ts';
import { matchesSelector, type Labels } from './selector.ts';

/** What selection needs to know of a Namespace. */
export interface SelectableNamespace {
  readonly name: string;
  readonly labels: Labels;
}

/** The selector of a BaselinePolicy that names none: namespaces opt in by label. */
export const DEFAULT_NAMESPACE_SELECTOR: LabelSelector = { matchLabels: { [LABEL_ENFORCE]: 'true' } };

/** Namespaces that no BaselinePolicy selects, unless a flag replaces the list. */
export const DEFAULT_PROTECTED_NAMESPACES: readonly string[] = ['kube-system', 'kube-public', 'kube-node-lease'];

/**
 * Whether a BaselinePolicy selects a namespace. Protected and excluded namespaces are never selected, whatever the
 * selector says.
 */
export function selectsNamespace(
  spec: BaselinePolicySpec,
  namespace: SelectableNamespace,
  protectedNamespaces: ReadonlySet<string>,
): boolean {
  if (protectedNamespaces.has(namespace.name)) return false;
  if (spec.excludedNamespaces?.includes(namespace.name) === true) return false;
  return matchesSelector(spec.namespaceSelector ?? DEFAULT_NAMESPACE_SELECTOR, namespace.labels);
}
