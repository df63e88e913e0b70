import type { NetworkPolicy } from '../api/networkpolicy.ts';
import { RESOURCES, type KubeClient } from '../kube/client.ts';
import { FencedError, isAlreadyExists, isConflict, isNamespaceGone, isNotFound } from '../kube/errors.ts';
import type { Store } from '../kube/store.ts';
import { mendChild, orphanChild, serializeChild } from '../policy/child.ts';
import type { DesiredChild } from '../policy/desired.ts';
import { recognizeCreated, type LiveNetworkPolicy } from '../policy/live.ts';

/**
 * What came of a write. `stale`: the cache was behind; it has been brought up to date, look again. `namespace-gone`:
 * the API server says that the namespace is being deleted, or is gone. `not-leader`: nothing was sent.
 */
export type WriteResult = 'written' | 'stale' | 'namespace-gone' | 'not-leader';

/**
 * Writes children. Every write is fenced by leadership at the moment it is sent, by the client, and guarded so that the
 * API server refuses it when the object is not the one that was seen. Answers go into the cache ahead of their watch
 * events, so that nothing is written twice while a watch lags. Methods throw APIError or ConnectionError for what is left.
 */
export class ChildWriter {
  readonly #client: KubeClient;
  readonly #store: Store<LiveNetworkPolicy>;
  readonly #mayWrite: () => boolean;

  constructor(client: KubeClient, store: Store<LiveNetworkPolicy>, mayWrite: () => boolean) {
    this.#client = client;
    this.#store = store;
    this.#mayWrite = mayWrite;
  }

  /** Creates a child. */
  async create(child: DesiredChild, namespace: string): Promise<WriteResult> {
    if (!this.#mayWrite()) return 'not-leader';
    try {
      const body = serializeChild(child.template, namespace);
      const answer = await this.#client.createText(RESOURCES.networkPolicies, body, namespace);
      const created = recognizeCreated(
        answer,
        child,
        namespace,
        child.template.metadata.ownerReferences?.[0]?.uid ?? '',
      );
      if (created !== undefined) this.#store.observeOwn(created);
      else this.#store.observeWrite(JSON.parse(answer) as NetworkPolicy);
      return 'written';
    } catch (error) {
      if (error instanceof FencedError) return 'not-leader';
      if (isNamespaceGone(error)) return 'namespace-gone';
      if (!isAlreadyExists(error)) throw error;
      await this.refresh(namespace, child.name);
      return 'stale';
    }
  }

  /** Puts a child right in place: its UID and what others added to its metadata stay. */
  async update(child: DesiredChild, live: LiveNetworkPolicy, identityDiffers: boolean): Promise<WriteResult> {
    return this.#change(live, async () => {
      if (identityDiffers) return this.#rewrite(live, (fresh) => mendChild(child.template, fresh));
      // Replacing the resourceVersion in a patch makes the API server refuse it unless it is the current one. The spec
      // is replaced as a whole: merging it would keep what a tenant added.
      return this.#client.patch(RESOURCES.networkPolicies, live, [
        { op: 'replace', path: '/metadata/resourceVersion', value: live.resourceVersion },
        { op: 'add', path: '/spec', value: child.template.spec },
      ]);
    });
  }

  /** Takes our ownerReference off a child, so that it outlives its BaselinePolicy. */
  async orphan(live: LiveNetworkPolicy): Promise<WriteResult> {
    return this.#change(live, () => this.#rewrite(live, orphanChild));
  }

  /** Deletes a child if it is still what was seen. */
  async remove(live: LiveNetworkPolicy): Promise<WriteResult> {
    if (!this.#mayWrite()) return 'not-leader';
    try {
      const { uid, resourceVersion } = live;
      await this.#client.remove(RESOURCES.networkPolicies, live, { uid, resourceVersion });
      this.#store.removeOwn(live);
      return 'written';
    } catch (error) {
      if (error instanceof FencedError) return 'not-leader';
      if (isNotFound(error)) {
        this.#store.removeOwn(live);
        return 'written';
      }
      if (!isConflict(error)) throw error;
      await this.refresh(live.namespace, live.name);
      return 'stale';
    }
  }

  async #change(live: LiveNetworkPolicy, write: () => Promise<NetworkPolicy | undefined>): Promise<WriteResult> {
    if (!this.#mayWrite()) return 'not-leader';
    try {
      const written = await write();
      if (written !== undefined) {
        this.#store.observeWrite(written);
        return 'written';
      }
    } catch (error) {
      if (error instanceof FencedError) return 'not-leader';
      if (!isConflict(error) && !isNotFound(error)) throw error;
    }
    await this.refresh(live.namespace, live.name);
    return 'stale';
  }

  /** Reads the object and writes it changed; undefined when it is another one by now. */
  async #rewrite(
    live: LiveNetworkPolicy,
    edit: (fresh: NetworkPolicy) => NetworkPolicy,
  ): Promise<NetworkPolicy | undefined> {
    const fresh = await this.#client.get<NetworkPolicy>(RESOURCES.networkPolicies, live.name, live.namespace);
    if (fresh.metadata.uid !== live.uid || !this.#mayWrite()) return undefined;
    return this.#client.replace(RESOURCES.networkPolicies, edit(fresh));
  }

  /** Brings the cached object up to date, ahead of the watch. Throws APIError or ConnectionError. */
  async refresh(namespace: string, name: string): Promise<void> {
    try {
      this.#store.observeWrite(await this.#client.get(RESOURCES.networkPolicies, name, namespace));
    } catch (error) {
      if (!isNotFound(error)) throw error;
      const held = this.#store.get(namespace, name);
      if (held !== undefined) this.#store.removeOwn(held);
    }
  }
}
