import type { AllowIngressControllerRule } from '../../api/baselinepolicy.ts';
import type { NetworkPolicySpec } from '../../api/networkpolicy.ts';

/**
 * Lets the given peers reach all pods, on all ports or the given ones. Undefined without peers: an empty `from` would
 * let everyone in (the CRD refuses it, this is the second lock).
 */
export function allowIngressController(rule: AllowIngressControllerRule): NetworkPolicySpec | undefined {
  const from = rule.from ?? [];
  if (from.length === 0) return undefined;
  return {
    podSelector: {},
    policyTypes: ['Ingress'],
    ingress: [{ from, ...(rule.ports !== undefined && { ports: rule.ports }) }],
  };
}
