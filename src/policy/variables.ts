import type { NetworkPolicySpec } from '../api/networkpolicy.ts';
import type { SelectableNamespace } from './select.ts';

const VARIABLE = /\$\(([^)]*)\)/g;
const LABEL_VARIABLE = /^namespace\.labels\['([^']+)'\]$/;

/** Why a spec with variables could not be made for a namespace. */
export type ExpansionFailure =
  /** The namespace has no label of that key. */
  | { readonly kind: 'missing-label'; readonly key: string }
  /** There is no variable of that name; `path` leads to the string that uses it. */
  | { readonly kind: 'unknown-variable'; readonly variable: string; readonly path: string };

/** The spec for one namespace, or why there is none. */
export type Expansion = { readonly spec: NetworkPolicySpec } | { readonly failure: ExpansionFailure };

/** Whether any string of the spec uses a variable, known or not. */
export function usesVariables(spec: NetworkPolicySpec): boolean {
  return JSON.stringify(spec).includes('$(');
}

/**
 * Replaces `$(namespace.name)` and `$(namespace.labels['key'])` in every string value of the spec (not in keys).
 * Never yields an empty value for a missing label: a selector with an empty value would select something else.
 */
export function expandVariables(spec: NetworkPolicySpec, namespace: SelectableNamespace): Expansion {
  let failure: ExpansionFailure | undefined;
  const expandString = (text: string, path: string): string =>
    text.replace(VARIABLE, (whole, variable: string) => {
      if (variable === 'namespace.name') return namespace.name;
      const key = LABEL_VARIABLE.exec(variable)?.[1];
      if (key === undefined) {
        failure ??= { kind: 'unknown-variable', variable: whole, path };
        return whole;
      }
      const value = Object.hasOwn(namespace.labels, key) ? namespace.labels[key] : undefined;
      if (value === undefined) failure ??= { kind: 'missing-label', key };
      return value ?? whole;
    });
  const expandValue = (value: unknown, path: string): unknown => {
    if (typeof value === 'string') return expandString(value, path);
    if (Array.isArray(value)) return value.map((item, index) => expandValue(item, `${path}[${index}]`));
    if (typeof value === 'object' && value !== null) {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, expandValue(item, `${path}.${key}`)]));
    }
    return value;
  };
  const expanded = expandValue(spec, 'spec') as NetworkPolicySpec;
  return failure === undefined ? { spec: expanded } : { failure };
}
