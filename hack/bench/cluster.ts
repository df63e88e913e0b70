import { readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent } from 'undici';
import { parse } from 'yaml';
import { ControlPlane, type AuditEvent, type AuditMark } from '../envtest/control-plane.ts';

const CRD = fileURLToPath(new URL('../../crds/baselinepolicy.dev_baselinepolicies.yaml', import.meta.url));
const BASELINE_POLICIES = '/apis/baselinepolicy.dev/v1alpha1/baselinepolicies';
/** The operator's own number with its 16 workers; see EXTRA_CONNECTIONS in src/operator.ts. */
export const CONNECTIONS = 24;
/** User agent of the requests that the benchmark itself makes. */
export const BENCH_AGENT = 'bench';
/** The label by which the policies of the benchmark select. */
export const BENCH_LABEL = 'bench';

/** An object on the wire. */
export interface WireObject {
  metadata: { name: string; namespace?: string; resourceVersion?: string; [field: string]: unknown };
  [field: string]: unknown;
}

/** A page of a list on the wire. */
export interface WireList {
  items: WireObject[];
  metadata: { resourceVersion: string; continue?: string; remainingItemCount?: number };
}

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/**
 * A fresh control plane with the definition of BaselinePolicy, and a client for what the benchmark does to it. Its
 * controller manager does not run: it would share the two cores with what is measured.
 */
export class Cluster implements AsyncDisposable {
  readonly controlPlane: ControlPlane;
  readonly #agent: Agent;

  private constructor(controlPlane: ControlPlane) {
    this.controlPlane = controlPlane;
    const connect = { ca: controlPlane.caData };
    this.#agent = new Agent({ connections: CONNECTIONS, pipelining: 1, allowH2: false, connect, bodyTimeout: 0 });
  }

  static async start(): Promise<Cluster> {
    const cluster = new Cluster(
      await ControlPlane.start({
        auditLog: true,
        controllerManager: false,
        // Nobody makes the service accounts that pods would have.
        apiServerFlags: ['--disable-admission-plugins=ServiceAccount'],
      }),
    );
    await cluster.call(
      'POST',
      '/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
      parse(readFileSync(CRD, 'utf8')),
    );
    // The resource is served a moment after its definition was created.
    while (!(await cluster.isServed(BASELINE_POLICIES))) await delay(50);
    return cluster;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
    await this.controlPlane.stop();
  }

  /**
   * One request of the benchmark.
   * @throws Error with the answer when its status is not the one of a success
   */
  async call<T = unknown>(method: Method, path: string, body?: unknown): Promise<T> {
    return JSON.parse(await this.text(method, path, body)) as T;
  }

  /** The same, with the body of the answer as it came. */
  async text(method: Method, path: string, body?: unknown): Promise<string> {
    const { statusCode, body: answer } = await this.#request(method, path, body);
    const text = await answer.text();
    if (statusCode < 400) return text;
    throw new Error(`${method} ${path}: expected success, got ${statusCode} ${text}`);
  }

  /** The answer of a watch, as a stream of lines. */
  async watch(path: string, signal: AbortSignal): Promise<Readable> {
    const { statusCode, body } = await this.#request('GET', path, undefined, signal);
    if (statusCode === 200) return body;
    throw new Error(`watch ${path}: expected 200, got ${statusCode} ${await body.text()}`);
  }

  async isServed(path: string): Promise<boolean> {
    const { statusCode, body } = await this.#request('GET', path);
    await body.dump();
    return statusCode === 200;
  }

  /** Creates so many namespaces `<prefix>-<index>` that a policy of the same name selects. */
  async createNamespaces(prefix: string, count: number): Promise<void> {
    const names = Array.from({ length: count }, (_, index) => `${prefix}-${index}`);
    await inParallel(names, (name) => this.createNamespace(name, prefix));
  }

  /** Creates a namespace that the policy of that name selects. */
  async createNamespace(name: string, policy: string): Promise<void> {
    await this.call('POST', '/api/v1/namespaces', { metadata: { name, labels: { [BENCH_LABEL]: policy } } });
  }

  /** Creates the policy that the benchmark measures: four children in each namespace. */
  async createPolicy(name: string): Promise<void> {
    await this.call('POST', BASELINE_POLICIES, {
      apiVersion: 'baselinepolicy.dev/v1alpha1',
      kind: 'BaselinePolicy',
      metadata: { name },
      spec: {
        namespaceSelector: { matchLabels: { [BENCH_LABEL]: name } },
        rules: { allowSameNamespace: { enabled: true } },
      },
    });
  }

  /** Changes one rule of it, and so one child in each namespace. */
  async changePolicy(name: string, port: number): Promise<void> {
    const policy = await this.call<WireObject>('GET', `${BASELINE_POLICIES}/${name}`);
    const spec = policy['spec'] as { rules: object };
    const allowMonitoring = { ...(spec.rules as Record<string, object>)['allowMonitoring'], ports: [{ port }] };
    await this.call('PUT', `${BASELINE_POLICIES}/${name}`, {
      ...policy,
      spec: { ...spec, rules: { ...spec.rules, allowMonitoring } },
    });
  }

  /** How many NetworkPolicies there are. One small request, however many there are. */
  async countNetworkPolicies(): Promise<number> {
    const { items, metadata } = await this.call<WireList>('GET', '/apis/networking.k8s.io/v1/networkpolicies?limit=1');
    return items.length + (metadata.remainingItemCount ?? 0);
  }

  /** Resolves when there are so many NetworkPolicies. Asks so seldom that it costs nothing. */
  async filled(count: number): Promise<void> {
    while ((await this.countNetworkPolicies()) < count) await delay(100);
  }

  auditMark(): Promise<AuditMark> {
    return this.controlPlane.auditMark();
  }

  /** The requests of one client since a mark; by the beginning of its user agent. */
  async requestsOf(agent: string, since: AuditMark): Promise<AuditEvent[]> {
    const events = await this.controlPlane.auditEvents(since);
    return events.filter(
      ({ userAgent, stage }) => stage !== 'ResponseStarted' && userAgent?.startsWith(agent) === true,
    );
  }

  #request(method: Method, path: string, body?: unknown, signal?: AbortSignal) {
    return this.#agent.request({
      origin: this.controlPlane.server,
      path,
      method,
      headers: {
        authorization: `Bearer ${this.controlPlane.adminToken}`,
        'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
        'user-agent': BENCH_AGENT,
      },
      body: body === undefined ? null : JSON.stringify(body),
      ...(signal !== undefined && { signal }),
    });
  }
}

/** Path of a NetworkPolicy, or of all in a namespace. */
export function networkPolicyPath(namespace: string, name?: string): string {
  return `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies${name === undefined ? '' : `/${name}`}`;
}

/** Runs over all items, as many at a time as the client has connections. */
export async function inParallel<T>(items: readonly T[], run: (item: T) => Promise<unknown>): Promise<void> {
  const queue = items.values();
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      for (const item of queue) await run(item);
    }),
  );
}
