import type { AllowExternalEgressRule } from '../../api/baselinepolicy.ts';
import type { NetworkPolicySpec } from '../../api/networkpolicy.ts';

/** IPv4 that is never "the internet": private (RFC 1918), CGNAT (RFC 6598), loopback and link-local (RFC 3927). */
const INTERNAL_IPV4 = [
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.168.0.0/16',
];
/** IPv6 that is never "the internet": loopback, unique-local (RFC 4193) and link-local (RFC 4291). */
const INTERNAL_IPV6 = ['::1/128', 'fc00::/7', 'fe80::/10'];

/**
 * Lets all pods reach addresses outside the cluster, on all ports or the given ones: everything but internal ranges
 * and the given exceptions. A bare 0.0.0.0/0 would open the cluster where the plugin's ipBlock matches pods.
 */
export function allowExternalEgress(rule: AllowExternalEgressRule): NetworkPolicySpec {
  const except = rule.except ?? [];
  return {
    podSelector: {},
    policyTypes: ['Egress'],
    egress: [
      {
        to: [
          {
            ipBlock: {
              cidr: '0.0.0.0/0',
              except: exceptions(
                INTERNAL_IPV4,
                except.filter((cidr) => !isIPv6(cidr)),
              ),
            },
          },
          { ipBlock: { cidr: '::/0', except: exceptions(INTERNAL_IPV6, except.filter(isIPv6)) } },
        ],
        ...(rule.ports !== undefined && { ports: rule.ports }),
      },
    ],
  };
}

function exceptions(internal: readonly string[], more: readonly string[]): string[] {
  return [...new Set([...internal, ...more])];
}

function isIPv6(cidr: string): boolean {
  return cidr.includes(':');
}
