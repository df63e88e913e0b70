/** A network plugin whose documented behaviour is known here; `generic` knows nothing of the plugin. */
export type ProfileName = 'calico' | 'cilium' | 'kube-router' | 'weave' | 'generic';

/** How a plugin decides what the NetworkPolicy API leaves open; a fact that is absent is not known. */
export interface Profile {
  /** Whether an ipBlock matches pods by their addresses. */
  readonly ipBlockMatchesPods?: boolean;
  /** Whether an ipBlock matches nodes, and so pods of the host network that count as their node. */
  readonly ipBlockMatchesNodes?: boolean;
  /** Whether selectors match pods of the host network, or their traffic is that of their node. */
  readonly hostNetwork?: 'as-pods' | 'as-node';
}

/**
 * Documented facts, each with its source. The API itself says:
 * - Pods of the host network: "undefined, but it should be limited to 2 possibilities", as pods or as their node:
 *   https://kubernetes.io/docs/concepts/services-networking/network-policies/#networkpolicy-and-hostnetwork-pods
 * - ipBlocks "should be cluster-external IPs, since Pod IPs are ephemeral and unpredictable", and whether addresses are
 *   rewritten before or after policies is not defined:
 *   https://kubernetes.io/docs/concepts/services-networking/network-policies/#behavior-of-to-and-from-selectors
 */
export const PROFILES: Readonly<Record<ProfileName, Profile>> = {
  calico: {
    // "ipBlock matches cluster internal IPs": https://github.com/projectcalico/calico/issues/6634
    ipBlockMatchesPods: true,
    // Nodes have addresses like any other; the selector of a peer never has theirs:
    // https://github.com/projectcalico/calico/issues/4667
    ipBlockMatchesNodes: true,
    // "network policies do not apply to the pods configured with hostNetwork: true":
    // https://github.com/projectcalico/felix/issues/1361
    hostNetwork: 'as-node',
  },
  cilium: {
    // "CIDR rules do not apply to traffic where both sides of the connection are either managed by Cilium or use an IP
    // belonging to a node in the cluster (including host networking pods)", with the default of policy-cidr-match-mode:
    // https://docs.cilium.io/en/latest/security/policy/layer3/ and https://github.com/cilium/cilium/issues/9209
    ipBlockMatchesPods: false,
    ipBlockMatchesNodes: false,
    // "literally every network plugin implements this the same way: a podSelector never selects hostNetwork pods":
    // https://github.com/kubernetes/website/pull/39875
    hostNetwork: 'as-node',
  },
  'kube-router': {
    // Where selectors do not match a pod of the host network, an ipBlock of its node does:
    // https://github.com/cloudnativelabs/kube-router/issues/1135
    ipBlockMatchesNodes: true,
    // "this is the desired behavior for hostnetwork'd pods. We specifically chose to not apply networkpolicy to" them:
    // https://github.com/cloudnativelabs/kube-router/issues/1135
    hostNetwork: 'as-node',
  },
  weave: {
    // As for Cilium: https://github.com/kubernetes/website/pull/39875
    hostNetwork: 'as-node',
  },
  generic: {},
};
