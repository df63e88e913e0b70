import type { KubernetesObject } from '../../api/metadata.ts';
import { KubeClient, RESOURCES, type ResourceType, type Scope } from '../../kube/client.ts';
import { APIError, ConnectionError, isExpired, isNotFound } from '../../kube/errors.ts';
import { Transport } from '../../kube/transport.ts';
import { VERSION } from '../../version.ts';
import { InputError } from '../errors.ts';
import type { ClusterContext } from './kubeconfig-context.ts';
import { addObject, emptyObjectSet, type EndpointSlice, type ObjectSet } from './objects.ts';

/** How to read a cluster. */
export interface LiveOptions {
  readonly access: ClusterContext['access'];
  /** Longest wait for one answer, in milliseconds. */
  readonly requestTimeoutMs: number;
  /** Whether pods and their controllers are read too. */
  readonly workloads: boolean;
}

interface Listed {
  readonly kind: string;
  readonly type: ResourceType;
}

const PLAIN: readonly Listed[] = [
  { kind: 'Namespace', type: RESOURCES.namespaces },
  { kind: 'NetworkPolicy', type: RESOURCES.networkPolicies },
  { kind: 'Service', type: RESOURCES.services },
];
const WORKLOADS: readonly Listed[] = [
  { kind: 'Pod', type: { apiVersion: 'v1', plural: 'pods' } },
  { kind: 'ReplicationController', type: { apiVersion: 'v1', plural: 'replicationcontrollers' } },
  { kind: 'Deployment', type: { apiVersion: 'apps/v1', plural: 'deployments' } },
  { kind: 'ReplicaSet', type: { apiVersion: 'apps/v1', plural: 'replicasets' } },
  { kind: 'StatefulSet', type: { apiVersion: 'apps/v1', plural: 'statefulsets' } },
  { kind: 'DaemonSet', type: { apiVersion: 'apps/v1', plural: 'daemonsets' } },
  { kind: 'Job', type: { apiVersion: 'batch/v1', plural: 'jobs' } },
  { kind: 'CronJob', type: { apiVersion: 'batch/v1', plural: 'cronjobs' } },
];
/** Kinds that are there only when their CustomResourceDefinition is. */
const FOREIGN: readonly Listed[] = [
  {
    kind: 'ClusterNetworkPolicy',
    type: { apiVersion: 'policy.networking.k8s.io/v1alpha2', plural: 'clusternetworkpolicies' },
  },
  {
    kind: 'AdminNetworkPolicy',
    type: { apiVersion: 'policy.networking.k8s.io/v1alpha1', plural: 'adminnetworkpolicies' },
  },
  {
    kind: 'BaselineAdminNetworkPolicy',
    type: { apiVersion: 'policy.networking.k8s.io/v1alpha1', plural: 'baselineadminnetworkpolicies' },
  },
  { kind: 'CiliumNetworkPolicy', type: { apiVersion: 'cilium.io/v2', plural: 'ciliumnetworkpolicies' } },
  {
    kind: 'CiliumClusterwideNetworkPolicy',
    type: { apiVersion: 'cilium.io/v2', plural: 'ciliumclusterwidenetworkpolicies' },
  },
  { kind: 'GlobalNetworkPolicy', type: { apiVersion: 'crd.projectcalico.org/v1', plural: 'globalnetworkpolicies' } },
  { kind: 'Calico NetworkPolicy', type: { apiVersion: 'crd.projectcalico.org/v1', plural: 'networkpolicies' } },
];

/** Objects a page. */
const PAGE = 500;
/** Requests at a time: a person's look at the cluster must not weigh on it. */
const CONNECTIONS = 8;
/** How often a list is begun anew when the server has forgotten where it was. */
const LIST_TRIES = 3;

/** The objects of a cluster. Throws InputError when it cannot be read. */
export async function readLive(options: LiveOptions): Promise<ObjectSet> {
  const { access } = options;
  const transport = new Transport({
    access,
    userAgent: `kubectl-baseline/${VERSION}`,
    connections: CONNECTIONS,
    timeoutMs: options.requestTimeoutMs,
  });
  const client = new KubeClient(transport);
  const objects = emptyObjectSet();
  try {
    const read = async ({ kind, type }: Listed): Promise<void> => {
      for (const object of await list(client, type, {})) addObject(objects, { ...object, kind });
    };
    await Promise.all([
      ...[...PLAIN, ...(options.workloads ? WORKLOADS : [])].map(read),
      read({ kind: 'BaselinePolicy', type: RESOURCES.baselinePolicies }).catch(ignoreAbsent),
      readSlices(client, objects),
      ...FOREIGN.map(async ({ kind, type }) => {
        const found = await list(client, type, {}).catch(ignoreUnreadable);
        for (const { metadata } of found ?? []) {
          const { namespace: of, name } = metadata;
          objects.notModelled.push(`${kind} ${of === undefined ? '' : `${of}/`}${name}`);
        }
      }),
    ]);
    objects.notModelled.sort();
    return objects;
  } catch (error) {
    if (error instanceof APIError || error instanceof ConnectionError) {
      throw new InputError([`expected to read the cluster at ${access.server.href}: ${error.message}`]);
    }
    throw error;
  } finally {
    await transport.close();
  }
}

async function readSlices(client: KubeClient, objects: ObjectSet): Promise<void> {
  const scope = { namespace: 'default', labelSelector: 'kubernetes.io/service-name=kubernetes' };
  const slices = await list(client, RESOURCES.endpointSlices, scope).catch(ignoreUnreadable);
  objects.apiServerSlices.push(...((slices ?? []) as EndpointSlice[]));
}

/** All pages of a list. */
async function list(client: KubeClient, type: ResourceType, scope: Scope): Promise<KubernetesObject[]> {
  for (let attempt = 1; ; attempt++) {
    try {
      const items: KubernetesObject[] = [];
      let token: string | undefined;
      do {
        const page = await client.list(type, scope, { limit: PAGE, ...(token !== undefined && { token }) });
        items.push(...(page.items ?? []));
        token = page.metadata.continue;
      } while (token !== undefined && token !== '');
      return items;
    } catch (error) {
      if (!isExpired(error) || attempt >= LIST_TRIES) throw error;
    }
  }
}

/** The CustomResourceDefinition may not be there. */
function ignoreAbsent(error: unknown): undefined {
  if (!isNotFound(error)) throw error;
}

/** The kind may not be there, or not be for this user to read; it is not what was asked for. */
function ignoreUnreadable(error: unknown): undefined {
  if (!(error instanceof APIError) || (error.status !== 404 && error.status !== 403)) throw error;
}
