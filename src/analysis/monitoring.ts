import { LABEL_NAMESPACE_NAME, LABEL_RULE } from '../api/names.ts';
import type { NetworkPolicy } from '../api/networkpolicy.ts';
import type { Labels } from '../policy/selector.ts';
import { compareText, policyNamespace } from './cluster.ts';
import type { Endpoint } from './evaluate.ts';
import { exampleLabels, examplePod } from './example-pod.ts';
import type { Model } from './model.ts';
import type { Peer, PodPeer, Policy, Rule } from './policy.ts';

/** Parts of the names by which people know what watches a cluster. */
const MONITORING = /(^|[-.])(monitoring|prometheus|observability|metrics)([-.]|$)/;

/** Whether a name is that of monitoring, such as `monitoring`, `allow-monitoring` or `kube-prometheus-stack`. */
export function isMonitoringName(name: string): boolean {
  return MONITORING.test(name);
}

/** Whether an ingress rule of a policy is there to let monitoring in: by the policy, or by the namespace of its peers. */
export function isMonitoringRule(policy: Policy, written: NetworkPolicy, { peers = [] }: Rule): boolean {
  const { labels = {} } = written.metadata;
  return (
    isMonitoringName(policy.name) ||
    labels[LABEL_RULE] === 'allow-monitoring' ||
    peers.some((peer) => namedNamespaces(peer).some(isMonitoringName))
  );
}

/** Namespaces that a peer selects by their names. */
export function namedNamespaces(peer: Peer): readonly string[] {
  if (peer.kind === 'block') return [];
  const { namespaces } = peer;
  if (typeof namespaces === 'string') return [namespaces];
  const name = namespaces.matchLabels?.[LABEL_NAMESPACE_NAME];
  if (name !== undefined) return [name];
  const wanted = namespaces.matchExpressions?.find(
    ({ key, operator }) => key === LABEL_NAMESPACE_NAME && operator === 'In',
  );
  return wanted?.values ?? [];
}

/** Namespaces of monitoring in any of the models: those that are named so, and those that rules for monitoring name. */
export function monitoringNamespaces(models: readonly Model[]): string[] {
  const known = models.flatMap(({ cluster, workloads }) => [
    ...cluster.namespaces.keys(),
    ...workloads.map(({ namespace }) => namespace),
  ]);
  const named = models.flatMap(monitoringPeers).flatMap(namedNamespaces);
  return [...new Set([...known.filter(isMonitoringName), ...named])].sort(compareText);
}

/**
 * Monitoring pods of namespaces in which no workload is given before or after, as rules for monitoring would let them
 * in: the same ones for both models.
 */
export function monitoringExamples(
  before: Model,
  after: Model,
  namespaces: readonly string[],
): [before: Endpoint[], after: Endpoint[]] {
  const models = [before, after];
  const given = new Set(models.flatMap(({ workloads }) => workloads.map(({ namespace }) => namespace)));
  const peers = models.flatMap(monitoringPeers);
  const wanted = namespaces
    .filter((namespace) => !given.has(namespace))
    .flatMap((namespace) => {
      const ofPeers = peers.filter((peer) => namedNamespaces(peer).includes(namespace));
      const labels = ofPeers.map(({ pods }) => exampleLabels(pods)).filter((one) => one !== undefined);
      return (labels.length > 0 ? labels : [{}]).map((of): { namespace: string; labels: Labels } => ({
        namespace,
        labels: of,
      }));
    });
  const unique = [...new Map(wanted.map((pod) => [JSON.stringify(pod), pod])).values()];
  const inModel = ({ cluster }: Model): Endpoint[] =>
    unique.map(({ namespace, labels }) => examplePod(cluster, namespace, labels));
  return [inModel(before), inModel(after)];
}

/** Peers of rules for monitoring, in other namespaces than that of the rule. */
function monitoringPeers({ cluster, policies }: Model): PodPeer[] {
  const written = new Map(
    cluster.policies.map((policy) => [`${policyNamespace(policy)}/${policy.metadata.name}`, policy]),
  );
  return policies.flatMap((policy) => {
    const of = written.get(`${policy.namespace}/${policy.name}`);
    if (of === undefined) return [];
    return (policy.rules.Ingress ?? [])
      .filter((rule) => isMonitoringRule(policy, of, rule))
      .flatMap(({ peers = [] }) => peers)
      .filter((peer) => peer.kind === 'pods')
      .filter(({ namespaces }) => typeof namespaces !== 'string');
  });
}
