import type { LabelSelector } from '../api/networkpolicy.ts';
import { matchesSelector, type Labels } from '../policy/selector.ts';
import { namespaceLabels, type Cluster, type NamedPort } from './cluster.ts';
import type { Endpoint } from './evaluate.ts';

/** A pod that is not given, as policies would see it. */
export function examplePod(
  cluster: Cluster,
  namespace: string,
  labels: Labels,
  ports: readonly NamedPort[] = [],
  addresses: Endpoint['addresses'] = [],
): Endpoint {
  return { pod: { namespace, namespaceLabels: namespaceLabels(cluster, namespace), labels }, addresses, ports };
}

/**
 * The fewest labels that a selector matches, to ask what holds for a pod that is not given. Undefined for a selector
 * that contradicts itself.
 */
export function exampleLabels(selector: LabelSelector): Labels | undefined {
  const labels: Record<string, string> = {};
  for (const { key, operator, values = [] } of selector.matchExpressions ?? []) {
    if (operator === 'In') labels[key] = values[0] ?? '';
    if (operator === 'Exists') labels[key] ??= 'true';
  }
  Object.assign(labels, selector.matchLabels);
  return matchesSelector(selector, labels) ? labels : undefined;
}
