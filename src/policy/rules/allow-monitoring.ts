import type { AllowMonitoringRule } from '../../api/baselinepolicy.ts';
import { LABEL_NAMESPACE_NAME } from '../../api/names.ts';
import type { NetworkPolicySpec } from '../../api/networkpolicy.ts';

/** Lets the monitoring namespace (or the given peers) reach all pods, on all ports or the given ones. */
export function allowMonitoring(rule: AllowMonitoringRule): NetworkPolicySpec {
  const from = rule.from ?? [];
  return {
    podSelector: {},
    policyTypes: ['Ingress'],
    ingress: [
      {
        // An empty list would allow everyone; it means the default here.
        from:
          from.length > 0 ? from : [{ namespaceSelector: { matchLabels: { [LABEL_NAMESPACE_NAME]: 'monitoring' } } }],
        ...(rule.ports !== undefined && { ports: rule.ports }),
      },
    ],
  };
}
