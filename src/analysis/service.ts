import type { Service, Workload } from './cluster.ts';

/** Name of a Service in sentences: `namespace/name`. */
export function serviceName({ namespace, name }: Service): string {
  return `${namespace}/${name}`;
}

/** Whether a Service sends traffic to the pods of a workload. Endpoints that are made by hand are not known here. */
export function isBehind({ namespace, selector }: Service, workload: Workload): boolean {
  const labels = Object.entries(selector ?? {});
  return (
    labels.length > 0 &&
    namespace === workload.namespace &&
    labels.every(([key, value]) => Object.hasOwn(workload.labels, key) && workload.labels[key] === value)
  );
}

/**
 * Whether a Service lets in traffic from outside the cluster whose source it may replace by a node's address.
 *
 * Source: https://kubernetes.io/docs/tutorials/services/source-ip/
 */
export function rewritesSources({ type, externalIPs = [], externalTrafficPolicy }: Service): boolean {
  const isOpen = type === 'NodePort' || type === 'LoadBalancer' || externalIPs.length > 0;
  return isOpen && externalTrafficPolicy !== 'Local';
}
