import type { KubernetesObject } from './metadata.ts';
import type { NetworkPolicySpec } from './types.generated.ts';

export type {
  IPBlock,
  LabelSelector,
  LabelSelectorRequirement,
  NetworkPolicyEgressRule,
  NetworkPolicyIngressRule,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicySpec,
} from './types.generated.ts';

/**
 * A networking.k8s.io/v1 NetworkPolicy as it is on the wire. Never the generated model of @kubernetes/client-node:
 * that one renames `from` to `_from`, and an object written through it can allow everyone.
 */
export interface NetworkPolicy extends KubernetesObject {
  spec?: NetworkPolicySpec;
}
