import type { AllowDNSRule } from '../../api/baselinepolicy.ts';
import { LABEL_NAMESPACE_NAME } from '../../api/names.ts';
import type {
  NetworkPolicyEgressRule,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicySpec,
} from '../../api/networkpolicy.ts';
import { singleAddressCIDR, type DiscoveredAddresses } from '../discovery.ts';

/** The address that NodeLocal DNSCache listens on by default (kubernetes.io: Using NodeLocal DNSCache). */
const NODE_LOCAL_DNS_ADDRESS = '169.254.20.10';
/** The metadata server, which answers DNS for Cloud DNS on GKE (cloud.google.com: Using Cloud DNS for GKE). */
const GKE_METADATA_ADDRESS = '169.254.169.254';

/**
 * Lets all pods ask DNS, by UDP and by TCP (answers over 512 bytes and zone policies need TCP).
 * One egress rule a target, in the order of the targets, then the custom ones.
 */
export function allowDNS(rule: AllowDNSRule, discovered: DiscoveredAddresses): NetworkPolicySpec {
  // An empty list of peers would allow everyone; the CRD refuses it, this is the second lock.
  const custom = (rule.custom ?? []).filter(({ to }) => to.length > 0);
  const targets = rule.targets ?? ['KubeDNS', 'NodeLocalDNS'];
  return {
    podSelector: {},
    policyTypes: ['Egress'],
    egress: [...targets.map((target) => targetEgress(target, discovered)), ...custom],
  };
}

function targetEgress(
  target: NonNullable<AllowDNSRule['targets']>[number],
  discovered: DiscoveredAddresses,
): NetworkPolicyEgressRule {
  switch (target) {
    case 'KubeDNS':
      return { to: [kubeSystemPods('kube-dns')], ports: dnsPorts(53) };
    case 'NodeLocalDNS':
      // With kube-proxy in IPVS mode pods ask the ClusterIP, and the node-local cache answers on it.
      return {
        to: [
          kubeSystemPods('node-local-dns'),
          addressPeer(NODE_LOCAL_DNS_ADDRESS),
          ...discovered.kubeDNSClusterIPs.map(addressPeer),
        ],
        ports: dnsPorts(53),
      };
    case 'OpenShiftDNS':
      return {
        to: [{ namespaceSelector: { matchLabels: { [LABEL_NAMESPACE_NAME]: 'openshift-dns' } } }],
        ports: [...dnsPorts(5353), ...dnsPorts(53)],
      };
    case 'GKECloudDNS':
      return { to: [addressPeer(GKE_METADATA_ADDRESS)], ports: dnsPorts(53) };
  }
}

function kubeSystemPods(app: string): NetworkPolicyPeer {
  return {
    podSelector: { matchLabels: { 'k8s-app': app } },
    namespaceSelector: { matchLabels: { [LABEL_NAMESPACE_NAME]: 'kube-system' } },
  };
}

function addressPeer(address: string): NetworkPolicyPeer {
  return { ipBlock: { cidr: singleAddressCIDR(address) } };
}

function dnsPorts(port: number): NetworkPolicyPort[] {
  return [
    { protocol: 'UDP', port },
    { protocol: 'TCP', port },
  ];
}
