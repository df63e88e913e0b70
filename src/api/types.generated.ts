// Generated from src/api/schema.ts by hack/generate.ts; do not edit.

/** Which namespaces get which NetworkPolicies. */
export interface BaselinePolicySpec {
  /** What the baseline is for; each child carries it as an annotation. */
  description?: string;
  /** Enforce writes NetworkPolicies. Audit writes nothing in namespaces and reports what Enforce would change. */
  mode?: 'Enforce' | 'Audit';
  /** The namespaces that get the baseline. An empty selector selects all but the protected ones. */
  namespaceSelector?: LabelSelector;
  /** Names of namespaces that never get the baseline, whatever their labels. */
  excludedNamespaces?: string[];
  /** The rules of a baseline; each one that is enabled makes one NetworkPolicy in every selected namespace. */
  rules?: BaselineRules;
  /** NetworkPolicies of your own beside those of the rules, by name. */
  additionalPolicies?: AdditionalPolicy[];
  /**
   * What happens to the children when the BaselinePolicy is deleted: Delete removes them, Orphan leaves them without an
   * owner.
   */
  deletionPolicy?: 'Delete' | 'Orphan';
}

/**
 * A label query over a set of objects: all of matchLabels and all of matchExpressions. An empty selector matches
 * everything.
 */
export interface LabelSelector {
  /** Labels that an object must have, with these values. */
  matchLabels?: Record<string, string>;
  /** Requirements that must all hold. */
  matchExpressions?: LabelSelectorRequirement[];
}

/** A requirement on one label. */
export interface LabelSelectorRequirement {
  /** Key of the label. */
  key: string;
  /** How the label relates to the values. NotIn and DoesNotExist also match objects without the label. */
  operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  /** Values of In and NotIn; the other operators have none. */
  values?: string[];
}

/** The rules of a baseline; each one that is enabled makes one NetworkPolicy in every selected namespace. */
export interface BaselineRules {
  /** Isolates all pods (child default-deny): what no NetworkPolicy allows is denied. */
  defaultDeny?: DefaultDenyRule;
  /** Allows all pods to resolve names (child allow-dns), over UDP and TCP. */
  allowDNS?: AllowDNSRule;
  /** Allows monitoring to reach all pods (child allow-monitoring). */
  allowMonitoring?: AllowMonitoringRule;
  /** Allows the pods of a namespace to connect to each other (child allow-same-namespace). */
  allowSameNamespace?: AllowSameNamespaceRule;
  /**
   * Allows all pods to connect to the API server (child allow-kube-apiserver), whose addresses are followed as they
   * change.
   */
  allowKubeAPIServer?: AllowKubeAPIServerRule;
  /** Allows an ingress controller to reach all pods (child allow-ingress-controller). */
  allowIngressController?: AllowIngressControllerRule;
  /**
   * Allows all pods to connect to addresses outside the cluster (child allow-external-egress): all but private,
   * link-local, carrier-grade NAT and unique-local ranges.
   */
  allowExternalEgress?: AllowExternalEgressRule;
}

/** Isolates all pods (child default-deny): what no NetworkPolicy allows is denied. */
export interface DefaultDenyRule {
  /** Whether the rule is on. */
  enabled?: boolean;
  /** The directions that are denied. */
  policyTypes?: ('Ingress' | 'Egress')[];
}

/** Allows all pods to resolve names (child allow-dns), over UDP and TCP. */
export interface AllowDNSRule {
  /** Whether the rule is on. */
  enabled?: boolean;
  /** DNS servers of known kinds of clusters. */
  targets?: ('KubeDNS' | 'NodeLocalDNS' | 'OpenShiftDNS' | 'GKECloudDNS')[];
  /** Further DNS servers. */
  custom?: CustomDNSTarget[];
}

/** DNS servers that no target names, and their ports. */
export interface CustomDNSTarget {
  /** The DNS servers. */
  to: NetworkPolicyPeer[];
  /** Their ports. */
  ports: NetworkPolicyPort[];
}

/** Who may connect, or be connected to: pods by labels, or a range of addresses. */
export interface NetworkPolicyPeer {
  /** Pods with these labels: in the namespaces that namespaceSelector selects, or without it in the same namespace. */
  podSelector?: LabelSelector;
  /** Namespaces with these labels: all their pods, or those that podSelector selects. */
  namespaceSelector?: LabelSelector;
  /** A range of addresses; then no selector may be set. */
  ipBlock?: IPBlock;
}

/** A range of IP addresses, with exceptions. It is meant for addresses outside the cluster. */
export interface IPBlock {
  /** The range in CIDR notation, such as 10.0.0.0/8 or 2001:db8::/32. */
  cidr: string;
  /** Ranges inside cidr, and smaller than it, that are left out. */
  except?: string[];
}

/** A port, or a range of ports, of one protocol. */
export interface NetworkPolicyPort {
  /** The protocol; TCP when it is absent. */
  protocol?: 'TCP' | 'UDP' | 'SCTP';
  /** Number (1 to 65535) or name of a port of the pod; without it, all ports of the protocol. */
  port?: number | string;
  /** Last port of a range that begins with port, which then must be a number. */
  endPort?: number;
}

/** Allows monitoring to reach all pods (child allow-monitoring). */
export interface AllowMonitoringRule {
  /** Whether the rule is on. */
  enabled?: boolean;
  /** Who monitors. */
  from?: NetworkPolicyPeer[];
  /** On which ports. An absent or empty list means all ports. */
  ports?: NetworkPolicyPort[];
}

