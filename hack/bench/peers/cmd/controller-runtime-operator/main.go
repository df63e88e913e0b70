// The command controller-runtime-operator keeps the NetworkPolicies of BaselinePolicies, as an operator that is built
// on controller-runtime the usual way would. It exists to be measured.
package main

import (
	"context"
	"errors"
	"flag"
	"net/http"
	"os"

	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"baseline-policy-operator/hack/bench/peers/api/v1alpha1"
	"baseline-policy-operator/hack/bench/peers/internal/controller"
)

var (
	scheme   = runtime.NewScheme()
	setupLog = ctrl.Log.WithName("setup")
)

func init() {
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
}

func main() {
	var metricsAddr, probeAddr, leaderElectionNamespace string
	var enableLeaderElection bool
	var maxConcurrentReconciles, burst int
	var qps float64
	flag.StringVar(&metricsAddr, "metrics-bind-address", "0", "Address of the metrics endpoint; 0 for none.")
	flag.StringVar(&probeAddr, "health-probe-bind-address", "0", "Address of /healthz and /readyz; 0 for none.")
	flag.BoolVar(&enableLeaderElection, "leader-elect", false, "Reconcile only while holding a Lease.")
	flag.StringVar(&leaderElectionNamespace, "leader-election-namespace", "",
		"Namespace of the Lease; needed only outside a cluster.")
	flag.IntVar(&maxConcurrentReconciles, "max-concurrent-reconciles", 1, "Reconciles at a time.")
	flag.Float64Var(&qps, "kube-api-qps", -1,
		"Requests a second to the API server; negative for no limit, which is controller-runtime's default.")
	flag.IntVar(&burst, "kube-api-burst", 0, "Requests at once beyond kube-api-qps; 0 for client-go's default.")
	// An error is one line: most are of reconciles that ran ahead of the cache and succeed when they are tried again.
	logOptions := zap.Options{Level: zapcore.ErrorLevel, StacktraceLevel: zapcore.PanicLevel}
	logOptions.BindFlags(flag.CommandLine)
	flag.Parse()

	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&logOptions)))

	config := ctrl.GetConfigOrDie()
	config.QPS = float32(qps)
	config.Burst = burst

	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                  scheme,
		Metrics:                 metricsserver.Options{BindAddress: metricsAddr},
		HealthProbeBindAddress:  probeAddr,
		LeaderElection:          enableLeaderElection,
		LeaderElectionID:        "controller-runtime-operator.baselinepolicy.dev",
		LeaderElectionNamespace: leaderElectionNamespace,
		// The program ends as soon as the manager does.
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		setupLog.Error(err, "Failed to create manager")
		os.Exit(1)
	}

	reconciler := &controller.NamespaceReconciler{Client: mgr.GetClient(), Scheme: mgr.GetScheme()}
	if err := reconciler.SetupWithManager(mgr, maxConcurrentReconciles); err != nil {
		setupLog.Error(err, "Failed to create controller", "controller", "namespace")
		os.Exit(1)
	}

	ctx := ctrl.SetupSignalHandler()
	synced, err := cachesSynced(ctx, mgr.GetCache())
	if err != nil {
		setupLog.Error(err, "Failed to set up caches")
		os.Exit(1)
	}
	if err := mgr.AddHealthzCheck("healthz", healthz.Ping); err != nil {
		setupLog.Error(err, "Failed to set up health check")
		os.Exit(1)
	}
	if err := mgr.AddReadyzCheck("caches", synced); err != nil {
		setupLog.Error(err, "Failed to set up ready check")
		os.Exit(1)
	}

	setupLog.Info("Starting manager")
	if err := mgr.Start(ctx); err != nil {
		setupLog.Error(err, "Failed to run manager")
		os.Exit(1)
	}
}

// cachesSynced returns a check that fails until all caches which the controller reads have had their initial list.
// Asking for the informers before the manager starts makes it start them, whoever leads.
func cachesSynced(ctx context.Context, informers cache.Informers) (healthz.Checker, error) {
	var watched []cache.Informer
	for _, obj := range controller.WatchedObjects() {
		informer, err := informers.GetInformer(ctx, obj)
		if err != nil {
			return nil, err
		}
		watched = append(watched, informer)
	}
	return func(*http.Request) error {
		for _, informer := range watched {
			if !informer.HasSynced() {
				return errors.New("caches have not synced yet")
			}
		}
		return nil
	}, nil
}
