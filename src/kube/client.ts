import type { Readable } from 'node:stream';
import type { KubernetesObject } from '../api/metadata.ts';
import { MANAGER } from '../api/names.ts';
import type { Request, Transport } from './transport.ts';

/** A kind of object that the API server serves. */
export interface ResourceType {
  /** Group and version: `v1`, `networking.k8s.io/v1`. */
  readonly apiVersion: string;
  readonly plural: string;
  /** Reads and writes of single objects never wait behind other requests. */
  readonly urgent?: boolean;
}

/** Resources that the operator reads or writes. */
export const RESOURCES = {
  namespaces: { apiVersion: 'v1', plural: 'namespaces' },
  services: { apiVersion: 'v1', plural: 'services' },
  endpointSlices: { apiVersion: 'discovery.k8s.io/v1', plural: 'endpointslices' },
  networkPolicies: { apiVersion: 'networking.k8s.io/v1', plural: 'networkpolicies' },
  baselinePolicies: { apiVersion: 'baselinepolicy.dev/v1alpha1', plural: 'baselinepolicies' },
  customResourceDefinitions: { apiVersion: 'apiextensions.k8s.io/v1', plural: 'customresourcedefinitions' },
  // A leader that cannot renew in time loses its Lease.
  leases: { apiVersion: 'coordination.k8s.io/v1', plural: 'leases', urgent: true },
  events: { apiVersion: 'events.k8s.io/v1', plural: 'events' },
} as const satisfies Record<string, ResourceType>;

/** Reviews of requests that others make of us: they must not wait while the operator is busy. */
const TOKEN_REVIEWS: ResourceType = { apiVersion: 'authentication.k8s.io/v1', plural: 'tokenreviews' };
const ACCESS_REVIEWS: ResourceType = { apiVersion: 'authorization.k8s.io/v1', plural: 'subjectaccessreviews' };

/** What the API server says of a request with a bearer token: it does not know the token, or what its user may do. */
export type AccessVerdict = 'unauthenticated' | 'forbidden' | 'allowed';

/** The part of `authentication.k8s.io/v1` UserInfo that authorizers look at. */
interface UserInfo {
  readonly username?: string;
  readonly uid?: string;
  readonly groups?: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** Which objects of a resource: all of the cluster, or those of a namespace, narrowed by selectors. */
export interface Scope {
  readonly namespace?: string;
  readonly fieldSelector?: string;
  readonly labelSelector?: string;
}

/** One page of a list, as it is on the wire. */
export interface ListPage {
  readonly metadata: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items: KubernetesObject[] | null;
}

/** What a delete insists on; the API server answers 409 when it does not hold. */
export interface Preconditions {
  readonly uid: string;
  readonly resourceVersion: string;
}

/** One operation of a JSON Patch (RFC 6902). */
export interface PatchOperation {
  readonly op: 'add' | 'replace' | 'remove' | 'test';
  readonly path: string;
  readonly value?: unknown;
}

/**
 * The verbs of the Kubernetes API on wire JSON. Every method throws APIError or ConnectionError, writes FencedError too.
 * Writes name our field manager.
 */
export class KubeClient {
  readonly #transport: Transport;
  readonly #mayWrite: (() => boolean) | undefined;

  /**
   * @param mayWrite asked at the moment that a write is sent, be it the first or the tenth try: what waited its turn for
   *   longer than this process may write is not sent
   */
  constructor(transport: Transport, mayWrite?: () => boolean) {
    this.#transport = transport;
    this.#mayWrite = mayWrite;
  }

