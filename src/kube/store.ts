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

/** Deletions that are remembered one by one; more than come while one answer is on its way. */
const MAX_ENDED = 250;

const EMPTY: ReadonlyMap<string, never> = new Map<string, never>();

/**
 * A cache of trimmed objects, indexed by namespace and name. It never goes back in time: what is older than what it
 * holds is ignored, be it a late watch event after our own write or an answer of an API server that lags behind.
 */
export class Store<T extends CachedObject> {
  readonly #trim: Trim<T>;
  readonly #namespaces = new Map<string, Map<string, T>>();
  readonly #listeners: StoreListener<T>[] = [];
  /**
   * UIDs of objects that we deleted ourselves and whose event has not come yet, and the resourceVersion that we knew:
   * their late events are ignored.
   */
  readonly #removed = new Map<string, string>();
  #size = 0;
  /** An object that was written up to this resourceVersion is held, or gone: a list has told so since. */
  #horizon = '';
  /** UIDs of objects whose end a watch has told since the horizon, and the resourceVersion of that. */
  readonly #ended = new Map<string, string>();

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

  /**
   * Takes in the answer to our own write, or to a read of one object, ahead of its event, and also when the watch has
   * lost that. An object whose end was told already is ignored: no event would ever remove it again.
   */
  observeWrite(object: KubernetesObject): void {
    const { uid = '', resourceVersion = '' } = object.metadata;
    if (!this.#hasEnded(uid, resourceVersion)) this.observe(object);
  }

  /** Takes in an object as a list or a watch told it, unless it is older than what is held. */
  observe(object: KubernetesObject): void {
    const { metadata } = object;
    const before = this.get(metadata.namespace ?? '', metadata.name);
    const removed = this.#removed.get(metadata.uid ?? '');
    if (removed !== undefined) {
      const isLate = compareResourceVersions(metadata.resourceVersion ?? '', removed) <= 0;
      if (isLate || metadata.deletionTimestamp === undefined) return;
      // Our delete only marked it: a finalizer holds it.
      this.#removed.delete(metadata.uid ?? '');
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
    if (this.#hasEnded(object.uid, object.resourceVersion)) return;
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
    const { namespace = '', name, uid = '', resourceVersion = '' } = object.metadata;
    this.#removed.delete(uid);
    this.#noteEnd(uid, resourceVersion);
    const held = this.get(namespace, name);
    if (held?.uid === uid) this.#drop(held);
  }

  /** Takes in our own successful delete before the watch tells of it. */
  removeOwn(object: T): void {
    const held = this.get(object.namespace, object.name);
    // When the event was faster there is nothing left to ignore.
    if (held?.uid !== object.uid) return;
    this.#removed.set(object.uid, held.resourceVersion);
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
        for (const uid of this.#removed.keys()) if (!listed.has(uid)) this.#removed.delete(uid);
        this.#advanceHorizon(resourceVersion);
        for (const [uid, end] of this.#ended) {
          if (compareResourceVersions(end, this.#horizon) <= 0) this.#ended.delete(uid);
        }
      },
    };
  }

  /** Whether an object of this state, which is not held, is known to be gone by now. */
  #hasEnded(uid: string, resourceVersion: string): boolean {
    return this.#ended.has(uid) || compareResourceVersions(resourceVersion, this.#horizon) <= 0;
  }

  #noteEnd(uid: string, resourceVersion: string): void {
    this.#ended.set(uid, resourceVersion);
    if (this.#ended.size <= MAX_ENDED) return;
    for (const [oldest, end] of this.#ended) {
      // Whatever ended by then was written before.
      this.#ended.delete(oldest);
      this.#advanceHorizon(end);
      return;
    }
  }

  #advanceHorizon(resourceVersion: string): void {
    if (compareResourceVersions(resourceVersion, this.#horizon) > 0) this.#horizon = resourceVersion;
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
