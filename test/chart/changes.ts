import { isDeepStrictEqual } from 'node:util';
import type { ManifestObject } from '../support/kubectl.ts';

/** `Role default/baseline-policy-operator`, or for cluster-wide objects `ClusterRole baseline-policy-operator`. */
function identity({ kind, metadata }: ManifestObject): string {
  return `${kind} ${metadata.namespace === undefined ? '' : `${metadata.namespace}/`}${metadata.name}`;
}

/** Objects by their identity. Throws an Error when two have the same. */
export function byIdentity(objects: readonly ManifestObject[]): Record<string, ManifestObject> {
  const found = Object.fromEntries(objects.map((object) => [identity(object), object]));
  if (Object.keys(found).length < objects.length) {
    throw new Error(`Expected objects that differ in kind or name, got ${objects.map(identity).join(', ')}`);
  }
  return found;
}

/**
 * What is in the second list of objects and not in the first, field by field: new values by `IDENTITY PATH`, undefined for
 * what is gone. `PATH[+]` is what was put at the end of a list. A new object is `added`, one that is gone `removed`.
 */
export function changesOf(
  before: readonly ManifestObject[],
  after: readonly ManifestObject[],
): Record<string, unknown> {
  const [old, current] = [byIdentity(before), byIdentity(after)];
  const changes: Record<string, unknown> = {};
  for (const name of new Set([...Object.keys(old), ...Object.keys(current)])) {
    if (old[name] === undefined) changes[name] = 'added';
    else if (current[name] === undefined) changes[name] = 'removed';
    else addChanges(`${name} `, old[name], current[name], changes);
  }
  return changes;
}

function addChanges(path: string, before: unknown, after: unknown, changes: Record<string, unknown>): void {
  if (isDeepStrictEqual(before, after)) return;
  if (Array.isArray(before) && Array.isArray(after)) {
    if (after.length > before.length && isDeepStrictEqual(after.slice(0, before.length), before)) {
      changes[`${path}[+]`] = after.slice(before.length);
      return;
    }
    if (after.length === before.length) {
      after.forEach((item, index) => {
        addChanges(`${path}[${index}]`, before[index], item, changes);
      });
      return;
    }
  } else if (isObject(before) && isObject(after)) {
    for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
      addChanges(path.endsWith(' ') ? path + key : `${path}.${key}`, before[key], after[key], changes);
    }
    return;
  }
  changes[path] = after;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
