import type { NetworkPolicyEgressRule, NetworkPolicySpec } from '../../api/networkpolicy.ts';
import { singleAddressCIDR, type DiscoveredAddresses } from '../discovery.ts';

/**
 * Lets all pods reach the API server: its endpoints, and the ClusterIP of default/kubernetes on port 443, each as a
 * single address. Undefined while no endpoint is known: a guess such as 0.0.0.0/0 would open the cluster.
 */
export function allowKubeAPIServer(discovered: DiscoveredAddresses): NetworkPolicySpec | undefined {
  const endpoints = discovered.apiServerEndpoints
    .map(({ addresses, ports }): NetworkPolicyEgressRule => ({
      to: addressPeers(addresses),
      // Sorted, like the addresses: the order of a list in an EndpointSlice says nothing, and must not cause a write.
      ports: ports
        .map(({ protocol, port }) => ({ protocol, port }))
        .sort((a, b) => a.port - b.port || compare(a.protocol, b.protocol)),
    }))
    .filter((rule) => rule.to?.length !== 0 && rule.ports?.length !== 0)
    .sort((a, b) => compare(JSON.stringify(a), JSON.stringify(b)))
    // The same endpoint may be in two slices while they are rebalanced (kubernetes.io: EndpointSlices).
    .filter((rule, index, rules) => JSON.stringify(rule) !== JSON.stringify(rules[index - 1]));
  if (endpoints.length === 0) return undefined;
  const clusterIPs = addressPeers(discovered.apiServerClusterIPs);
  return {
    podSelector: {},
    policyTypes: ['Egress'],
    egress: [
      ...endpoints,
      ...(clusterIPs.length > 0 ? [{ to: clusterIPs, ports: [{ protocol: 'TCP' as const, port: 443 }] }] : []),
    ],
  };
}

function addressPeers(addresses: readonly string[]): { ipBlock: { cidr: string } }[] {
  return [...new Set(addresses)].sort(compare).map((address) => ({ ipBlock: { cidr: singleAddressCIDR(address) } }));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
