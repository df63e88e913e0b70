import type { DefaultDenyRule } from '../../api/baselinepolicy.ts';
import type { NetworkPolicySpec } from '../../api/networkpolicy.ts';

/** Selects all pods and allows nothing, in the listed directions (both by default). */
export function defaultDeny(rule: DefaultDenyRule): NetworkPolicySpec {
  return { podSelector: {}, policyTypes: rule.policyTypes ?? ['Ingress', 'Egress'] };
}
