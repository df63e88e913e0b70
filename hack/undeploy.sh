#!/bin/sh
# Removes what config/default has installed.
#
#   hack/undeploy.sh [keep]    the NetworkPolicies that the operator made stay, without owner: namespaces stay closed
#   hack/undeploy.sh delete    BaselinePolicies are deleted first, and take theirs along, unless they say Orphan
#
# The operator must run: it releases or deletes the NetworkPolicies. KUBECTL names another kubectl.
set -eu
cd "$(dirname "$0")/.."
kubectl=${KUBECTL:-kubectl}
timeout=${TIMEOUT:-5m}
definition=baselinepolicies.baselinepolicy.dev
made='app.kubernetes.io/managed-by=baseline-policy-operator'

fail() {
  echo "undeploy: $1" >&2
  echo 'undeploy: does the operator run? It has to take its finalizer off the BaselinePolicies; start it and try again.' >&2
  exit 1
}

case ${1-keep} in
  keep) ;;
  delete)
    if $kubectl get crd "$definition" -o name >/dev/null 2>&1; then
      $kubectl delete "$definition" --all --timeout="$timeout" || fail 'the BaselinePolicies are still there'
    fi
    ;;
  *)
    echo "undeploy: expected keep or delete, got $1" >&2
    exit 2
    ;;
esac

# While the definition goes, the operator keeps all that it made. It can do so only as long as it is there itself, so
# nothing else goes before. After this nothing is left that the garbage collector could take along.
$kubectl delete crd "$definition" --ignore-not-found --timeout="$timeout" || fail 'the definition is still there'
$kubectl delete -k config/default --ignore-not-found --timeout="$timeout"

left=$($kubectl get networkpolicies -A -l "$made" -o name | wc -l)
if [ "$left" -gt 0 ]; then
  echo "$((left)) NetworkPolicies of the operator stay in force. To open their namespaces:"
  echo "  kubectl delete networkpolicies -A -l $made"
fi
