/**
 * The network of the node, which is on no machine but its own: the bridge that pods are on, the node's own address there,
 * and the addresses of Services.
 */
export const NETWORK = {
  bridge: 'cni0',
  gateway: '10.244.0.1',
  prefix: 24,
  pods: '10.244.0.0/24',
  services: '10.96.0.0/16',
  kubernetesService: '10.96.0.1',
  dnsService: '10.96.0.10',
  apiServerPort: 6443,
} as const;
