import { LABEL_NAMESPACE_NAME } from '../api/names.ts';
import type { NetworkPolicy } from '../api/networkpolicy.ts';
import type { Labels } from '../policy/selector.ts';
import type { Protocol } from './port-set.ts';

/** A port of a container that has a name, which rules may use in place of the number. */
export interface NamedPort {
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
}

/** Pods that one controller makes from one template, or a single Pod: for policies they are all alike. */
export interface Workload {
  readonly namespace: string;
  readonly name: string;
  /** Kind of the controller (`Deployment`, `StatefulSet`, …), or `Pod` for a pod without one. */
  readonly kind: string;
  /** Labels of the pods. */
  readonly labels: Labels;
  /** Named ports of the pods' containers. */
  readonly ports: readonly NamedPort[];
  readonly hostNetwork: boolean;
  /** Addresses of the pods (of their nodes, with hostNetwork), where they are known. */
  readonly ips?: readonly string[];
}

/** The part of a Service that decides whether it changes the addresses that policies see. */
export interface Service {
  readonly namespace: string;
  readonly name: string;
  /** Labels of the pods behind the Service; absent when its endpoints are made by hand. */
  readonly selector?: Labels;
  readonly type?: 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalName';
  readonly clusterIPs?: readonly string[];
  readonly externalIPs?: readonly string[];
  readonly externalTrafficPolicy?: 'Cluster' | 'Local';
}

/** All that decides what NetworkPolicies allow. */
export interface Cluster {
  /** Labels of the Namespaces that are known, by name. */
  readonly namespaces: ReadonlyMap<string, Labels>;
  /** No two of one namespace, name and kind. */
  readonly workloads: readonly Workload[];
  /** NetworkPolicies as they are on the wire; without `metadata.namespace` they belong to `default`. */
  readonly policies: readonly NetworkPolicy[];
  /** Services, where they are known: without them no address is taken to be rewritten. */
  readonly services?: readonly Service[];
  /** The only namespace whose objects could be read: others may have any; absent when those of all could. */
  readonly confinedTo?: string;
}

/** Name of a workload in every output: `namespace/name[Kind]`. */
export function workloadName(workload: Pick<Workload, 'namespace' | 'name' | 'kind'>): string {
  return `${workload.namespace}/${workload.name}[${workload.kind}]`;
}

/** Namespace of a policy. */
export function policyNamespace(policy: NetworkPolicy): string {
  return policy.metadata.namespace ?? 'default';
}

/**
 * Labels of a namespace as selectors see them. A namespace that no object gives has only its name, which the API
 * server puts on every Namespace, whatever its manifest says.
 *
 * Source: https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name
 */
export function namespaceLabels(cluster: Cluster, namespace: string): Labels {
  return { ...cluster.namespaces.get(namespace), [LABEL_NAMESPACE_NAME]: namespace };
}

/** Orders texts by their code units: the same everywhere, unlike an order of a locale. */
export function compareText(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
