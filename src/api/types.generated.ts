// Generated from src/api/schema.ts by hack/generate.ts; do not edit.

/** A label query over a set of resources; an empty selector matches everything. */
export interface LabelSelector {
  matchLabels?: Record<string, string>;
  matchExpressions?: LabelSelectorRequirement[];
}

export interface LabelSelectorRequirement {
  key: string;
  operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  values?: string[];
}

export interface IPBlock {
  cidr: string;
  except?: string[];
}

export interface NetworkPolicyPeer {
  podSelector?: LabelSelector;
  namespaceSelector?: LabelSelector;
  ipBlock?: IPBlock;
}

export interface NetworkPolicyPort {
  protocol?: 'TCP' | 'UDP' | 'SCTP';
  port?: number | string;
  endPort?: number;
}

export interface NetworkPolicyIngressRule {
  from?: NetworkPolicyPeer[];
  ports?: NetworkPolicyPort[];
}

export interface NetworkPolicyEgressRule {
  to?: NetworkPolicyPeer[];
  ports?: NetworkPolicyPort[];
}

export interface NetworkPolicySpec {
  podSelector?: LabelSelector;
  policyTypes?: ('Ingress' | 'Egress')[];
  ingress?: NetworkPolicyIngressRule[];
  egress?: NetworkPolicyEgressRule[];
}

export interface DefaultDenyRule {
  enabled?: boolean;
  policyTypes?: ('Ingress' | 'Egress')[];
}

export interface CustomDNSTarget {
  to: NetworkPolicyPeer[];
  ports: NetworkPolicyPort[];
}

export interface AllowDNSRule {
  enabled?: boolean;
  targets?: ('KubeDNS' | 'NodeLocalDNS' | 'OpenShiftDNS' | 'GKECloudDNS')[];
  custom?: CustomDNSTarget[];
}

export interface AllowMonitoringRule {
  enabled?: boolean;
  from?: NetworkPolicyPeer[];
  ports?: NetworkPolicyPort[];
}

export interface AllowSameNamespaceRule {
  enabled?: boolean;
}

export interface AllowKubeAPIServerRule {
  enabled?: boolean;
}

export interface AllowIngressControllerRule {
  enabled?: boolean;
  from?: NetworkPolicyPeer[];
  ports?: NetworkPolicyPort[];
}

export interface AllowExternalEgressRule {
  enabled?: boolean;
  except?: string[];
  ports?: NetworkPolicyPort[];
}

export interface BaselineRules {
  defaultDeny?: DefaultDenyRule;
  allowDNS?: AllowDNSRule;
  allowMonitoring?: AllowMonitoringRule;
  allowSameNamespace?: AllowSameNamespaceRule;
  allowKubeAPIServer?: AllowKubeAPIServerRule;
  allowIngressController?: AllowIngressControllerRule;
  allowExternalEgress?: AllowExternalEgressRule;
}

export interface AdditionalPolicy {
  name: string;
  spec: NetworkPolicySpec;
}

export interface BaselinePolicySpec {
  description?: string;
  mode?: 'Enforce' | 'Audit';
  namespaceSelector?: LabelSelector;
  excludedNamespaces?: string[];
  rules?: BaselineRules;
  additionalPolicies?: AdditionalPolicy[];
  deletionPolicy?: 'Delete' | 'Orphan';
}

export interface Condition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  observedGeneration?: number;
  lastTransitionTime: string;
  reason: string;
  message: string;
}

export interface NamespaceCounts {
  selected: number;
  compliant: number;
  drifted: number;
  failed: number;
  pending: number;
}

export interface NetworkPolicyCounts {
  desired: number;
  current: number;
}

export interface DriftStatus {
  detectedTotal: number;
  healedTotal: number;
  lastDetectedTime?: string;
}

export interface AuditStatus {
  create: number;
  update: number;
  delete: number;
}

export interface NamespaceFailure {
  namespace: string;
  rule: string;
  reason: string;
  message: string;
}

export interface BaselinePolicyStatus {
  observedGeneration?: number;
  conditions?: Condition[];
  namespaces?: NamespaceCounts;
  networkPolicies?: NetworkPolicyCounts;
  drift?: DriftStatus;
  audit?: AuditStatus;
  failures?: NamespaceFailure[];
  moreFailures?: number;
}
