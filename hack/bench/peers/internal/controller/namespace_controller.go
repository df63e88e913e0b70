// Package controller keeps the NetworkPolicies of BaselinePolicies in the namespaces that they select.
package controller

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"baseline-policy-operator/hack/bench/peers/api/v1alpha1"
)

const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelPolicy    = "baselinepolicy.dev/policy"
	labelRule      = "baselinepolicy.dev/rule"

	manager = "baseline-policy-operator"
)

// protectedNamespaces never get a baseline, whatever the selector.
var protectedNamespaces = sets.New(metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease)

// NamespaceReconciler keeps in a Namespace the NetworkPolicies that the BaselinePolicies which select it want.
//
// It does not write the status of BaselinePolicies. In a comparison that is to its favour.
type NamespaceReconciler struct {
	client.Client
	Scheme *runtime.Scheme
}

// WatchedObjects are the kinds that the reconciler watches, and so reads from the cache.
func WatchedObjects() []client.Object {
	return []client.Object{&corev1.Namespace{}, &networkingv1.NetworkPolicy{}, &v1alpha1.BaselinePolicy{}}
}

// SetupWithManager adds the controller to the manager.
func (r *NamespaceReconciler) SetupWithManager(mgr ctrl.Manager, maxConcurrentReconciles int) error {
	return ctrl.NewControllerManagedBy(mgr).
		For(&corev1.Namespace{}).
		Watches(&networkingv1.NetworkPolicy{}, handler.EnqueueRequestsFromMapFunc(namespaceOfChild)).
		Watches(
			&v1alpha1.BaselinePolicy{},
			handler.EnqueueRequestsFromMapFunc(r.selectedNamespaces),
			builder.WithPredicates(predicate.GenerationChangedPredicate{}),
		).
		WithOptions(controller.Options{MaxConcurrentReconciles: maxConcurrentReconciles}).
		Complete(r)
}

// Reconcile creates, mends and deletes NetworkPolicies until the namespace has those that it should have.
func (r *NamespaceReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var namespace corev1.Namespace
	if err := r.Get(ctx, req.NamespacedName, &namespace); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !namespace.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}

	var policies v1alpha1.BaselinePolicyList
	if err := r.List(ctx, &policies); err != nil {
		return ctrl.Result{}, fmt.Errorf("listing BaselinePolicies: %w", err)
	}
	wanted := sets.New[string]()
	for i := range policies.Items {
		policy := &policies.Items[i]
		selected, err := selects(policy, &namespace)
		if err != nil {
			return ctrl.Result{}, err
		}
		if !selected {
			continue
		}
		for _, child := range childrenOf(policy) {
			name := policy.Name + "." + child.rule
			wanted.Insert(name)
			if err := r.apply(ctx, policy, namespace.Name, name, child); err != nil {
				return ctrl.Result{}, fmt.Errorf("applying NetworkPolicy %s: %w", name, err)
			}
		}
	}
	return ctrl.Result{}, r.deleteUnwanted(ctx, namespace.Name, wanted)
}

func (r *NamespaceReconciler) apply(
	ctx context.Context, policy *v1alpha1.BaselinePolicy, namespace, name string, wanted child,
) error {
	networkPolicy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	result, err := controllerutil.CreateOrUpdate(ctx, r.Client, networkPolicy, func() error {
		metav1.SetMetaDataLabel(&networkPolicy.ObjectMeta, labelManagedBy, manager)
		metav1.SetMetaDataLabel(&networkPolicy.ObjectMeta, labelPolicy, policy.Name)
		metav1.SetMetaDataLabel(&networkPolicy.ObjectMeta, labelRule, wanted.rule)
		networkPolicy.Spec = wanted.spec
		return controllerutil.SetControllerReference(policy, networkPolicy, r.Scheme)
	})
	if err != nil {
		return err
	}
	if result != controllerutil.OperationResultNone {
		logf.FromContext(ctx).Info("Wrote NetworkPolicy", "name", name, "result", result)
	}
	return nil
}

