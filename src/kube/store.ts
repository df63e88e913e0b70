import type { KubernetesObject } from '../api/metadata.ts';
import { compareResourceVersions } from './resource-version.ts';

/** What every cached record has, whatever else was kept of the object. */
export interface CachedObject {
  /** Empty for a cluster-scoped object. */
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
}

/** Told of every change of the cache; `before` is absent for a new object, `after` for one that is gone. */
export type StoreListener<T> = (before: T | undefined, after: T | undefined) => void;

/** Keeps of an object what its readers need; undefined when nothing of it matters. */
export type Trim<T> = (object: KubernetesObject, before: T | undefined) => T | undefined;

const EMPTY: ReadonlyMap<string, never> = new Map<string, never>();

/**
 * A cache of trimmed objects, indexed by namespace and name. It never goes back in time: what is older than what it
 * holds is ignored, be it a late watch event after our own write or an answer of an API server that lags behind.
 */
export class Store<T extends CachedObject> {
  readonly #trim: Trim<T>;
  readonly #namespaces = new Map<string, Map<string, T>>();
  readonly #listeners: StoreListener<T>[] = [];
  /** UIDs of objects that we deleted ourselves and whose event has not come yet: their late events are ignored. */
  readonly #removed = new Set<string>();
  #size = 0;
  /** How far the watch has told us: it has delivered everything up to this resourceVersion. */
  #progress = '';

  constructor(trim: Trim<T>) {
    this.#trim = trim;
  }

  /** Number of cached objects. */
  get size(): number {
    return this.#size;
  }

  /** One object; the namespace of a cluster-scoped one is empty. */
  get(namespace: string, name: string): T | undefined {
    return this.#namespaces.get(namespace)?.get(name);
  }

  /** All objects of a namespace by name. */
  inNamespace(namespace: string): ReadonlyMap<string, T> {
    return this.#namespaces.get(namespace) ?? EMPTY;
  }

  /** All objects, in no order. */
  *values(): Generator<T> {
    for (const objects of this.#namespaces.values()) yield* objects.values();
  }

  /** Adds a listener; it is told of changes from now on. */
  subscribe(listener: StoreListener<T>): void {
    this.#listeners.push(listener);
  }

  /** Notes that the list or watch has delivered everything up to this resourceVersion. Never goes back. */
  advanceTo(resourceVersion: string): void {
    if (compareResourceVersions(resourceVersion, this.#progress) > 0) this.#progress = resourceVersion;
  }

  /**
   * Takes in the answer to our own write, ahead of its event. What the watch has passed already is ignored: the object
   * may have been deleted since, and no event would ever remove it again.
   */
  observeWrite(object: KubernetesObject): void {
    if (compareResourceVersions(object.metadata.resourceVersion ?? '', this.#progress) > 0) this.observe(object);
  }

  /** Takes in an object as a list or a watch told it, unless it is older than what is held. */
  observe(object: KubernetesObject): void {
    const { metadata } = object;
    const before = this.get(metadata.namespace ?? '', metadata.name);
    if (metadata.uid !== undefined && this.#removed.has(metadata.uid)) {
      // Our delete only marked it: a finalizer holds it.
      if (metadata.deletionTimestamp === undefined) return;
      this.#removed.delete(metadata.uid);
    }
    if (before !== undefined && compareResourceVersions(metadata.resourceVersion ?? '', before.resourceVersion) <= 0) {
      return;
    }
    const after = this.#trim(object, before);
    if (after !== undefined) this.#hold(before, after);
    else if (before !== undefined) this.#drop(before);
  }

  /** Does what {@link observeWrite} does with an object that is trimmed already. */
  observeOwn(object: T): void {
    if (compareResourceVersions(object.resourceVersion, this.#progress) <= 0) return;
    const before = this.get(object.namespace, object.name);
    if (before === undefined || compareResourceVersions(object.resourceVersion, before.resourceVersion) > 0) {
      this.#hold(before, object);
    }
  }

  /** Whether exactly this state of an object is held: reading it once more tells nothing new. */
  holds({ namespace, name, uid, resourceVersion }: CachedObject): boolean {
    const held = this.get(namespace, name);
    return held?.resourceVersion === resourceVersion && held.uid === uid;
  }

  #hold(before: T | undefined, after: T): void {
    let objects = this.#namespaces.get(after.namespace);
    if (objects === undefined) {
      objects = new Map();
      this.#namespaces.set(after.namespace, objects);
    }
    objects.set(after.name, after);
    if (before === undefined) this.#size++;
    this.#notify(before, after);
  }

  /** Takes in the end of an object, as a watch told it. An object of the same name that came after it stays. */
  observeDeletion(object: KubernetesObject): void {
    const { namespace = '', name, uid = '' } = object.metadata;
    this.#removed.delete(uid);
    const held = this.get(namespace, name);
    if (held?.uid === uid) this.#drop(held);
  }

  /** Takes in our own successful delete before the watch tells of it. */
  removeOwn(object: T): void {
    const held = this.get(object.namespace, object.name);
    // When the event was faster there is nothing left to ignore.
    if (held?.uid !== object.uid) return;
    this.#removed.add(object.uid);
    this.#drop(held);
  }

  /**
   * Starts to replace the whole content by a list. Objects are taken in page by page; nothing is dropped before
   * `commit`, so a list that fails half-way is never read as an absence.
   */
  replace(): { observe: (object: KubernetesObject) => void; commit: (resourceVersion: string) => void } {
    const listed = new Set<string>();
    return {
      observe: (object) => {
        listed.add(object.metadata.uid ?? '');
        this.observe(object);
      },
      commit: (resourceVersion) => {
        const gone = [...this.values()].filter(
          // What was written after the list was taken can't be in it.
          (held) => !listed.has(held.uid) && compareResourceVersions(held.resourceVersion, resourceVersion) <= 0,
        );
        for (const held of gone) this.#drop(held);
        for (const uid of this.#removed) if (!listed.has(uid)) this.#removed.delete(uid);
        this.advanceTo(resourceVersion);
      },
    };
  }

  #drop(held: T): void {
    const objects = this.#namespaces.get(held.namespace);
    objects?.delete(held.name);
    if (objects?.size === 0) this.#namespaces.delete(held.namespace);
    this.#size--;
    this.#notify(held, undefined);
  }

  #notify(before: T | undefined, after: T | undefined): void {
    for (const listener of this.#listeners) listener(before, after);
  }
}
