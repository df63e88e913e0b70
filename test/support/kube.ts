import { readFileSync } from 'node:fs';
import { Agent, type Dispatcher, request } from 'undici';
import { parse } from 'yaml';
import type { BaselinePolicy } from '../../src/api/baselinepolicy.ts';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import type { NetworkPolicy } from '../../src/api/networkpolicy.ts';

/** A core/v1 Namespace, as far as tests look at it. */
export interface Namespace extends KubernetesObject {
  spec?: { finalizers?: string[] };
  status?: { phase?: 'Active' | 'Terminating' };
}

/** Query parameters of the API, for example labelSelector, resourceVersion, limit, dryRun. */
export type Query = Record<string, string | number | boolean>;

/** A list, or a page of one, as it is on the wire. */
export interface List<T> {
  metadata: { resourceVersion: string; continue?: string; remainingItemCount?: number };
  items: T[];
}

/** A watch event as it is on the wire; `at` is the time of its arrival, by performance.now(). */
export interface WatchEvent<T> {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  object: T;
  at: number;
}

/** The API server answered with an error: its HTTP status, and the reason and message of its Status object. */
export class StatusError extends Error {
  readonly status: number;
  readonly reason: string;
  /** The Status object, or what came in its place. */
  readonly body: unknown;

  constructor(call: string, status: number, text: string) {
    const { body, reason, message } = parseStatus(text);
    super(`${call}: ${status} ${reason}: ${message}`);
    this.name = 'StatusError';
    this.status = status;
    this.reason = reason;
    this.body = body;
  }
}

/** An object as a test writes it down, with any fields. */
export interface Manifest {
  metadata: { name: string; [field: string]: unknown };
  [field: string]: unknown;
}

type Headers = Record<string, string | string[]>;

interface Kubeconfig {
  'current-context': string;
  contexts: { name: string; context: { cluster: string; user: string } }[];
  clusters: { name: string; cluster: { server: string; 'certificate-authority-data': string } }[];
  users: {
    name: string;
    user: { token?: string; 'client-certificate-data'?: string; 'client-key-data'?: string };
  }[];
}

/**
 * A client of the API server for what a test arranges and asserts: wire JSON, no retries, no cache. It shares no code
 * with the operator's own, so that one bug cannot hide in both.
 */
export class KubeClient implements AsyncDisposable {
  readonly #server: string;
  readonly #headers: Headers;
  readonly #requests: Agent;
  readonly #watches: Agent;

  private constructor(server: string, headers: Headers, requests: Agent, watches: Agent) {
    this.#server = server;
    this.#headers = headers;
    this.#requests = requests;
    this.#watches = watches;
  }

  /** A client for the current context of a kubeconfig with embedded credentials. */
  static fromKubeconfig(path: string): KubeClient {
    const config = parse(readFileSync(path, 'utf8')) as Kubeconfig;
    const context = named(config.contexts, config['current-context'], path).context;
    const { cluster } = named(config.clusters, context.cluster, path);
    const { user } = named(config.users, context.user, path);
    const certificate = user['client-certificate-data'];
    const key = user['client-key-data'];
    const connect = {
      ca: decode(cluster['certificate-authority-data']),
      ...(certificate && key && { cert: decode(certificate), key: decode(key) }),
    };
    return new KubeClient(
      cluster.server,
      { 'user-agent': 'test', ...(user.token && { authorization: `Bearer ${user.token}` }) },
      // HTTP/2 would join the values of a repeated header, such as Impersonate-Group, into one.
      new Agent({ connect, allowH2: false, connections: 32 }),
      new Agent({ connect, allowH2: false, bodyTimeout: 0 }),
    );
  }