// deleteUnwanted deletes the children in a namespace that no BaselinePolicy wants there any more, default-deny first:
// a pod must not be cut off from what the others allow.
func (r *NamespaceReconciler) deleteUnwanted(ctx context.Context, namespace string, wanted sets.Set[string]) error {
	var networkPolicies networkingv1.NetworkPolicyList
	err := r.List(ctx, &networkPolicies, client.InNamespace(namespace), client.MatchingLabels{labelManagedBy: manager})
	if err != nil {
		return fmt.Errorf("listing NetworkPolicies: %w", err)
	}
	unwanted := slices.DeleteFunc(networkPolicies.Items, func(networkPolicy networkingv1.NetworkPolicy) bool {
		return wanted.Has(networkPolicy.Name) || !isChild(&networkPolicy)
	})
	slices.SortStableFunc(unwanted, func(a, b networkingv1.NetworkPolicy) int {
		return cmp.Compare(removalOrder(&a), removalOrder(&b))
	})
	for i := range unwanted {
		networkPolicy := &unwanted[i]
		err := r.Delete(ctx, networkPolicy, client.Preconditions{UID: &networkPolicy.UID})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting NetworkPolicy %s: %w", networkPolicy.Name, err)
		}
		logf.FromContext(ctx).Info("Deleted NetworkPolicy", "name", networkPolicy.Name)
	}
	return nil
}

// selectedNamespaces maps a BaselinePolicy to the namespaces that it selects. An update maps the old and the new one,
// so namespaces that have just left the selection are among them.
func (r *NamespaceReconciler) selectedNamespaces(ctx context.Context, obj client.Object) []reconcile.Request {
	policy, ok := obj.(*v1alpha1.BaselinePolicy)
	if !ok {
		return nil
	}
	selector, err := metav1.LabelSelectorAsSelector(policy.Spec.NamespaceSelector)
	if err != nil {
		logf.FromContext(ctx).Error(err, "Invalid namespaceSelector", "policy", policy.Name)
		return nil
	}
	var namespaces corev1.NamespaceList
	if err := r.List(ctx, &namespaces, client.MatchingLabelsSelector{Selector: selector}); err != nil {
		logf.FromContext(ctx).Error(err, "Failed to list Namespaces", "policy", policy.Name)
		return nil
	}
	requests := make([]reconcile.Request, 0, len(namespaces.Items))
	for i := range namespaces.Items {
		requests = append(requests, requestFor(namespaces.Items[i].Name))
	}
	return requests
}

// namespaceOfChild maps a child to its namespace. An update maps the old and the new one, so a child that has just lost
// its labels or its owner is still found.
func namespaceOfChild(_ context.Context, obj client.Object) []reconcile.Request {
	if obj.GetLabels()[labelManagedBy] != manager && !isChild(obj) {
		return nil
	}
	return []reconcile.Request{requestFor(obj.GetNamespace())}
}

// isChild tells whether a BaselinePolicy controls the object.
func isChild(obj metav1.Object) bool {
	owner := metav1.GetControllerOfNoCopy(obj)
	return owner != nil && owner.Kind == "BaselinePolicy" && owner.APIVersion == v1alpha1.GroupVersion.String()
}

func removalOrder(networkPolicy *networkingv1.NetworkPolicy) int {
	if networkPolicy.Labels[labelRule] == ruleDefaultDeny {
		return 0
	}
	return 1
}

func selects(policy *v1alpha1.BaselinePolicy, namespace *corev1.Namespace) (bool, error) {
	if !policy.DeletionTimestamp.IsZero() ||
		protectedNamespaces.Has(namespace.Name) ||
		slices.Contains(policy.Spec.ExcludedNamespaces, namespace.Name) {
		return false, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(policy.Spec.NamespaceSelector)
	if err != nil {
		return false, reconcile.TerminalError(fmt.Errorf("namespaceSelector of BaselinePolicy %s: %w", policy.Name, err))
	}
	return selector.Matches(labels.Set(namespace.Labels)), nil
}

func requestFor(namespace string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Name: namespace}}
}
