import type { DefaultDenyRule } from '../../api/baselinepolicy.ts';
import type { NetworkPolicySpec } from '../../api/networkpolicy.ts';

/** Selects all pods and allows nothing, in the listed directions (both by default). */
export function defaultDeny(rule: DefaultDenyRule): NetworkPolicySpec {
  // Absent types would come to mean Ingress alone.
  const types = rule.policyTypes ?? [];
  return { podSelector: {}, policyTypes: types.length > 0 ? types : ['Ingress', 'Egress'] };
}
