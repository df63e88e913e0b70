import type { BaselinePolicy } from '../api/baselinepolicy.ts';
import type { KubernetesObject } from '../api/metadata.ts';
import { Store, type CachedObject } from '../kube/store.ts';
import { trimNetworkPolicy, type LiveNetworkPolicy } from '../policy/live.ts';
import type { SelectableNamespace } from '../policy/select.ts';

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

/**
 * Texts to remember, and characters of all of them, before the table is begun anew: far more than a fleet has. What no
 * object says any more stays in it until then.
 */
const MAX_INTERNED = 10_000;
const MAX_INTERNED_CHARACTERS = 4_000_000;

/** Makes empty caches with the trimming that the operator needs. */
export function createCaches(): Caches {
  const intern = createInterner();
  return {
    namespaces: new Store(trimNamespace),
    policies: new Store(trimPolicy),
    networkPolicies: new Store((object, before) => trimNetworkPolicy(object, before, intern)),
  };
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

/** Returns one instance for equal texts. */
function createInterner(): (text: string) => string {
  const texts = new Map<string, string>();
  let characters = 0;
  return (text) => {
    const known = texts.get(text);
    if (known !== undefined) return known;
    characters += text.length;
    if (texts.size >= MAX_INTERNED || characters > MAX_INTERNED_CHARACTERS) {
      texts.clear();
      characters = text.length;
    }
    texts.set(text, text);
    return text;
  };
}
