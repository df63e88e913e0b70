package controller

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"baseline-policy-operator/hack/bench/peers/api/v1alpha1"
)

const (
	ruleDefaultDeny        = "default-deny"
	ruleAllowDNS           = "allow-dns"
	ruleAllowMonitoring    = "allow-monitoring"
	ruleAllowSameNamespace = "allow-same-namespace"

	// nodeLocalDNSCIDR is the address that NodeLocal DNSCache listens on by default.
	nodeLocalDNSCIDR = "169.254.20.10/32"
)

// child is a NetworkPolicy that a BaselinePolicy wants in each selected namespace.
type child struct {
	rule string
	spec networkingv1.NetworkPolicySpec
}

// childrenOf returns what a BaselinePolicy wants, in the order in which it is to be created: default-deny last, so that
// no pod is cut off from what the other rules allow. All specs have every default of the API server written out;
// CreateOrUpdate would take a missing one for a difference and write for ever.
func childrenOf(policy *v1alpha1.BaselinePolicy) []child {
	rules := &policy.Spec.Rules
	var children []child
	if ptr.Deref(rules.AllowDNS.Enabled, true) {
		children = append(children, child{ruleAllowDNS, allowDNS(&rules.AllowDNS)})
	}
	if ptr.Deref(rules.AllowMonitoring.Enabled, true) {
		children = append(children, child{ruleAllowMonitoring, allowMonitoring(&rules.AllowMonitoring)})
	}
	if ptr.Deref(rules.AllowSameNamespace.Enabled, false) {
		children = append(children, child{ruleAllowSameNamespace, allowSameNamespace()})
	}
	if ptr.Deref(rules.DefaultDeny.Enabled, true) {
		children = append(children, child{ruleDefaultDeny, defaultDeny(&rules.DefaultDeny)})
	}
	return children
}

// defaultDeny selects all pods and allows nothing.
func defaultDeny(rule *v1alpha1.DefaultDenyRule) networkingv1.NetworkPolicySpec {
	types := []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	if len(rule.PolicyTypes) > 0 {
		types = slices.DeleteFunc(types, func(policyType networkingv1.PolicyType) bool {
			return !slices.Contains(rule.PolicyTypes, policyType)
		})
	}
	return networkingv1.NetworkPolicySpec{PolicyTypes: types}
}

// allowDNS lets all pods ask DNS, by UDP and by TCP.
func allowDNS(rule *v1alpha1.AllowDNSRule) networkingv1.NetworkPolicySpec {
	targets := rule.Targets
	if targets == nil {
		targets = []v1alpha1.DNSTarget{v1alpha1.DNSTargetKubeDNS, v1alpha1.DNSTargetNodeLocalDNS}
	}
	spec := networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}}
	for _, target := range targets {
		switch target {
		case v1alpha1.DNSTargetKubeDNS:
			spec.Egress = append(spec.Egress, networkingv1.NetworkPolicyEgressRule{
				To:    []networkingv1.NetworkPolicyPeer{kubeSystemPods("kube-dns")},
				Ports: dnsPorts(),
			})
		case v1alpha1.DNSTargetNodeLocalDNS:
			spec.Egress = append(spec.Egress, networkingv1.NetworkPolicyEgressRule{
				To: []networkingv1.NetworkPolicyPeer{
					kubeSystemPods("node-local-dns"),
					{IPBlock: &networkingv1.IPBlock{CIDR: nodeLocalDNSCIDR}},
				},
				Ports: dnsPorts(),
			})
		}
	}
	return spec
}

// allowMonitoring lets the namespace monitoring, or the given peers, reach all pods.
func allowMonitoring(rule *v1alpha1.AllowMonitoringRule) networkingv1.NetworkPolicySpec {
	from := rule.From
	if len(from) == 0 {
		from = []networkingv1.NetworkPolicyPeer{{NamespaceSelector: namespaceNamed("monitoring")}}
	}
	ports := slices.Clone(rule.Ports)
	for i := range ports {
		if ports[i].Protocol == nil {
			ports[i].Protocol = ptr.To(corev1.ProtocolTCP)
		}
	}
	return networkingv1.NetworkPolicySpec{
		Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: from, Ports: ports}},
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
	}
}

// allowSameNamespace lets all pods of a namespace reach each other.
func allowSameNamespace() networkingv1.NetworkPolicySpec {
	allPods := []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}
	return networkingv1.NetworkPolicySpec{
		Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: allPods}},
		Egress:      []networkingv1.NetworkPolicyEgressRule{{To: allPods}},
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
	}
}

func kubeSystemPods(app string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{
		PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"k8s-app": app}},
		NamespaceSelector: namespaceNamed(metav1.NamespaceSystem),
	}
}

func namespaceNamed(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: name}}
}

func dnsPorts() []networkingv1.NetworkPolicyPort {
	return []networkingv1.NetworkPolicyPort{
		{Protocol: ptr.To(corev1.ProtocolUDP), Port: ptr.To(intstr.FromInt32(53))},
		{Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To(intstr.FromInt32(53))},
	}
}
