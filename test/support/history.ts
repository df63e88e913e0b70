import assert from 'node:assert/strict';
import type { BaselinePolicy, BaselinePolicySpec } from '../../src/api/baselinepolicy.ts';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import type { NetworkPolicy } from '../../src/api/networkpolicy.ts';
import { eventually } from './await.ts';
import type { KubeClient, Namespace, ResourceClient, Watch } from './kube.ts';

/** What a history records of every event, whatever the object. */
interface Recorded {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly name: string;
  readonly uid: string;
  /** The resourceVersion as a number: the order of all changes of one etcd. */
  readonly revision: number;
  /** When it came, by performance.now(). */
  readonly at: number;
}

/** An event of a Namespace. */
export interface NamespaceEvent extends Recorded {
  readonly resource: 'namespaces';
  readonly labels: Readonly<Record<string, string>>;
  readonly terminating: boolean;
}

/** An event of a NetworkPolicy. */
export interface NetworkPolicyEvent extends Recorded {
  readonly resource: 'networkpolicies';
  readonly namespace: string;
  readonly terminating: boolean;
  /** The spec as JSON; equal texts are one string. */
  readonly spec: string;
}

/** An event of a BaselinePolicy. */
export interface BaselinePolicyEvent extends Recorded {
  readonly resource: 'baselinepolicies';
  readonly deleting: boolean;
  readonly spec: BaselinePolicySpec;
}

/** Any event of a {@link History}. */
export type HistoryEvent = NamespaceEvent | NetworkPolicyEvent | BaselinePolicyEvent;

/**
 * All that happened to Namespaces, NetworkPolicies and BaselinePolicies of a cluster, as a watcher saw it that goes
 * round every fault. Where it could not watch, because the API server was away and had forgotten, it says what changed
 * meanwhile as if it had happened at once.
 */
export class History implements AsyncDisposable {
  readonly #kube: KubeClient;
  readonly #followers: readonly Pick<Follower<KubernetesObject>, 'start' | 'stop'>[];
  readonly #events: HistoryEvent[] = [];
  readonly #specs = new Map<string, string>();
  #marks = 0;

  private constructor(kube: KubeClient) {
    this.#kube = kube;
    const record = (event: HistoryEvent): void => void this.#events.push(event);
    this.#followers = [
      new Follower(kube.namespaces, (head, { metadata, status }: Namespace) => {
        const terminating = metadata.deletionTimestamp !== undefined || status?.phase === 'Terminating';
        record({ ...head, resource: 'namespaces', labels: metadata.labels ?? {}, terminating });
      }),
      new Follower(kube.networkPolicies(), (head, { metadata, spec }: NetworkPolicy) => {
        const namespace = metadata.namespace ?? '';
        const terminating = metadata.deletionTimestamp !== undefined;
        record({ ...head, resource: 'networkpolicies', namespace, terminating, spec: this.#intern(spec ?? {}) });
      }),
      new Follower(kube.baselinePolicies, (head, { metadata, spec }: BaselinePolicy) => {
        record({ ...head, resource: 'baselinepolicies', deleting: metadata.deletionTimestamp !== undefined, spec });
      }),
    ];
  }

  /** Starts to watch; what exists by then comes first, as ADDED. */
  static async start(kube: KubeClient): Promise<History> {
    const history = new History(kube);
    await Promise.all(history.#followers.map((follower) => follower.start()));
    return history;
  }

  /** The events so far, in the order in which they happened. */
  get events(): readonly HistoryEvent[] {
    return this.#events.toSorted((a, b) => a.revision - b.revision);
  }

  /** Resolves when it has seen all that had happened when it was called. */
  async caughtUp(): Promise<void> {
    // A change of our own comes after all earlier ones of its kind.
    const annotations = { 'test/mark': String(++this.#marks) };
    const namespace = await this.#kube.namespaces.merge('default', { metadata: { annotations } });
    const networkPolicy = await this.#kube.networkPolicies('default').apply({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      ...MARK,
      metadata: { ...MARK.metadata, annotations },
    });
    const policies = await this.#kube.baselinePolicies.list();
    const wanted = [namespace, networkPolicy, ...policies].map(({ metadata }) => Number(metadata.resourceVersion));
    await eventually(
      () => {
        const seen = new Set(this.#events.map(({ revision }) => revision));
        assert.deepEqual(
          wanted.filter((revision) => !seen.has(revision)),
          [],
          'changes that the history has not seen',
        );
      },
      { timeout: 30_000 },
    );
  }

  /** Ends the watches. */
  stop(): void {
    for (const follower of this.#followers) follower.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    await Promise.resolve();
  }

  #intern(spec: object): string {
    const text = JSON.stringify(spec);
    const known = this.#specs.get(text);
    if (known !== undefined) return known;
    this.#specs.set(text, text);
    return text;
  }
}

/** A NetworkPolicy that is nobody's child. */
const MARK = { metadata: { name: 'history-mark' }, spec: { podSelector: { matchLabels: { none: 'such' } } } };

/** Follows one resource for as long as it is not stopped. */
class Follower<T extends KubernetesObject> {
  readonly #resource: ResourceClient<T>;
  readonly #record: (head: Recorded, object: T) => void;
  readonly #held = new Map<string, T>();
  #stopped = false;
  #watch: Watch<T> | undefined;

  constructor(resource: ResourceClient<T>, record: (head: Recorded, object: T) => void) {
    this.#resource = resource;
    this.#record = record;
  }

  /** Resolves when what exists is recorded and the watch is open. */
  async start(): Promise<void> {
    await this.#open();
    void this.#follow();
  }

  stop(): void {
    this.#stopped = true;
    this.#watch?.close();
  }

  async #follow(): Promise<void> {
    for (;;) {
      try {
        for await (const { type, object } of this.#watch ?? []) if (type !== 'BOOKMARK') this.#take(type, object);
      } catch {
        // The API server went, or has forgotten: the next list tells what happened.
      }
      if (this.#stopped) return;
      await eventually(() => this.#open(), { timeout: 180_000, interval: 100 });
    }
  }

  /** Lists, records how that differs from what is held, and watches from there. */
  async #open(): Promise<void> {
    if (this.#stopped) return;
    const { metadata, items } = await this.#resource.page();
    const listed = new Map(items.map((item) => [keyOf(item), item]));
    for (const [key, held] of this.#held) {
      if (listed.get(key)?.metadata.uid === held.metadata.uid) continue;
      // When it went is unknown: it was before the list, and after all that had been seen.
      const gone = { ...held, metadata: { ...held.metadata, resourceVersion: metadata.resourceVersion } };
      this.#take('DELETED', gone);
    }
    for (const [key, item] of listed) {
      const held = this.#held.get(key);
      if (held?.metadata.resourceVersion === item.metadata.resourceVersion) continue;
      this.#take(held === undefined ? 'ADDED' : 'MODIFIED', item);
    }
    this.#watch = await this.#resource.watch({ resourceVersion: metadata.resourceVersion });
  }

  #take(type: Recorded['type'], object: T): void {
    const { name, uid = '', resourceVersion } = object.metadata;
    if (type === 'DELETED') this.#held.delete(keyOf(object));
    else this.#held.set(keyOf(object), object);
    this.#record({ type, name, uid, revision: Number(resourceVersion), at: performance.now() }, object);
  }
}

function keyOf({ metadata }: KubernetesObject): string {
  return `${metadata.namespace ?? ''}/${metadata.name}`;
}