/** Allows the pods of a namespace to connect to each other (child allow-same-namespace). */
export interface AllowSameNamespaceRule {
  /** Whether the rule is on. */
  enabled?: boolean;
}

/**
 * Allows all pods to connect to the API server (child allow-kube-apiserver), whose addresses are followed as they
 * change.
 */
export interface AllowKubeAPIServerRule {
  /** Whether the rule is on. */
  enabled?: boolean;
}

/** Allows an ingress controller to reach all pods (child allow-ingress-controller). */
export interface AllowIngressControllerRule {
  /** Whether the rule is on. */
  enabled?: boolean;
  /** The pods of the ingress controller; required when the rule is enabled. */
  from?: NetworkPolicyPeer[];
  /** On which ports. An absent or empty list means all ports. */
  ports?: NetworkPolicyPort[];
}

/**
 * Allows all pods to connect to addresses outside the cluster (child allow-external-egress): all but private,
 * link-local, carrier-grade NAT and unique-local ranges.
 */
export interface AllowExternalEgressRule {
  /** Whether the rule is on. */
  enabled?: boolean;
  /** Further ranges that stay closed, such as public addresses of the cluster. */
  except?: string[];
  /** On which ports. An absent or empty list means all ports. */
  ports?: NetworkPolicyPort[];
}

/**
 * A NetworkPolicy of your own, made in every selected namespace. Its label values, CIDRs and port names may hold the
 * variables $(namespace.name) and $(namespace.labels['key']).
 */
export interface AdditionalPolicy {
  /**
   * Name of the policy: the child is called <BaselinePolicy>.<name>. It must not be the name of the child of a rule.
   */
  name: string;
  /** What a NetworkPolicy allows to which pods. */
  spec: NetworkPolicySpec;
}

/** What a NetworkPolicy allows to which pods. */
export interface NetworkPolicySpec {
  /** The pods that the policy applies to. When it is absent or empty, these are all pods of the namespace. */
  podSelector?: LabelSelector;
  /** The directions that the policy isolates. When it is absent: Ingress, and Egress if there are egress rules. */
  policyTypes?: ('Ingress' | 'Egress')[];
  /** Connections to the pods that are allowed; rules add up. */
  ingress?: NetworkPolicyIngressRule[];
  /** Connections from the pods that are allowed; rules add up. */
  egress?: NetworkPolicyEgressRule[];
}

/** Connections to the pods that are allowed. */
export interface NetworkPolicyIngressRule {
  /** Who may connect. An absent or empty list means everyone. */
  from?: NetworkPolicyPeer[];
  /** On which ports. An absent or empty list means all ports. */
  ports?: NetworkPolicyPort[];
}

/** Connections from the pods that are allowed. */
export interface NetworkPolicyEgressRule {
  /** Where the pods may connect to. An absent or empty list means everywhere. */
  to?: NetworkPolicyPeer[];
  /** On which ports. An absent or empty list means all ports. */
  ports?: NetworkPolicyPort[];
}

/** What the operator last saw. Its size does not grow with the cluster. */
export interface BaselinePolicyStatus {
  /** The generation of the BaselinePolicy that the status is about. */
  observedGeneration?: number;
  /** Ready always; Reconciling and Stalled only while they are true. */
  conditions?: Condition[];
  /** How many namespaces are in which state. */
  namespaces?: NamespaceCounts;
  /** How many children there are. */
  networkPolicies?: NetworkPolicyCounts;
  /** What others did to children that were right. */
  drift?: DriftStatus;
  /** What Enforce would do; only in mode Audit. */
  audit?: AuditStatus;
  /** Children that could not be written, at most 20 of them. */
  failures?: NamespaceFailure[];
  /** How many failures there are beside those listed. */
  moreFailures?: number;
}

/** One aspect of the state of the BaselinePolicy. */
export interface Condition {
  /** The aspect, such as Ready. */
  type: string;
  /** Whether it is so. */
  status: 'True' | 'False' | 'Unknown';
  /** The generation of the BaselinePolicy that the condition is about. */
  observedGeneration?: number;
  /** When status last changed. */
  lastTransitionTime: string;
  /** Why, in one word for programs. */
  reason: string;
  /** Why, in words for people. */
  message: string;
}

/** How many namespaces are in which state. */
export interface NamespaceCounts {
  /** Namespaces that the policy selects. */
  selected: number;
  /** Selected namespaces that have every child as desired. */
  compliant: number;
  /** Selected namespaces with a child that somebody changed or removed, and that is not healed now. */
  drifted: number;
  /** Selected namespaces with a child that could not be written. */
  failed: number;
  /** Selected namespaces that still wait for a child. */
  pending: number;
}

/** How many children there are. */
export interface NetworkPolicyCounts {
  /** Children that the policy wants. */
  desired: number;
  /** Children that exist. */
  current: number;
}

/** What others did to children that were right. */
export interface DriftStatus {
  /** Drifts seen since the BaselinePolicy was created. */
  detectedTotal: number;
  /** Drifts healed since the BaselinePolicy was created. */
  healedTotal: number;
  /** When drift was last seen. */
  lastDetectedTime?: string;
}

/** What Enforce would do; only in mode Audit. */
export interface AuditStatus {
  /** Children that it would create. */
  create: number;
  /** Children that it would change. */
  update: number;
  /** Children that it would delete. */
  delete: number;
}

/** A child that could not be brought to its desired state. */
export interface NamespaceFailure {
  /** Name of the namespace. */
  namespace: string;
  /** The rule or additional policy that makes the child. */
  rule: string;
  /** Why, in one word for programs. */
  reason: string;
  /** Why, in words for people. */
  message: string;
}
