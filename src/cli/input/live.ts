import type { KubernetesObject } from '../../api/metadata.ts';
import { KubeClient, RESOURCES, type ResourceType, type Scope } from '../../kube/client.ts';
import { APIError, ConnectionError, isExpired, isNotFound } from '../../kube/errors.ts';
import { Transport } from '../../kube/transport.ts';
import { VERSION } from '../../version.ts';
import { InputError } from '../errors.ts';
import { LABEL_NAMESPACE_NAME } from '../../api/names.ts';
import type { ClusterAccess } from '../../kube/kubeconfig.ts';
import { addObject, emptyObjectSet, type EndpointSlice, type ObjectSet } from './objects.ts';

/** How to read a cluster. */
export interface LiveOptions {
  readonly access: ClusterAccess;
  /** Longest wait for one answer, in milliseconds. */
  readonly requestTimeoutMs: number;
  /** Whether pods and their controllers are read too. */
  readonly workloads: boolean;
  /** Whether BaselinePolicies are read too, and the addresses that they need. */
  readonly policies: boolean;
  /** The namespace that is read alone when the user may not read all of them; undefined when all are needed. */
  readonly mayBeConfinedTo: string | undefined;
}

/** What was read of a cluster. */
export interface LiveObjects {
  readonly objects: ObjectSet;
  /** What could not be read, and what that means. */
  readonly warnings: readonly string[];
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
const POLICIES: Listed = { kind: 'BaselinePolicy', type: RESOURCES.baselinePolicies };
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
const FOREIGN: readonly (Listed & { readonly isNamespaced?: true })[] = [
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
  {
    kind: 'CiliumNetworkPolicy',
    type: { apiVersion: 'cilium.io/v2', plural: 'ciliumnetworkpolicies' },
    isNamespaced: true,
  },
  {
    kind: 'CiliumClusterwideNetworkPolicy',
    type: { apiVersion: 'cilium.io/v2', plural: 'ciliumclusterwidenetworkpolicies' },
  },
  { kind: 'GlobalNetworkPolicy', type: { apiVersion: 'crd.projectcalico.org/v1', plural: 'globalnetworkpolicies' } },
  {
    kind: 'Calico NetworkPolicy',
    type: { apiVersion: 'crd.projectcalico.org/v1', plural: 'networkpolicies' },
    isNamespaced: true,
  },
];

/** Objects a page. */
const PAGE = 500;
/** Requests at a time: a person's look at the cluster must not weigh on it. */
const CONNECTIONS = 8;
/** How often a list is begun anew when the server has forgotten where it was. */
const LIST_TRIES = 3;

/**
 * The objects of a cluster, or of one namespace where that is enough and the user may not read all. Throws InputError
 * when they cannot be read; it names every right that is lacking.
 */
export async function readLive(options: LiveOptions): Promise<LiveObjects> {
  const { access } = options;
  const transport = new Transport({
    access,
    userAgent: `kubectl-baseline/${VERSION}`,
    connections: CONNECTIONS,
    timeoutMs: options.requestTimeoutMs,
  });
  try {
    return await new Reader(transport, options).read();
  } catch (error) {
    if (error instanceof APIError || error instanceof ConnectionError) {
      throw new InputError([`expected to read the cluster at ${access.server.href}: ${error.message}`]);
    }
    throw error;
  } finally {
    await transport.close();
  }
}

/** Reads a cluster once. */
class Reader {
  readonly #transport: Transport;
  readonly #client: KubeClient;
  readonly #options: LiveOptions;
  readonly #objects = emptyObjectSet();
  readonly #served = new Map<string, Promise<readonly string[] | undefined>>();
  /** Who asks, as the API server names them when it forbids something. */
  #user = 'this user';

  constructor(transport: Transport, options: LiveOptions) {
    this.#transport = transport;
    this.#client = new KubeClient(transport);
    this.#options = options;
  }

