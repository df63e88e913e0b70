package v1alpha1

import (
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BaselinePolicySpec says which namespaces get which NetworkPolicies. The API server fills in the defaults of the CRD.
type BaselinePolicySpec struct {
	// NamespaceSelector selects the namespaces that get the baseline.
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// ExcludedNamespaces never get the baseline, whatever their labels.
	ExcludedNamespaces []string `json:"excludedNamespaces,omitempty"`

	// Rules make one NetworkPolicy each, in every selected namespace.
	Rules BaselineRules `json:"rules,omitzero"`
}

// BaselineRules are the rules of a baseline.
type BaselineRules struct {
	DefaultDeny        DefaultDenyRule        `json:"defaultDeny,omitzero"`
	AllowDNS           AllowDNSRule           `json:"allowDNS,omitzero"`
	AllowMonitoring    AllowMonitoringRule    `json:"allowMonitoring,omitzero"`
	AllowSameNamespace AllowSameNamespaceRule `json:"allowSameNamespace,omitzero"`
}

// DefaultDenyRule isolates all pods.
type DefaultDenyRule struct {
	// Enabled defaults to true.
	Enabled *bool `json:"enabled,omitempty"`

	// PolicyTypes are the directions that are denied; both by default.
	PolicyTypes []networkingv1.PolicyType `json:"policyTypes,omitempty"`
}

// DNSTarget is a kind of DNS servers.
type DNSTarget string

const (
	// DNSTargetKubeDNS stands for the pods of CoreDNS or kube-dns in kube-system.
	DNSTargetKubeDNS DNSTarget = "KubeDNS"
	// DNSTargetNodeLocalDNS stands for the NodeLocal DNSCache of each node.
	DNSTargetNodeLocalDNS DNSTarget = "NodeLocalDNS"
)

// AllowDNSRule lets all pods resolve names.
type AllowDNSRule struct {
	// Enabled defaults to true.
	Enabled *bool `json:"enabled,omitempty"`

	// Targets default to KubeDNS and NodeLocalDNS.
	Targets []DNSTarget `json:"targets,omitempty"`
}

// AllowMonitoringRule lets monitoring reach all pods.
type AllowMonitoringRule struct {
	// Enabled defaults to true.
	Enabled *bool `json:"enabled,omitempty"`

	// From defaults to the namespace monitoring.
	From []networkingv1.NetworkPolicyPeer `json:"from,omitempty"`

	// Ports default to all.
	Ports []networkingv1.NetworkPolicyPort `json:"ports,omitempty"`
}

// AllowSameNamespaceRule lets all pods of a namespace reach each other.
type AllowSameNamespaceRule struct {
	// Enabled defaults to false.
	Enabled *bool `json:"enabled,omitempty"`
}

// BaselinePolicy is a baseline of NetworkPolicies that is kept in every selected namespace.
//
// The status is left out: this operator neither reads nor writes it.
type BaselinePolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec BaselinePolicySpec `json:"spec"`
}

// BaselinePolicyList is a list of BaselinePolicies.
type BaselinePolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []BaselinePolicy `json:"items"`
}
