import type { Store } from '../kube/store.ts';
import type { LiveNetworkPolicy } from '../policy/live.ts';
import type { CachedNamespace, Caches } from './caches.ts';

/** Where keys go. */
export interface Queues {
  readonly enqueueNamespace: (name: string) => void;
  readonly enqueuePolicy: (name: string) => void;
}

/** Turns every change of a cache into the keys that must be looked at again. */
export function mapChanges(caches: Caches, queues: Queues): void {
  mapNamespaces(caches.namespaces, queues);
  mapNetworkPolicies(caches.networkPolicies, queues);
  caches.policies.subscribe((before, after) => {
    const policy = after ?? before;
    if (policy !== undefined) queues.enqueuePolicy(policy.name);
  });
}

function mapNamespaces(namespaces: Store<CachedNamespace>, { enqueueNamespace }: Queues): void {
  namespaces.subscribe((before, after) => {
    const namespace = after ?? before;
    if (namespace === undefined) return;
    // Annotations, finalizers and the like change nothing for us.
    const same =
      before?.uid === after?.uid &&
      before?.terminating === after?.terminating &&
      sameLabels(before?.labels ?? {}, after?.labels ?? {});
    if (!same) enqueueNamespace(namespace.name);
  });
}

function mapNetworkPolicies(networkPolicies: Store<LiveNetworkPolicy>, { enqueueNamespace }: Queues): void {
  networkPolicies.subscribe((before, after) => {
    const policy = after ?? before;
    if (policy === undefined) return;
    const same =
      before?.uid === after?.uid &&
      before?.spec === after?.spec &&
      before?.identity === after?.identity &&
      before?.deleting === after?.deleting;
    if (!same) enqueueNamespace(policy.namespace);
  });
}

function sameLabels(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}
