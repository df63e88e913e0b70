import type { BaselinePolicy } from '../api/baselinepolicy.ts';
import type { KubernetesObject } from '../api/metadata.ts';
import {
  LABEL_ENFORCE,
  LABEL_MANAGED_BY,
  LABEL_NAMESPACE_NAME,
  LABEL_POLICY,
  LABEL_RULE,
  MANAGER,
} from '../api/names.ts';
import type { LabelSelector } from '../api/networkpolicy.ts';
import { DEFAULT_NAMESPACE_SELECTOR } from './select.ts';

/** Name of the ValidatingAdmissionPolicy that holds pods until their namespace has its default-deny. */
export const START_GATE = 'start-gate.baselinepolicy.dev';
/** Name of the ValidatingAdmissionPolicy that finds NetworkPolicies which open a namespace to everyone. */
export const OPENING_GUARD = 'opening-guard.baselinepolicy.dev';
/** The namespace of the operator's Deployment in config/: its own pods never wait for it. */
export const OPERATOR_NAMESPACE = 'baseline-policy-system';

/** What the guard does with a NetworkPolicy that opens a namespace; `off` is no guard. */
export type GuardAction = 'warn' | 'deny' | 'off';

/** A ValidatingAdmissionPolicyBinding of admissionregistration.k8s.io/v1, as far as it is used here. */
export interface AdmissionBinding extends KubernetesObject {
  readonly spec: {
    readonly policyName: string;
    readonly validationActions: readonly ('Deny' | 'Warn' | 'Audit')[];
    readonly paramRef?: { readonly selector: LabelSelector; readonly parameterNotFoundAction: 'Deny' };
    readonly matchResources: { readonly namespaceSelector: LabelSelector };
  };
}

/** The bindings of a BaselinePolicy, and what a person should know of those that are not among them. */
export interface AdmissionBindings {
  readonly bindings: readonly AdmissionBinding[];
  readonly notes: readonly string[];
}

/**
 * The bindings of the start gate and the opening guard for the namespaces that a BaselinePolicy selects. The policies
 * that they bind are those of config/admission, which has the bindings for the opt-in label too: a BaselinePolicy that
 * selects by this alone gets none here.
 * @param protectedNamespaces what the operator never touches, beside its own namespace
 */
export function admissionBindings(
  policy: BaselinePolicy,
  { guard, protectedNamespaces }: { readonly guard: GuardAction; readonly protectedNamespaces: readonly string[] },
): AdmissionBindings {
  const { metadata, spec } = policy;
  const { excludedNamespaces = [], namespaceSelector = DEFAULT_NAMESPACE_SELECTOR } = spec;
  const name = `BaselinePolicy ${metadata.name}`;
  if (spec.mode === 'Audit') {
    return { bindings: [], notes: [`${name} is in mode Audit: it makes no NetworkPolicies, and gets no bindings`] };
  }
  const hasGate = spec.rules?.defaultDeny?.enabled !== false;
  const notes = hasGate ? [] : [`${name} makes no default-deny: there is nothing that a start gate could wait for`];
  const selectsByLabel = isOptIn(namespaceSelector);
  if (selectsByLabel && excludedNamespaces.length === 0) {
    notes.push(`${name} selects by the label ${LABEL_ENFORCE} alone: the bindings of config/admission are for it`);
    return { bindings: [], notes };
  }
  if (selectsByLabel) {
    notes.push(
      `${name} excludes ${excludedNamespaces.join(', ')}: the bindings of config/admission are for these too, where ` +
        `they have the label ${LABEL_ENFORCE}`,
    );
  }
  const matchResources = {
    namespaceSelector: without(namespaceSelector, [...excludedNamespaces, ...protectedNamespaces, OPERATOR_NAMESPACE]),
  };
  const bindings: AdmissionBinding[] = [];
  if (hasGate) {
    const matchLabels = {
      [LABEL_MANAGED_BY]: MANAGER,
      [LABEL_POLICY]: metadata.name,
      [LABEL_RULE]: 'default-deny',
    };
    bindings.push(
      binding(metadata.name, {
        policyName: START_GATE,
        validationActions: ['Deny'],
        paramRef: { selector: { matchLabels }, parameterNotFoundAction: 'Deny' },
        matchResources,
      }),
    );
  }
  if (guard !== 'off') {
    const validationActions: AdmissionBinding['spec']['validationActions'] =
      guard === 'deny' ? ['Deny'] : ['Warn', 'Audit'];
    bindings.push(binding(metadata.name, { policyName: OPENING_GUARD, validationActions, matchResources }));
  }
  return { bindings, notes };
}

function binding(policy: string, spec: AdmissionBinding['spec']): AdmissionBinding {
  return {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'ValidatingAdmissionPolicyBinding',
    metadata: { name: `${policy}.${spec.policyName}` },
    spec,
  };
}

/** The same selector, without the namespaces of these names. */
function without({ matchLabels, matchExpressions = [] }: LabelSelector, names: readonly string[]): LabelSelector {
  return {
    ...(matchLabels !== undefined && { matchLabels }),
    matchExpressions: [
      ...matchExpressions,
      { key: LABEL_NAMESPACE_NAME, operator: 'NotIn', values: [...new Set(names)].sort() },
    ],
  };
}

/** Whether a selector is the default one: the opt-in label, and nothing else. */
function isOptIn({ matchLabels = {}, matchExpressions = [] }: LabelSelector): boolean {
  return (
    matchExpressions.length === 0 && Object.keys(matchLabels).length === 1 && matchLabels[LABEL_ENFORCE] === 'true'
  );
}
