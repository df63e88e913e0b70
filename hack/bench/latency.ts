import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { readLines } from '../../src/kube/lines.ts';
import { networkPolicyPath, type Cluster, type WireList, type WireObject } from './cluster.ts';
import { percentile } from './statistics.ts';

/** p50 and p99 of a series of latencies, in milliseconds. */
export interface Latency {
  readonly p50: number;
  readonly p99: number;
}

/** The same of what was measured. */
export function latencyOf(samples: readonly number[]): Latency {
  return { p50: percentile(samples, 0.5), p99: percentile(samples, 0.99) };
}

/** A watch of the NetworkPolicies of one namespace that nobody but the benchmark knows of. */
export class NamespaceWatch implements AsyncDisposable {
  readonly #ended = new AbortController();
  #reading: Promise<void> | undefined;
  #onEvent: (() => void) | undefined;
  readonly #objects = new Map<string, WireObject>();

  static async start(cluster: Cluster, namespace: string): Promise<NamespaceWatch> {
    const watch = new NamespaceWatch();
    const path = networkPolicyPath(namespace);
    const { items, metadata } = await cluster.call<WireList>('GET', path);
    for (const item of items) watch.#objects.set(item.metadata.name, item);
    const stream = await cluster.watch(
      `${path}?watch=true&resourceVersion=${metadata.resourceVersion}`,
      watch.#ended.signal,
    );
    watch.#reading = watch.#read(stream).catch((error: unknown) => {
      if (!watch.#ended.signal.aborted) throw error;
    });
    return watch;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort();
    await this.#reading;
  }

  /** Resolves at the first event after which the namespace's NetworkPolicies, by name, are as wanted. */
  async until(isWanted: (objects: ReadonlyMap<string, WireObject>) => boolean): Promise<void> {
    while (!isWanted(this.#objects)) {
      await new Promise<void>((resolve) => {
        this.#onEvent = resolve;
      });
    }
  }

  async #read(stream: Readable): Promise<void> {
    for await (const line of readLines(stream)) {
      const { type, object } = JSON.parse(line) as { type: string; object: WireObject };
      if (type === 'DELETED') this.#objects.delete(object.metadata.name);
      else this.#objects.set(object.metadata.name, object);
      this.#onEvent?.();
    }
  }
}

/** The latencies of bare writes, one after the other: what the API server itself takes for one NetworkPolicy. */
export async function bareWrites(cluster: Cluster, count: number): Promise<number[]> {
  const samples: number[] = [];
  for (let index = 0; index < count; index++) {
    const body = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: `bare-${index}` },
      spec: { podSelector: {}, policyTypes: ['Ingress'] },
    };
    samples.push(await timed(() => cluster.call('POST', networkPolicyPath('default'), body)));
    await cluster.call('DELETE', networkPolicyPath('default', body.metadata.name));
  }
  return samples;
}

/**
 * New namespaces, one after the other, each from the answer to its creation until an independent watch has seen its four
 * children.
 */
export async function protectNewNamespaces(
  cluster: Cluster,
  policy: string,
  prefix: string,
  count: number,
): Promise<number[]> {
  const samples: number[] = [];
  for (let index = 0; index < count; index++) {
    const namespace = `${prefix}-${index}`;
    await using watch = await NamespaceWatch.start(cluster, namespace);
    await cluster.createNamespace(namespace, policy);
    samples.push(await timed(() => watch.until((objects) => objects.size === 4)));
  }
  return samples;
}

/** Heals of one child, edited and deleted in turn; each from the answer to what was done to it until its heal was seen. */
export async function healChildren(
  cluster: Cluster,
  policy: string,
  namespaces: readonly string[],
): Promise<{ readonly edits: number[]; readonly deletes: number[] }> {
  const edits: number[] = [];
  const deletes: number[] = [];
  for (const namespace of namespaces) {
    await using watch = await NamespaceWatch.start(cluster, namespace);
    const edited = `${policy}.default-deny`;
    const deleted = `${policy}.allow-dns`;
    const opened = await cluster.call<WireObject>('PATCH', networkPolicyPath(namespace, edited), {
      spec: { ingress: [{}] },
    });
    edits.push(
      await timed(() =>
        watch.until((objects) => {
          const { metadata, spec } = objects.get(edited) ?? opened;
          return isLater(metadata, opened.metadata) && (spec as { ingress?: unknown }).ingress === undefined;
        }),
      ),
    );
    const { uid } = (await cluster.call<WireObject>('GET', networkPolicyPath(namespace, deleted))).metadata;
    await cluster.call('DELETE', networkPolicyPath(namespace, deleted));
    deletes.push(
      await timed(() =>
        watch.until((objects) => {
          const child = objects.get(deleted);
          return child !== undefined && child.metadata['uid'] !== uid;
        }),
      ),
    );
  }
  return { edits, deletes };
}

/** Writes of somebody else, ten a second, until told to stop; their latencies. */
export class Bystander {
  readonly #cluster: Cluster;
  readonly #samples: number[] = [];
  readonly #ended = new AbortController();
  readonly #running: Promise<void>;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.#running = this.#run();
  }

  async stop(): Promise<number[]> {
    this.#ended.abort();
    await this.#running;
    return this.#samples;
  }

  async #run(): Promise<void> {
    const { signal } = this.#ended;
    const path = '/api/v1/namespaces/default/configmaps';
    const name = `bystander-${performance.now().toFixed(0)}`;
    await this.#cluster.call('POST', path, { metadata: { name }, data: {} });
    for (let value = 0; !signal.aborted; value++) {
      this.#samples.push(
        await timed(() => this.#cluster.call('PATCH', `${path}/${name}`, { data: { value: String(value) } })),
      );
      await delay(100, undefined, { signal }).catch(() => undefined);
    }
  }
}

/** How long it takes, in milliseconds. */
export async function timed(run: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await run();
  return performance.now() - startedAt;
}

function isLater(a: { resourceVersion?: string }, b: { resourceVersion?: string }): boolean {
  return BigInt(a.resourceVersion ?? 0) > BigInt(b.resourceVersion ?? 0);
}
