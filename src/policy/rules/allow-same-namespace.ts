import type { NetworkPolicySpec } from '../../api/networkpolicy.ts';

/** Lets all pods of the namespace reach each other, on all ports. */
export function allowSameNamespace(): NetworkPolicySpec {
  return {
    podSelector: {},
    policyTypes: ['Ingress', 'Egress'],
    ingress: [{ from: [{ podSelector: {} }] }],
    egress: [{ to: [{ podSelector: {} }] }],
  };
}
