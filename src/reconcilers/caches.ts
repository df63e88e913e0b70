import type { BaselinePolicy } from '../api/baselinepolicy.ts';
import type { KubernetesObject } from '../api/metadata.ts';
import { Store, type CachedObject } from '../kube/store.ts';
import { trimNetworkPolicy, type LiveNetworkPolicy } from '../policy/live.ts';
import type { SelectableNamespace } from '../policy/select.ts';
import { Interner } from './interner.ts';

/** What is kept of a Namespace. */
export interface CachedNamespace extends CachedObject, SelectableNamespace {
  readonly terminating: boolean;
}

/** What is kept of a BaselinePolicy: all but who wrote which field. */
export interface CachedPolicy extends CachedObject {
  readonly object: BaselinePolicy;
}

/** The caches that reconcilers read. */
export interface Caches {
  readonly namespaces: Store<CachedNamespace>;
  readonly policies: Store<CachedPolicy>;
  readonly networkPolicies: Store<LiveNetworkPolicy>;
}

/** Makes empty caches with the trimming that the operator needs. */
export function createCaches(): Caches {
  const interner = new Interner(() => textsOf(networkPolicies.values()));
  const intern = (text: string): string => interner.intern(text);
  const networkPolicies = new Store<LiveNetworkPolicy>((object, before) => trimNetworkPolicy(object, before, intern));
  return { namespaces: new Store(trimNamespace), policies: new Store(trimPolicy), networkPolicies };
}

/** The texts of NetworkPolicies that many of them share. */
function* textsOf(networkPolicies: Iterable<LiveNetworkPolicy>): Generator<string> {
  for (const { namespace, name, ownerUid, lastOwnerUid, identity, spec } of networkPolicies) {
    yield* [namespace, name, ownerUid, lastOwnerUid, identity, spec];
  }
}

function trimNamespace({ metadata }: KubernetesObject): CachedNamespace {
  return {
    namespace: '',
    name: metadata.name,
    uid: metadata.uid ?? '',
    resourceVersion: metadata.resourceVersion ?? '',
    labels: metadata.labels ?? {},
    terminating: metadata.deletionTimestamp !== undefined,
  };
}

function trimPolicy(object: KubernetesObject): CachedPolicy {
  const { metadata } = object;
  const kept: BaselinePolicy = {
    ...(object as BaselinePolicy),
    metadata: { ...metadata, ...('managedFields' in metadata && { managedFields: undefined }) },
  };
  return {
    namespace: '',
    name: metadata.name,
    uid: metadata.uid ?? '',
    resourceVersion: metadata.resourceVersion ?? '',
    object: kept,
  };
}
