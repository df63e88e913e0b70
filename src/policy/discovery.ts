/** Addresses of one set of ports of the API server, as an EndpointSlice of default/kubernetes lists them. */
export interface APIServerEndpoints {
  readonly addresses: readonly string[];
  readonly ports: readonly { readonly protocol: 'TCP' | 'UDP' | 'SCTP'; readonly port: number }[];
}

/** What rules take from the cluster beside namespaces and policies. */
export interface DiscoveredAddresses {
  /** ClusterIPs of the Service kube-system/kube-dns; empty when there is no such Service. */
  readonly kubeDNSClusterIPs: readonly string[];
  /** Endpoints behind the Service default/kubernetes; empty while unknown. */
  readonly apiServerEndpoints: readonly APIServerEndpoints[];
  /** ClusterIPs of the Service default/kubernetes; empty while unknown. */
  readonly apiServerClusterIPs: readonly string[];
}

/** Nothing discovered. */
export const NO_ADDRESSES: DiscoveredAddresses = {
  kubeDNSClusterIPs: [],
  apiServerEndpoints: [],
  apiServerClusterIPs: [],
};

/** The CIDR that holds this one IPv4 (/32) or IPv6 (/128) address. */
export function singleAddressCIDR(address: string): string {
  return address.includes(':') ? `${address}/128` : `${address}/32`;
}