  /** This client in the role of somebody else, by impersonation; it shares the connections, and its close. */
  as(user: string, groups: readonly string[] = ['system:authenticated']): KubeClient {
    const headers = { ...this.#headers, 'impersonate-user': user, 'impersonate-group': [...groups] };
    return new KubeClient(this.#server, headers, this.#requests, this.#watches);
  }

  /** Ends all connections, also those of watches. */
  async close(): Promise<void> {
    await Promise.all([this.#requests.destroy(), this.#watches.destroy()]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Namespaces. */
  get namespaces(): ResourceClient<Namespace> {
    return this.resource('v1', 'namespaces');
  }

  /** BaselinePolicies. */
  get baselinePolicies(): ResourceClient<BaselinePolicy> {
    return this.resource('baselinepolicy.dev/v1alpha1', 'baselinepolicies');
  }

  /** NetworkPolicies of a namespace; of all without one, to list and watch. */
  networkPolicies(namespace?: string): ResourceClient<NetworkPolicy> {
    return this.resource('networking.k8s.io/v1', 'networkpolicies', namespace);
  }

  /** Any resource: `apiVersion` as in a manifest, and the plural; without a namespace, cluster-scoped or of all. */
  resource<T extends KubernetesObject>(apiVersion: string, plural: string, namespace?: string): ResourceClient<T> {
    const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    return new ResourceClient(this, `${root}${namespace === undefined ? '' : `/namespaces/${namespace}`}/${plural}`);
  }

  /** Any request; returns the parsed JSON. Throws StatusError when the answer's status is 400 or above. */
  async request(
    method: Dispatcher.HttpMethod,
    path: string,
    { query, body, contentType }: { query?: Query; body?: unknown; contentType?: string } = {},
  ): Promise<unknown> {
    const answer = await this.#send(this.#requests, method, path, query, body, contentType);
    const text = await answer.body.text();
    if (answer.statusCode >= 400) throw new StatusError(`${method} ${path}`, answer.statusCode, text);
    return JSON.parse(text);
  }

  /** The body of a watch, once the API server has accepted it; throws StatusError when it does not. */
  async openWatch(path: string, query: Query): Promise<Dispatcher.ResponseData['body']> {
    const answer = await this.#send(this.#watches, 'GET', path, { ...query, watch: true });
    if (answer.statusCode !== 200) {
      throw new StatusError(`WATCH ${path}`, answer.statusCode, await answer.body.text());
    }
    return answer.body;
  }

  #send(
    dispatcher: Agent,
    method: Dispatcher.HttpMethod,
    path: string,
    query: Query = {},
    body?: unknown,
    contentType = 'application/json',
  ): Promise<Dispatcher.ResponseData> {
    return request(this.#server + path, {
      dispatcher,
      method,
      query,
      headers: {
        ...this.#headers,
        accept: 'application/json',
        ...(body !== undefined && { 'content-type': contentType }),
      },
      body: body === undefined ? null : JSON.stringify(body),
    });
  }
}

/** What can be done with the objects of one resource. Each call throws StatusError when the API server refuses. */
export class ResourceClient<T extends KubernetesObject> {
  readonly #client: KubeClient;
  readonly #path: string;

  constructor(client: KubeClient, path: string) {
    this.#client = client;
    this.#path = path;
  }

  /** The object of this name. */
  async get(name: string): Promise<T> {
    return (await this.#client.request('GET', this.#of(name))) as T;
  }

  /** The object of this name, or undefined when there is none. */
  async find(name: string): Promise<T | undefined> {
    try {
      return await this.get(name);
    } catch (error) {
      if (error instanceof StatusError && error.status === 404) return undefined;
      throw error;
    }
  }

  /** The objects; all, or a page when the query has a limit (then see `page`). */
  async list(query: Query = {}): Promise<T[]> {
    return (await this.page(query)).items;
  }

  /** The list with its metadata: the resourceVersion, and the token of the next page. */
  async page(query: Query = {}): Promise<List<T>> {
    return (await this.#client.request('GET', this.#path, { query })) as List<T>;
  }

  /** Creates an object, which may be invalid: then the API server says so. */
  async create(object: object, query: Query = {}): Promise<T> {
    return (await this.#client.request('POST', this.#path, { query, body: object })) as T;
  }

  /** Replaces an object by a PUT, or its `subresource`. */
  async replace(object: T | Manifest, subresource?: string): Promise<T> {
    const path = this.#of(object.metadata.name, subresource);
    return (await this.#client.request('PUT', path, { body: object })) as T;
  }

  /** Changes an object by a JSON merge patch (RFC 7396). */
  merge(name: string, patch: object, subresource?: string): Promise<T> {
    return this.#patch(name, patch, 'application/merge-patch+json', {}, subresource);
  }

  /** Changes an object by a JSON patch (RFC 6902). */
  patch(name: string, operations: readonly object[], subresource?: string): Promise<T> {
    return this.#patch(name, operations, 'application/json-patch+json', {}, subresource);
  }

  /** Server-side apply, which takes fields from other managers unless `force` is false. */
  apply(object: T | Manifest, fieldManager = 'test', force = true): Promise<T> {
    return this.#patch(object.metadata.name, object, 'application/apply-patch+yaml', { fieldManager, force });
  }

  /** Deletes an object; `options` are those of DeleteOptions, for example propagationPolicy, preconditions. */
  async delete(name: string, options: object = {}): Promise<void> {
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', ...options };
    await this.#client.request('DELETE', this.#of(name), { body });
  }

  /**
   * Watches the resource; resolves when the API server has accepted. Without a resourceVersion in the query, the events
   * begin with an ADDED for each object that exists.
   */
  async watch(query: Query = {}): Promise<Watch<T>> {
    return new Watch(await this.#client.openWatch(this.#path, query), `WATCH ${this.#path}`);
  }

  async #patch(name: string, body: object, contentType: string, query: Query, subresource?: string): Promise<T> {
    return (await this.#client.request('PATCH', this.#of(name, subresource), { query, body, contentType })) as T;
  }

  #of(name: string, subresource?: string): string {
    return `${this.#path}/${name}${subresource === undefined ? '' : `/${subresource}`}`;
  }
}

/**
 * A running watch that records its events in their order. It ends when it is closed, when the API server ends it, or at
 * an ERROR event, which becomes `error` (410 is a resourceVersion that is too old); nothing starts it again.
 */
export class Watch<T> implements AsyncIterable<WatchEvent<T>> {
  /** The events so far. */
  readonly events: WatchEvent<T>[] = [];
  /** Resolves when the watch has ended; never rejects. */
  readonly ended: Promise<void>;
  readonly #body: Dispatcher.ResponseData['body'];
  #error: Error | undefined;
  #running = true;
  #closed = false;
  #changed = Promise.withResolvers<undefined>();

  constructor(body: Dispatcher.ResponseData['body'], call: string) {
    this.#body = body;
    this.ended = this.#read(call);
  }

  /** Why the watch ended: a StatusError from an ERROR event, or the broken connection's; undefined after `close()`. */
  get error(): Error | undefined {
    return this.#error;
  }

  /** Ends the watch. */
  close(): void {
    this.#closed = true;
    this.#body.destroy();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** All events from the first, then those to come. Ends with the watch; throws its `error` if there is one. */
  async *[Symbol.asyncIterator](): AsyncGenerator<WatchEvent<T>> {
    for (let next = 0; ;) {
      const changed = this.#changed.promise;
      const event = this.events[next];
      if (event) {
        next++;
        yield event;
      } else if (this.#running) {
        await changed;
      } else {
        if (this.#error) throw this.#error;
        return;
      }
    }
  }

  async #read(call: string): Promise<void> {
    let rest = '';
    try {
      for await (const chunk of this.#body.setEncoding('utf8') as AsyncIterable<string>) {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) this.#record(line, call);
        this.#change();
      }
    } catch (error) {
      if (!this.#closed) this.#error = error instanceof Error ? error : new Error(String(error));
    } finally {
      this.#running = false;
      this.#body.destroy();
      this.#change();
    }
  }

  #record(line: string, call: string): void {
    const { type, object } = JSON.parse(line) as { type: WatchEvent<T>['type'] | 'ERROR'; object: T };
    if (type === 'ERROR') {
      const { code = 500 } = object as { code?: number };
      throw new StatusError(call, code, JSON.stringify(object));
    }
    this.events.push({ type, object, at: performance.now() });
  }

  #change(): void {
    this.#changed.resolve(undefined);
    this.#changed = Promise.withResolvers();
  }
}

function named<T extends { name: string }>(entries: readonly T[], name: string, path: string): T {
  const found = entries.find((entry) => entry.name === name);
  if (!found) throw new Error(`Expected an entry ${name} in the kubeconfig ${path}, found none`);
  return found;
}

function decode(base64: string): string {
  return Buffer.from(base64, 'base64').toString('utf8');
}

function parseStatus(text: string): { body: unknown; reason: string; message: string } {
  try {
    const body = JSON.parse(text) as { reason?: string; message?: string };
    return { body, reason: body.reason ?? 'no reason', message: body.message ?? text };
  } catch {
    return { body: text, reason: 'no Status', message: text };
  }
}
