#!/bin/sh
# The cluster of `make kind`: a kind cluster with the operator, from the image that the checkout makes.
#
#   hack/kind/cluster.sh up      creates it unless it is there, builds the image, brings it in, installs the operator
#   hack/kind/cluster.sh e2e     the same, and then runs the end-to-end tests on it
#   hack/kind/cluster.sh down    deletes it
#
# CLUSTER names another cluster, IMG another image, KUBECTL another kubectl; NODE_IMAGE another image of the node, which
# has another version of Kubernetes. A kind on the PATH is used if its network plugin enforces NetworkPolicies; else one
# is built.
set -eu
cd "$(dirname "$0")/../.."
cluster=${CLUSTER:-baseline}
kubectl=${KUBECTL:-kubectl}

fail() {
  echo "kind: $1" >&2
  exit 1
}

# Prints the path of a kind of version 0.24 or later.
find_kind() {
  if command -v kind >/dev/null; then
    version=$(kind version -q)
    minor=${version#*.}
    minor=${minor%%.*}
    if [ "${version%%.*}" -gt 0 ] || [ "$minor" -ge 24 ]; then
      command -v kind
      return
    fi
    echo "kind: the kind on the PATH is $version, whose network plugin enforces no NetworkPolicies (0.24 does)" >&2
  fi
  hack/tools/build.sh kind && echo bin/tools/kind
}

command -v docker >/dev/null || fail 'expected docker, in which kind runs the cluster, found none: https://docs.docker.com/get-docker'
docker info >/dev/null 2>&1 || fail 'docker is installed, but its daemon does not answer (docker info); start it, or ask for the right to use it'

case ${1-} in
  up | e2e) ;;
  down)
    exec "$(find_kind)" delete cluster --name "$cluster"
    ;;
  *)
    echo "kind: expected up, e2e or down, got ${1-nothing}" >&2
    exit 2
    ;;
esac

command -v "$kubectl" >/dev/null || fail "expected kubectl to install the operator, found none: https://kubernetes.io/docs/tasks/tools"
image=${IMG:-baseline-policy-operator:$(make --silent version)}
kind=$(find_kind)
if ! "$kind" get clusters 2>/dev/null | grep -qx "$cluster"; then
  "$kind" create cluster --name "$cluster" --config hack/kind/cluster.yaml ${NODE_IMAGE:+--image "$NODE_IMAGE"} --wait 3m
fi
make image IMG="$image"
"$kind" load docker-image "$image" --name "$cluster"

# Of this cluster alone: whatever the current context is, nothing is installed elsewhere.
kubeconfig=$(mktemp)
trap 'rm -f "$kubeconfig"' EXIT
"$kind" get kubeconfig --name "$cluster" >"$kubeconfig"
export KUBECONFIG="$kubeconfig"
deployed=$("$kubectl" -n baseline-policy-system get deployment/baseline-policy-operator --ignore-not-found --output=name)
make deploy IMG="$image" KUBECTL="$kubectl"
# The image can be a new one under the same name, which pods that are there do not know.
[ -z "$deployed" ] || "$kubectl" -n baseline-policy-system rollout restart "$deployed"
"$kubectl" -n baseline-policy-system rollout status deployment/baseline-policy-operator --timeout=3m

if [ "$1" = e2e ]; then
  ENFORCED=true make e2e IMG="$image"
  exit
fi

cat <<EOF

The operator runs in the cluster of the context kind-$cluster. docs/install.md goes on from here; or try the samples:

  kubectl --context kind-$cluster apply --server-side -f config/samples
  kubectl --context kind-$cluster get blp,networkpolicies -A

To delete the cluster: make kind-down
EOF