  async read(): Promise<LiveObjects> {
    const { workloads, policies, mayBeConfinedTo: namespace } = this.#options;
    const [forbidden, foreign, hasSlices] = await Promise.all([
      this.#readAll([...PLAIN, ...(workloads ? WORKLOADS : []), ...(policies ? [POLICIES] : [])], {}),
      this.#readForeign(FOREIGN, {}),
      policies && this.#readSlices(),
    ]);
    const needsSlices = this.#objects.baselinePolicies.some(({ spec }) => spec.rules?.allowKubeAPIServer?.enabled);
    if (needsSlices && !hasSlices) {
      throw this.#refusal(`list ${resourceName(RESOURCES.endpointSlices)} in namespace default`);
    }
    if (forbidden.length === 0) return this.#result(this.#objects, await this.#unseen(foreign));
    if (namespace === undefined) throw this.#refusal(`list ${listed(forbidden)} in all namespaces`);
    const namespaced = forbidden.filter(({ type }) => type !== RESOURCES.namespaces);
    const [stillForbidden, stillForeign, isLabelled] = await Promise.all([
      this.#readAll(namespaced, { namespace }),
      this.#readForeign(
        foreign.filter(({ isNamespaced }) => isNamespaced),
        { namespace },
      ),
      namespaced.length === forbidden.length || this.#readNamespace(namespace),
    ]);
    if (stillForbidden.length > 0) {
      throw this.#refusal(`list ${listed(stillForbidden)} in all namespaces, nor in namespace ${namespace}`);
    }
    const unseen = await this.#unseen([...foreign.filter(({ isNamespaced }) => !isNamespaced), ...stillForeign]);
    return this.#result({ ...confined(this.#objects, namespace), hasUnreadLabels: !isLabelled }, [
      `${this.#user} may not list ${listed(forbidden)} in all namespaces: pods of other namespaces are not known; ` +
        `answers are for namespace ${namespace} and for addresses`,
      ...(isLabelled
        ? []
        : [`${this.#user} may not get namespace ${namespace}: only one label of it is known, its name`]),
      ...unseen,
    ]);
  }

  #result(objects: ObjectSet, warnings: readonly string[]): LiveObjects {
    objects.notModelled.sort();
    return { objects, warnings };
  }

  /** Reads kinds; gives those that this user may not list. */
  async #readAll(kinds: readonly Listed[], scope: Scope): Promise<Listed[]> {
    const forbidden = await Promise.all(
      kinds.map(async (one) => {
        const items = await this.#list(one.type, scope, one === POLICIES);
        for (const object of items ?? []) addObject(this.#objects, { ...object, kind: one.kind });
        return items === undefined ? [one] : [];
      }),
    );
    return forbidden.flat();
  }

  /** Names policies of other kinds; gives the kinds that this user may not list, whether they are there or not. */
  async #readForeign<T extends Listed>(kinds: readonly T[], scope: Scope): Promise<T[]> {
    const forbidden = await Promise.all(
      kinds.map(async (one) => {
        const items = await this.#list(one.type, scope, true);
        for (const { metadata } of items ?? []) {
          const { namespace: of, name } = metadata;
          this.#objects.notModelled.push(`${one.kind} ${of === undefined ? '' : `${of}/`}${name}`);
        }
        return items === undefined ? [one] : [];
      }),
    );
    return forbidden.flat();
  }

  /** What is to be said of kinds of policies that this user may not list: nothing of those that are not served. */
  async #unseen(kinds: readonly Listed[]): Promise<string[]> {
    const there = await Promise.all(kinds.map(async ({ type }) => ((await this.#isServed(type)) ? [type] : [])));
    const names = there.flat().map(resourceName);
    if (names.length === 0) return [];
    return [`${this.#user} may not list ${names.join(', ')}: they may allow or deny more than is said here`];
  }

  /** Whether the API server has a resource; true when it does not say. */
  async #isServed({ apiVersion, plural }: ResourceType): Promise<boolean> {
    const request = { method: 'GET', path: `/apis/${apiVersion}`, resource: 'apiresources' } as const;
    let served = this.#served.get(apiVersion);
    if (served === undefined) {
      served = this.#transport
        .request<{ resources?: { name: string }[] }>(request)
        .then(({ resources = [] }) => resources.map(({ name }) => name))
        .catch((error: unknown) => {
          if (isNotFound(error)) return [];
          if (isForbidden(error)) return undefined;
          throw error;
        });
      this.#served.set(apiVersion, served);
    }
    return (await served)?.includes(plural) ?? true;
  }

  /** Reads the addresses of the API server; gives whether this user may. */
  async #readSlices(): Promise<boolean> {
    const scope = { namespace: 'default', labelSelector: 'kubernetes.io/service-name=kubernetes' };
    const slices = await this.#list(RESOURCES.endpointSlices, scope, true);
    this.#objects.apiServerSlices.push(...((slices ?? []) as EndpointSlice[]));
    return slices !== undefined;
  }

  /** Reads a namespace; gives whether this user may. Its name is a label that it always has. */
  async #readNamespace(name: string): Promise<boolean> {
    try {
      const namespace = await this.#client.get(RESOURCES.namespaces, name);
      addObject(this.#objects, { ...namespace, kind: 'Namespace' });
      return true;
    } catch (error) {
      if (isNotFound(error)) return true;
      if (!isForbidden(error)) throw error;
      addObject(this.#objects, { kind: 'Namespace', metadata: { name, labels: { [LABEL_NAMESPACE_NAME]: name } } });
      return false;
    }
  }

  /** All items of a list; undefined when this user may not list them. */
  async #list(type: ResourceType, scope: Scope, mayBeAbsent = false): Promise<KubernetesObject[] | undefined> {
    try {
      return await list(this.#client, type, scope);
    } catch (error) {
      if (mayBeAbsent && isNotFound(error)) return [];
      if (!isForbidden(error)) throw error;
      const [, user] = /User "([^"]+)"/.exec(error.message) ?? [];
      if (user !== undefined) this.#user = `user ${user}`;
      return undefined;
    }
  }

  #refusal(what: string): InputError {
    const { access, policies, mayBeConfinedTo } = this.#options;
    const way = policies
      ? 'this command needs all of it'
      : mayBeConfinedTo === undefined
        ? 'without --all-namespaces, -n NAMESPACE reads one alone'
        : '-n NAMESPACE reads another one';
    return new InputError([
      `expected to read the cluster at ${access.server.href}: ${this.#user} may not ${what}; ` +
        `a ClusterRole can give the right to; ${way}`,
    ]);
  }
}

/** Resources as RBAC and kubectl name them. */
function listed(kinds: readonly Listed[]): string {
  return kinds.map(({ type }) => resourceName(type)).join(', ');
}

function resourceName({ apiVersion, plural }: ResourceType): string {
  return apiVersion.includes('/') ? `${plural}.${apiVersion.split('/')[0] ?? ''}` : plural;
}

/** What is left of objects when others of other namespaces are missing: half of a namespace would give wrong answers. */
function confined(objects: ObjectSet, namespace: string): ObjectSet {
  const isInside = ({ metadata }: KubernetesObject): boolean => metadata.namespace === namespace;
  return {
    ...objects,
    pods: objects.pods.filter(isInside),
    controllers: objects.controllers.filter(isInside),
    networkPolicies: objects.networkPolicies.filter(isInside),
    confinedTo: namespace,
  };
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

/** Whether this user may not do what was asked; that one may not take another's place (--as) is no answer to it. */
function isForbidden(error: unknown): error is APIError {
  return error instanceof APIError && error.status === 403 && !error.message.includes('cannot impersonate');
}
