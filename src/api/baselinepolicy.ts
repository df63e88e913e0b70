import type { KubernetesObject, ObjectMeta } from './metadata.ts';
import type { BaselinePolicySpec, BaselinePolicyStatus } from './types.generated.ts';

export type {
  AdditionalPolicy,
  AllowDNSRule,
  AllowExternalEgressRule,
  AllowIngressControllerRule,
  AllowMonitoringRule,
  AuditStatus,
  BaselinePolicySpec,
  BaselinePolicyStatus,
  BaselineRules,
  Condition,
  DefaultDenyRule,
  DriftStatus,
  NamespaceCounts,
  NamespaceFailure,
  NetworkPolicyCounts,
} from './types.generated.ts';

/** A BaselinePolicy as the API server stores it: `spec` is always there (the CRD requires it). */
export interface BaselinePolicy extends KubernetesObject {
  metadata: ObjectMeta;
  spec: BaselinePolicySpec;
  status?: BaselinePolicyStatus;
}

/** API group of the custom resource. */
export const GROUP = 'baselinepolicy.dev';
/** Group and version of the custom resource, as in `apiVersion`. */
export const API_VERSION = `${GROUP}/v1alpha1`;
/** Kind of the custom resource. */
export const KIND = 'BaselinePolicy';
/** Plural of the custom resource, as in URLs. */
export const PLURAL = 'baselinepolicies';
/** Name of the CustomResourceDefinition. */
export const CRD_NAME = `${PLURAL}.${GROUP}`;
