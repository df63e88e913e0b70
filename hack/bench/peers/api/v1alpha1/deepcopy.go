package v1alpha1

import (
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// DeepCopyInto copies the receiver into out.
func (in *BaselinePolicySpec) DeepCopyInto(out *BaselinePolicySpec) {
	*out = *in
	out.NamespaceSelector = in.NamespaceSelector.DeepCopy()
	out.ExcludedNamespaces = slices.Clone(in.ExcludedNamespaces)
	in.Rules.DeepCopyInto(&out.Rules)
}

// DeepCopyInto copies the receiver into out.
func (in *BaselineRules) DeepCopyInto(out *BaselineRules) {
	out.DefaultDeny = DefaultDenyRule{
		Enabled:     copyBool(in.DefaultDeny.Enabled),
		PolicyTypes: slices.Clone(in.DefaultDeny.PolicyTypes),
	}
	out.AllowDNS = AllowDNSRule{
		Enabled: copyBool(in.AllowDNS.Enabled),
		Targets: slices.Clone(in.AllowDNS.Targets),
	}
	in.AllowMonitoring.DeepCopyInto(&out.AllowMonitoring)
	out.AllowSameNamespace = AllowSameNamespaceRule{Enabled: copyBool(in.AllowSameNamespace.Enabled)}
}

// DeepCopyInto copies the receiver into out.
func (in *AllowMonitoringRule) DeepCopyInto(out *AllowMonitoringRule) {
	*out = AllowMonitoringRule{Enabled: copyBool(in.Enabled)}
	if in.From != nil {
		out.From = make([]networkingv1.NetworkPolicyPeer, len(in.From))
		for i := range in.From {
			in.From[i].DeepCopyInto(&out.From[i])
		}
	}
	if in.Ports != nil {
		out.Ports = make([]networkingv1.NetworkPolicyPort, len(in.Ports))
		for i := range in.Ports {
			in.Ports[i].DeepCopyInto(&out.Ports[i])
		}
	}
}

// DeepCopyInto copies the receiver into out.
func (in *BaselinePolicy) DeepCopyInto(out *BaselinePolicy) {
	out.TypeMeta = in.TypeMeta
	in.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	in.Spec.DeepCopyInto(&out.Spec)
}

// DeepCopy returns a copy of the receiver.
func (in *BaselinePolicy) DeepCopy() *BaselinePolicy {
	if in == nil {
		return nil
	}
	out := new(BaselinePolicy)
	in.DeepCopyInto(out)
	return out
}

// DeepCopyObject returns a copy of the receiver.
func (in *BaselinePolicy) DeepCopyObject() runtime.Object {
	if out := in.DeepCopy(); out != nil {
		return out
	}
	return nil
}

// DeepCopyInto copies the receiver into out.
func (in *BaselinePolicyList) DeepCopyInto(out *BaselinePolicyList) {
	out.TypeMeta = in.TypeMeta
	in.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = nil
	if in.Items != nil {
		out.Items = make([]BaselinePolicy, len(in.Items))
		for i := range in.Items {
			in.Items[i].DeepCopyInto(&out.Items[i])
		}
	}
}

// DeepCopy returns a copy of the receiver.
func (in *BaselinePolicyList) DeepCopy() *BaselinePolicyList {
	if in == nil {
		return nil
	}
	out := new(BaselinePolicyList)
	in.DeepCopyInto(out)
	return out
}

// DeepCopyObject returns a copy of the receiver.
func (in *BaselinePolicyList) DeepCopyObject() runtime.Object {
	if out := in.DeepCopy(); out != nil {
		return out
	}
	return nil
}

func copyBool(in *bool) *bool {
	if in == nil {
		return nil
	}
	out := *in
	return &out
}
