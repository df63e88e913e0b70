import type { Store } from '../kube/store.ts';
import type { LiveNetworkPolicy } from '../policy/live.ts';
import type { CachedNamespace, Caches } from './caches.ts';

/**
 * How long a new namespace waits, in milliseconds. The API server's admission (NamespaceLifecycle) learns of it by a
 * watch of its own, and holds a write that comes sooner for 50 ms; a client's watch is as fast, and lost that race in
 * 7 of 100 namespaces.
 */
const ADMISSION_LEARNS_WITHIN_MS = 4;

/** Where keys go. */
export interface Queues {
  /** @param afterMs how long the key must wait, in milliseconds; not at all by default */
  readonly enqueueNamespace: (name: string, afterMs?: number) => void;
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
    if (same) return;
    const isNew = after !== undefined && before?.uid !== after.uid;
    enqueueNamespace(namespace.name, isNew ? ADMISSION_LEARNS_WITHIN_MS : 0);
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
