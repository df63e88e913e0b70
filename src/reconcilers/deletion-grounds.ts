import type { BaselinePolicy } from '../api/baselinepolicy.ts';
import type { KubernetesObject } from '../api/metadata.ts';
import { RESOURCES, type KubeClient } from '../kube/client.ts';
import { isNotFound } from '../kube/errors.ts';
import type { CachedNamespace, CachedPolicy, Caches } from './caches.ts';

/** How long a BaselinePolicy need not be read again, as one change of it deletes in many namespaces; milliseconds. */
const POLICY_HOLDS_MS = 100;

/**
 * Reads what children are deleted for: their namespace and their BaselinePolicy. The preconditions of a delete cover the
 * child alone, and caches contradict each other for a while: after an outage each catches up by itself, and answers to
 * writes are ahead of all watches. What is deleted by mistake opens a namespace until it is made again.
 */
export class DeletionGrounds {
  readonly #client: KubeClient;
  readonly #caches: Caches;
  readonly #monotonic: () => number;
  /** When it was last asked whether a policy is still what was cached. */
  readonly #confirmedAt = new WeakMap<CachedPolicy, number>();

  /** @param monotonic clock in milliseconds */
  constructor(client: KubeClient, caches: Caches, monotonic: () => number) {
    this.#client = client;
    this.#caches = caches;
    this.#monotonic = monotonic;
  }

  /**
   * Whether a namespace and a policy are what was cached of them; if not, the caches have been brought up to date.
   * @throws APIError, ConnectionError
   */
  async hold(namespace: CachedNamespace, policy: CachedPolicy): Promise<boolean> {
    const [namespaceHolds, policyHolds] = await Promise.all([
      this.#namespaceHolds(namespace),
      this.#policyHolds(policy),
    ]);
    return namespaceHolds && policyHolds;
  }

  async #namespaceHolds({ name, resourceVersion }: CachedNamespace): Promise<boolean> {
    const current = await orGone(this.#client.get<KubernetesObject>(RESOURCES.namespaces, name));
    if (current === undefined) return false;
    this.#caches.namespaces.observeWrite(current);
    return current.metadata.resourceVersion === resourceVersion;
  }

  async #policyHolds(policy: CachedPolicy): Promise<boolean> {
    const at = this.#monotonic();
    if (at - (this.#confirmedAt.get(policy) ?? Number.NEGATIVE_INFINITY) < POLICY_HOLDS_MS) return true;
    const current = await orGone(this.#client.get<BaselinePolicy>(RESOURCES.baselinePolicies, policy.name));
    if (current === undefined) return false;
    this.#caches.policies.observeWrite(current);
    if (current.metadata.resourceVersion !== policy.resourceVersion) return false;
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