  /**
   * Reads one page of a list; `token` is the `continue` of the page before.
   * @throws OversizedAnswerError when the page has more than `maxBytes`
   */
  async list(
    type: ResourceType,
    scope: Scope,
    page: { limit: number; maxBytes?: number | undefined; token?: string; signal?: AbortSignal },
  ): Promise<ListPage> {
    const query = scopeQuery(scope);
    query.set('limit', String(page.limit));
    if (page.token !== undefined) query.set('continue', page.token);
    return this.#transport.request<ListPage>({
      method: 'GET',
      path: `${collectionPath(type, scope.namespace)}?${query.toString()}`,
      resource: type.plural,
      maxBytes: page.maxBytes,
      ...(page.signal !== undefined && { signal: page.signal }),
    });
  }

  /** Opens a watch after `resourceVersion`, with bookmarks; the server ends it after `timeoutSeconds`. */
  async watch(
    type: ResourceType,
    scope: Scope,
    from: { resourceVersion: string; timeoutSeconds: number; signal: AbortSignal },
  ): Promise<Readable> {
    const query = scopeQuery(scope);
    query.set('watch', '1');
    query.set('allowWatchBookmarks', 'true');
    query.set('resourceVersion', from.resourceVersion);
    query.set('timeoutSeconds', String(from.timeoutSeconds));
    return this.#transport.stream({
      method: 'GET',
      path: `${collectionPath(type, scope.namespace)}?${query.toString()}`,
      resource: type.plural,
      signal: from.signal,
    });
  }

  /** Reads one object, always the current one. */
  async get<T extends KubernetesObject>(
    type: ResourceType,
    name: string,
    namespace?: string,
    timeoutMs?: number,
  ): Promise<T> {
    return this.#transport.request<T>({
      method: 'GET',
      path: objectPath(type, name, namespace),
      resource: type.plural,
      urgent: type.urgent,
      ...(timeoutMs !== undefined && { timeoutMs }),
    });
  }

  /** Creates the object that `body` (wire JSON) describes. */
  async create<T extends KubernetesObject>(type: ResourceType, body: string, namespace?: string): Promise<T> {
    return this.#transport.request<T>(this.#createRequest(type, body, namespace));
  }

  /** Creates the object that `body` (wire JSON) describes; gives the answer as the text that came. */
  async createText(type: ResourceType, body: string, namespace?: string): Promise<string> {
    return this.#transport.requestText(this.#createRequest(type, body, namespace));
  }

  /** Replaces an object; its resourceVersion guards against changes since it was read. */
  async replace<T extends KubernetesObject>(type: ResourceType, object: T, timeoutMs?: number): Promise<T> {
    return this.#transport.request<T>({
      method: 'PUT',
      path: `${objectPath(type, object.metadata.name, object.metadata.namespace)}?fieldManager=${MANAGER}`,
      resource: type.plural,
      urgent: type.urgent,
      maySend: this.#mayWrite,
      body: JSON.stringify(object),
      ...(timeoutMs !== undefined && { timeoutMs }),
    });
  }

  /** Applies a JSON Patch to an object, or to one of its subresources. */
  async patch<T extends KubernetesObject>(
    type: ResourceType,
    target: { name: string; namespace?: string; subresource?: string },
    operations: readonly PatchOperation[],
  ): Promise<T> {
    const subresource = target.subresource === undefined ? '' : `/${target.subresource}`;
    return this.#transport.request<T>({
      method: 'PATCH',
      path: `${objectPath(type, target.name, target.namespace)}${subresource}?fieldManager=${MANAGER}`,
      resource: type.plural,
      urgent: type.urgent,
      maySend: this.#mayWrite,
      body: JSON.stringify(operations),
      contentType: 'application/json-patch+json',
    });
  }

  /** Deletes an object if it is still the one that was seen. */
  async remove(
    type: ResourceType,
    target: { name: string; namespace?: string },
    preconditions: Preconditions,
  ): Promise<void> {
    await this.#transport.request({
      method: 'DELETE',
      path: objectPath(type, target.name, target.namespace),
      resource: type.plural,
      urgent: type.urgent,
      maySend: this.#mayWrite,
      body: JSON.stringify({ apiVersion: 'v1', kind: 'DeleteOptions', preconditions }),
    });
  }

  /** The version of the API server. */
  async version(timeoutMs: number): Promise<{ gitVersion: string }> {
    return this.#transport.request({ method: 'GET', path: '/version', resource: 'version', timeoutMs });
  }

  /**
   * Asks whether the holder of a bearer token may do `verb` (`get`) on a path that is no resource (`/metrics`), by a
   * TokenReview and a SubjectAccessReview. Neither is stored, so neither counts as a write that a follower must not do.
   * A token that has expired, or is for another audience than the API server's, is `unauthenticated`.
   * @param timeoutMs for both reviews together
   */
  async reviewAccess(
    token: string,
    access: { readonly path: string; readonly verb: string },
    timeoutMs: number,
  ): Promise<AccessVerdict> {
    const signal = AbortSignal.timeout(timeoutMs);
    const { authenticated, user } = await this.#review<{ authenticated?: boolean; user?: UserInfo }>(
      TOKEN_REVIEWS,
      { token },
      signal,
    );
    if (authenticated !== true || user === undefined) return 'unauthenticated';
    const { username, ...rest } = user;
    const { allowed, denied } = await this.#review<{ allowed?: boolean; denied?: boolean }>(
      ACCESS_REVIEWS,
      { user: username, ...rest, nonResourceAttributes: access },
      signal,
    );
    return allowed === true && denied !== true ? 'allowed' : 'forbidden';
  }

  async #review<T>({ apiVersion, plural }: ResourceType, spec: object, signal: AbortSignal): Promise<Partial<T>> {
    const { status } = await this.#transport.request<{ status?: Partial<T> }>({
      method: 'POST',
      path: `/apis/${apiVersion}/${plural}`,
      resource: plural,
      urgent: true,
      body: JSON.stringify({ spec }),
      signal,
    });
    return status ?? {};
  }

  #createRequest(type: ResourceType, body: string, namespace: string | undefined): Request {
    const path = `${collectionPath(type, namespace)}?fieldManager=${MANAGER}`;
    return { method: 'POST', path, resource: type.plural, urgent: type.urgent, maySend: this.#mayWrite, body };
  }
}

function collectionPath(type: ResourceType, namespace: string | undefined): string {
  const root = type.apiVersion.includes('/') ? `/apis/${type.apiVersion}` : `/api/${type.apiVersion}`;
  return namespace === undefined
    ? `${root}/${type.plural}`
    : `${root}/namespaces/${encodeURIComponent(namespace)}/${type.plural}`;
}

function objectPath(type: ResourceType, name: string, namespace: string | undefined): string {
  return `${collectionPath(type, namespace)}/${encodeURIComponent(name)}`;
}

function scopeQuery(scope: Scope): URLSearchParams {
  const query = new URLSearchParams();
  if (scope.fieldSelector !== undefined) query.set('fieldSelector', scope.fieldSelector);
  if (scope.labelSelector !== undefined) query.set('labelSelector', scope.labelSelector);
  return query;
}
