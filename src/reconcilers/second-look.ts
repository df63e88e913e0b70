import type { BaselinePolicy } from '../api/baselinepolicy.ts';
import type { KubernetesObject } from '../api/metadata.ts';
import { RESOURCES, type KubeClient } from '../kube/client.ts';
import { isNotFound } from '../kube/errors.ts';
import { compareResourceVersions } from '../kube/resource-version.ts';
import type { LiveNetworkPolicy } from '../policy/live.ts';
import type { CachedNamespace, CachedPolicy, Caches } from './caches.ts';

/** How long a BaselinePolicy need not be read again, as one change of it deletes in many namespaces; milliseconds. */
const POLICY_HOLDS_MS = 100;

/**
 * Asks the API server itself, where caches that contradict each other would mislead: each catches up by itself, after an
 * outage and whenever a watch lags, and answers to writes are ahead of all watches.
 */
export class SecondLook {
  readonly #client: KubeClient;
  readonly #caches: Caches;
  readonly #monotonic: () => number;
  /** When it was last asked whether a policy is still what was cached. */
  readonly #confirmedAt = new WeakMap<CachedPolicy, number>();
  /** UIDs of namespaces that have come since the caches were synced and that nobody has looked at. */
  readonly #newcomers = new Set<string>();
  #follows = false;

  /**
   * To be made before whoever looks at namespaces is told of them.
   * @param monotonic clock in milliseconds
   */
  constructor(client: KubeClient, caches: Caches, monotonic: () => number) {
    this.#client = client;
    this.#caches = caches;
    this.#monotonic = monotonic;
    caches.namespaces.subscribe((before, after) => {
      if (before?.uid === after?.uid) return;
      if (before !== undefined) this.#newcomers.delete(before.uid);
      if (after !== undefined && this.#follows) this.#newcomers.add(after.uid);
    });
  }

  /**
   * Whether a namespace and the spec of a policy, for which children are to be deleted, are what was cached of them; if
   * not, the caches have been brought up to date. The preconditions of a delete cover the child alone, and what is
   * deleted by mistake opens a namespace until it is made again.
   * @throws APIError, ConnectionError
   */
  async holds(namespace: CachedNamespace, policy: CachedPolicy): Promise<boolean> {
    const [namespaceHolds, policyHolds] = await Promise.all([
      this.#namespaceHolds(namespace),
      this.#policyHolds(policy),
    ]);
    return namespaceHolds && policyHolds;
  }

  /** Notes which namespaces come from now on; call it when the caches are synced. */
  followNamespaces(): void {
    this.#follows = true;
  }

  /**
   * Cached NetworkPolicies that may be of the namespace that had this name before, as the watch of NetworkPolicies may be
   * behind that of namespaces: they are older than a namespace that nobody has looked at.
   */
  leftovers({ name, uid, resourceVersion }: CachedNamespace): LiveNetworkPolicy[] {
    if (!this.#newcomers.has(uid)) return [];
    return [...this.#caches.networkPolicies.inNamespace(name).values()].filter(
      (child) => compareResourceVersions(child.resourceVersion, resourceVersion) < 0,
    );
  }

  /** Notes that what is cached of a namespace has been looked at. */
  lookedAt({ uid }: CachedNamespace): void {
    this.#newcomers.delete(uid);
  }

  /**
   * Whether a namespace is still the one that was cached, and is not being deleted: a child that is missing from it was
   * not taken by the namespace controller. If not, the cache has been brought up to date.
   * @throws APIError, ConnectionError
   */
  async lives(namespace: CachedNamespace): Promise<boolean> {
    const current = await this.#readNamespace(namespace.name);
    return current?.metadata.uid === namespace.uid && current.metadata.deletionTimestamp === undefined;
  }

  async #namespaceHolds({ name, resourceVersion }: CachedNamespace): Promise<boolean> {
    return (await this.#readNamespace(name))?.metadata.resourceVersion === resourceVersion;
  }

  async #readNamespace(name: string): Promise<KubernetesObject | undefined> {
    const current = await orGone(this.#client.get<KubernetesObject>(RESOURCES.namespaces, name));
    if (current !== undefined) this.#caches.namespaces.observeWrite(current);
    return current;
  }

  async #policyHolds(policy: CachedPolicy): Promise<boolean> {
    const at = this.#monotonic();
    if (at - (this.#confirmedAt.get(policy) ?? Number.NEGATIVE_INFINITY) < POLICY_HOLDS_MS) return true;
    const current = await orGone(this.#client.get<BaselinePolicy>(RESOURCES.baselinePolicies, policy.name));
    if (current === undefined) return false;
    this.#caches.policies.observeWrite(current);
    // Its status, which we write all the time, says nothing of what it wants; its end is a generation of its own.
    const { uid, generation } = current.metadata;
    if (uid !== policy.uid || generation !== policy.object.metadata.generation) return false;
    this.#confirmedAt.set(policy, at);
    return true;
  }
}

/** The object, or undefined when it does not exist. */
async function orGone<T>(object: Promise<T>): Promise<T | undefined> {
  try {
    return await object;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
