import type { BaselinePolicy } from '../../api/baselinepolicy.ts';
import type { KubernetesObject } from '../../api/metadata.ts';
import type { NetworkPolicy } from '../../api/networkpolicy.ts';
import type { Service as ModelService } from '../../analysis/cluster.ts';
import type { Protocol } from '../../analysis/port-set.ts';
import type { FieldPath } from './documents.ts';

/** The part of a pod's spec that NetworkPolicies depend on. */
export interface PodSpec {
  hostNetwork?: boolean;
  containers?: Container[];
  initContainers?: Container[];
}

/** A container with the ports that it declares. */
export interface Container {
  ports?: { name?: string; containerPort?: number; protocol?: Protocol }[];
  restartPolicy?: string;
}

/** A core/v1 Pod. */
export interface Pod extends KubernetesObject {
  spec?: PodSpec;
  status?: { phase?: string; podIP?: string; podIPs?: { ip: string }[] };
}

/** What a controller makes pods from. */
export interface PodTemplate {
  metadata?: { labels?: Record<string, string> };
  spec?: PodSpec;
}

/** A controller of pods: Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, CronJob, ReplicationController. */
export interface Controller extends KubernetesObject {
  spec?: { template?: PodTemplate; jobTemplate?: { spec?: { template?: PodTemplate } } };
}

/** A core/v1 Service. */
export interface Service extends KubernetesObject {
  spec?: Omit<ModelService, 'namespace' | 'name'> & { clusterIP?: string };
}

/** A discovery.k8s.io/v1 EndpointSlice. */
export interface EndpointSlice extends KubernetesObject {
  endpoints?: { addresses: string[]; conditions?: { ready?: boolean } }[] | null;
  ports?: { protocol?: Protocol; port?: number }[] | null;
}

/** A core/v1 Namespace. */
export type Namespace = KubernetesObject;

/** Kinds of controllers. */
export const CONTROLLER_KINDS = [
  'Deployment',
  'ReplicaSet',
  'StatefulSet',
  'DaemonSet',
  'Job',
  'CronJob',
  'ReplicationController',
] as const;

/** Objects that were read, from files or from a cluster, as they are on the wire. */
export interface ObjectSet {
  readonly namespaces: Namespace[];
  readonly pods: Pod[];
  /** Each with its kind. */
  readonly controllers: Controller[];
  readonly services: Service[];
  readonly networkPolicies: NetworkPolicy[];
  readonly baselinePolicies: BaselinePolicy[];
  /** Of the Service default/kubernetes; only from a cluster. */
  readonly apiServerSlices: EndpointSlice[];
  /** Policies that decide about connections too, and that are not modelled: kind and name. */
  readonly notModelled: string[];
  /** Where each object is in files, by objectId; empty for a cluster. */
  readonly places: Map<string, Place>;
  /** The only namespace of a cluster whose objects could be read; absent when those of all could. */
  readonly confinedTo?: string;
  /** Whether the labels of that namespace could not be read, but the one with its name. */
  readonly hasUnreadLabels?: boolean;
}

/** Where an object is. */
export interface Place {
  readonly file: string;
  /** Line of one of its fields, counted from 1. */
  readonly lineOf: (path: FieldPath) => number;
}

/** Text that names an object among all: `Kind namespace/name`, or `Kind name`. */
export function objectId(kind: string, namespace: string | undefined, name: string): string {
  return `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`;
}

/** No objects. */
export function emptyObjectSet(): ObjectSet {
  return {
    namespaces: [],
    pods: [],
    controllers: [],
    services: [],
    networkPolicies: [],
    baselinePolicies: [],
    apiServerSlices: [],
    notModelled: [],
    places: new Map(),
  };
}

/** Adds an object of a kind that is read; others are let be. */
export function addObject(set: ObjectSet, object: KubernetesObject): void {
  switch (object.kind) {
    case 'Namespace':
      set.namespaces.push(object);
      break;
    case 'Pod':
      set.pods.push(object);
      break;
    case 'Service':
      set.services.push(object);
      break;
    case 'NetworkPolicy':
      set.networkPolicies.push(object);
      break;
    case 'BaselinePolicy':
      set.baselinePolicies.push(object as BaselinePolicy);
      break;
    default:
      if (CONTROLLER_KINDS.some((kind) => kind === object.kind)) set.controllers.push(object);
  }
}

/** Objects with others that are added, or take the place of those of the same kind and name. */
export function withObjects(set: ObjectSet, others: ObjectSet): ObjectSet {
  const merge = <T extends KubernetesObject>(one: readonly T[], other: readonly T[]): T[] => {
    const idOf = ({ kind = '', metadata }: T): string => objectId(kind, metadata.namespace, metadata.name);
    return [...new Map([...one, ...other].map((object) => [idOf(object), object])).values()];
  };
  return {
    namespaces: merge(set.namespaces, others.namespaces),
    pods: merge(set.pods, others.pods),
    controllers: merge(set.controllers, others.controllers),
    services: merge(set.services, others.services),
    networkPolicies: merge(set.networkPolicies, others.networkPolicies),
    baselinePolicies: merge(set.baselinePolicies, others.baselinePolicies),
    apiServerSlices: set.apiServerSlices,
    notModelled: [...new Set([...set.notModelled, ...others.notModelled])],
    places: new Map([...set.places, ...others.places]),
  };
}
