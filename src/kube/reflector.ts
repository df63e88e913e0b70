import { setTimeout as delay } from 'node:timers/promises';
import type { Readable } from 'node:stream';
import type { KubernetesObject } from '../api/metadata.ts';
import type { Logger } from '../observability/log.ts';
import type { KubeClient, ListPage, ResourceType, Scope } from './client.ts';
import { APIError, isExpired, isNotFound, OversizedAnswerError, type StatusBody } from './errors.ts';
import { readLines } from './lines.ts';
import { compareResourceVersions } from './resource-version.ts';
import type { CachedObject, Store } from './store.ts';

/** What a reflector does with a store, whatever is kept in it. */
export type ReflectorTarget = Pick<Store<CachedObject>, 'size' | 'observe' | 'observeDeletion' | 'replace' | 'holds'>;

/** Sees how a watch fares, for metrics. */
export interface WatchObserver {
  /** A watch was opened again, whatever the reason. */
  observeWatchRestart(resource: string): void;
  /** The server sent something: a list, the headers of a watch, an event or a bookmark. */
  observeWatchEvent(resource: string): void;
  /** Nobody watches the resource any more. */
  observeWatchEnd(resource: string): void;
}

/** Options of a {@link Reflector}. */
export interface ReflectorOptions {
  readonly client: KubeClient;
  readonly type: ResourceType;
  readonly scope: Scope;
  readonly store: ReflectorTarget;
  readonly logger: Logger;
  readonly observer?: WatchObserver;
  /** Told once whenever the API server turns out not to know the resource. */
  readonly onMissing?: () => void;
  /** Told once when a resource that the API server did not know is there, after its list was taken in. */
  readonly onFound?: () => void;
  /** Told when the API server answers again after a failure. */
  readonly onRecovered?: () => void;
  /** Objects a page of a list; fewer where a page would be longer than {@link MAX_PAGE_BYTES}. */
  readonly pageSize: number;
  /** Longest silence of a watch, in milliseconds; see {@link DEFAULT_IDLE_TIMEOUT_MS}. */
  readonly idleTimeoutMs?: number;
  /** Bounds of the random `timeoutSeconds` of a watch. */
  readonly watchTimeoutSeconds?: readonly [number, number];
  /** Between 0 and 1; spreads restarts and back-off. */
  readonly random?: () => number;
}

/**
 * A watch that says nothing for so long is opened again from where it was. Servers send a bookmark about every minute,
 * but a dead connection (a proxy that forgot it, a peer that vanished) must be noticed within a minute too, and opening
 * a watch again costs one request.
 */
export const DEFAULT_IDLE_TIMEOUT_MS = 50_000;

/**
 * Longest page of a list that is read. Reading one takes about twenty times as much memory for a moment, and whoever may
 * create objects decides on their size, up to about 1.5 MB each: a page of 500 of those would end the process. A page of
 * ordinary objects is well below 1 MB.
 */
const MAX_PAGE_BYTES = 4_000_000;

const BACKOFF_MIN_MS = 800;
const BACKOFF_MAX_MS = 30_000;
/** How long a watch must hold for its failures to be forgotten. */
const HEALTHY_AFTER_MS = 5_000;

/** The list is of an older state than the one already seen: an API server that lags behind, or a restored etcd. */
class StaleListError extends Error {
  constructor(listed: string, seen: string) {
    super(`expected a list of resourceVersion ${seen} or later, got ${listed}: the API server lags behind`);
    this.name = 'StaleListError';
  }
}

/** A watch said something that is no watch event. */
class GarbledEventError extends Error {
  constructor(line: string, cause: unknown) {
    super(`expected a watch event, got ${JSON.stringify(line.slice(0, 80))}`, { cause });
    this.name = 'GarbledEventError';
  }
}

interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: KubernetesObject | (StatusBody & { metadata?: never });
}

/**
 * Keeps a store equal to what the API server has: one complete list by pages, then a watch that is resumed where it
 * broke off. A new list is made only when the server can't resume (410) or the watch can't be trusted. Never gives up;
 * waits between failures, longer each time, with jitter.
 */
export class Reflector {
  readonly #options: ReflectorOptions;
  readonly #resource: string;
  readonly #logger: Logger;
  readonly #stopped = new AbortController();
  readonly #random: () => number;
  #running: Promise<void> | undefined;
  #resourceVersion = '';
  /** Objects that the next page of a list may have. */
  #pageLimit: number;
  #synced = false;
  #failure: unknown;
  #failures = 0;
  /** Whether the last failure was a 410: the list was made anew for it, and no watch has held since. */
  #expired = false;
  #mustList = true;
  #endWatch: (() => void) | undefined;
  #endWait: (() => void) | undefined;
  readonly #whenSynced = Promise.withResolvers<undefined>();

  constructor(options: ReflectorOptions) {
    this.#options = options;
    this.#resource = options.type.plural;
    this.#logger = options.logger.with({ resource: this.#resource });
    this.#random = options.random ?? Math.random;
    this.#pageLimit = options.pageSize;
  }

  /** Plural of the resource. */
  get resource(): string {
    return this.#resource;
  }

  /** Whether a complete list has been taken in at least once. */
  get synced(): boolean {
    return this.#synced;
  }

  /** Why the last list or watch failed; undefined while all is well. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Whether the API server does not know the resource: its CustomResourceDefinition is not installed. */
  get missing(): boolean {
    return isNotFound(this.#failure);
  }

  /** Resolves when the first complete list has been taken in. */
  async whenSynced(): Promise<void> {
    await this.#whenSynced.promise;
  }

  /** Starts to list and watch; returns at once. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** Makes a new list instead of resuming the watch: finds what a watch lost without anybody noticing. */
  resync(): void {
    if (!this.#synced) return;
    this.#mustList = true;
    this.#endWatch?.();
  }

  /** Ends a wait between two tries: the API server is back. */
  hasten(): void {
    this.#endWait?.();
  }

  /** Ends the watch and resolves when nothing more will be taken in. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#running;
    this.#options.observer?.observeWatchEnd(this.#resource);
  }

  async #run(): Promise<void> {
    let opened = 0;
    while (!this.#isStopped()) {
      try {
        if (this.#mustList) {
          await this.#list();
          this.#mustList = false;
        }
        if (opened++ > 0) this.#options.observer?.observeWatchRestart(this.#resource);
        await this.#watch();
      } catch (error) {
        if (this.#isStopped()) break;
        // What can't be resumed or can't be read is listed anew; anything else goes on from where it was.
        this.#mustList ||= isExpired(error) || isNotFound(error) || error instanceof GarbledEventError;
        // A resourceVersion that is too old is nothing unusual, as when the server has restarted meanwhile, but one that
        // comes straight from a list is.
        const fromList = this.#expired;
        this.#expired = isExpired(error);
        if (!this.#expired || fromList) await this.#backOff(error);
      }
    }
  }

  #isStopped(): boolean {
    return this.#stopped.signal.aborted;
  }

  /** Reads all pages; what is gone is dropped only after the last page. */
  async #list(): Promise<void> {
    const { store } = this.#options;
    const replacement = store.replace();
    let token: string | undefined;
    let resourceVersion: string;
    do {
      const page = await this.#page(token);
      resourceVersion = page.metadata.resourceVersion ?? '';
      if (compareResourceVersions(resourceVersion, this.#resourceVersion) < 0) {
        throw new StaleListError(resourceVersion, this.#resourceVersion);
      }
      for (const item of page.items ?? []) replacement.observe(item);
      token = page.metadata.continue === '' ? undefined : page.metadata.continue;
    } while (token !== undefined);
    replacement.commit(resourceVersion);
    this.#resourceVersion = resourceVersion;
    const wasMissing = this.missing;
    this.#noteSuccess();
    if (wasMissing) this.#options.onFound?.();
    this.#options.observer?.observeWatchEvent(this.#resource);
    if (!this.#synced) {
      this.#synced = true;
      this.#logger.debug('Synced cache', { objects: store.size });
      this.#whenSynced.resolve(undefined);
    }
  }

  /** Reads the page after a token, with fewer objects if they are so large that it would take too much memory. */
  async #page(token: string | undefined): Promise<ListPage> {
    const { client, type, scope, pageSize } = this.#options;
    const { signal } = this.#stopped;
    for (;;) {
      const limit = this.#pageLimit;
      const maxBytes = limit > 1 ? MAX_PAGE_BYTES : undefined;
      try {
        const page = await client.list(type, scope, { limit, maxBytes, signal, ...(token !== undefined && { token }) });
        this.#pageLimit = Math.min(pageSize, limit * 2);
        return page;
      } catch (error) {
        if (!(error instanceof OversizedAnswerError)) throw error;
        this.#pageLimit = Math.max(1, Math.floor(limit / 4));
      }
    }
  }

  /** Follows one watch to its end. Returns when the server closed it or it fell silent; throws when it failed. */
  async #watch(): Promise<void> {
    const { client, type, scope, observer } = this.#options;
    const [min, max] = this.#options.watchTimeoutSeconds ?? [300, 600];
    const ended = new AbortController();
    const signal = AbortSignal.any([this.#stopped.signal, ended.signal]);
    const silence = new SilenceTimer(this.#options.idleTimeoutMs ?? DEFAULT_IDLE_TIMEOUT_MS, () => {
      ended.abort();
    });
    this.#endWatch = () => {
      ended.abort();
    };
    const openedAt = performance.now();
    let stream: Readable | undefined;
    let healthy: NodeJS.Timeout | undefined;
    try {
      const timeoutSeconds = Math.round(min + (max - min) * this.#random());
      stream = await client.watch(type, scope, { resourceVersion: this.#resourceVersion, timeoutSeconds, signal });
      this.#noteSuccess();
      observer?.observeWatchEvent(this.#resource);
      healthy = setTimeout(() => {
        this.#recover();
      }, HEALTHY_AFTER_MS);
      for await (const line of readLines(stream)) {
        silence.reset();
        observer?.observeWatchEvent(this.#resource);
        if (!this.#isKnown(line)) this.#takeIn(parseEvent(line));
      }
      if (performance.now() - openedAt < BACKOFF_MIN_MS) throw new Error('the watch was closed as soon as it was open');
      this.#recover();
    } catch (error) {
      if (ended.signal.aborted && !this.#stopped.signal.aborted) {
        // We ended it; until then it was as good as one that the server closes.
        if (stream !== undefined && performance.now() - openedAt >= BACKOFF_MIN_MS) this.#recover();
        if (!this.#mustList)
          this.#logger.debug('Opening silent watch again', { resourceVersion: this.#resourceVersion });
        return;
      }
      throw error;
    } finally {
      this.#endWatch = undefined;
      silence.stop();
      clearTimeout(healthy);
      ended.abort();
      stream?.destroy();
    }
  }

  /**
   * Whether the event tells of a state that the store holds already, as the events of our own writes do. Told by the
   * head of the line; parsing the rest would cost most of what a fill costs.
   */
  #isKnown(line: string): boolean {
    const [, name, namespace, uid, resourceVersion] = EVENT_HEAD.exec(line) ?? [];
    if (name === undefined || namespace === undefined || uid === undefined || resourceVersion === undefined)
      return false;
    const { store } = this.#options;
    if (!store.holds({ name, namespace, uid, resourceVersion })) return false;
    this.#advanceTo(resourceVersion);
    return true;
  }

  #takeIn(event: WatchEvent): void {
    const { store } = this.#options;
    if (event.type === 'ERROR') {
      const status = event.object as StatusBody;
      throw new APIError(`WATCH ${this.#resource}`, status.code ?? 500, status);
    }
    const object = event.object as KubernetesObject;
    const resourceVersion = object.metadata.resourceVersion ?? '';
    if (event.type === 'DELETED') store.observeDeletion(object);
    else if (event.type !== 'BOOKMARK') store.observe(object);
    this.#advanceTo(resourceVersion);
  }

  #advanceTo(resourceVersion: string): void {
    if (compareResourceVersions(resourceVersion, this.#resourceVersion) > 0) this.#resourceVersion = resourceVersion;
  }

  #noteSuccess(): void {
    if (this.#failure === undefined) return;
    this.#failure = undefined;
    this.#options.onRecovered?.();
  }

  #recover(): void {
    if (this.#failures > 0) this.#logger.info('Recovered', { failures: this.#failures });
    this.#failures = 0;
    this.#expired = false;
  }

  async #backOff(error: unknown): Promise<void> {
    if (isNotFound(error) && !this.missing) this.#options.onMissing?.();
    this.#failure = error;
    if (error instanceof APIError && error.retryAfterMs !== undefined) {
      // The server says when to come back, as while it starts: that is no failure, and no reason to wait longer.
      const asked = Math.min(BACKOFF_MAX_MS, Math.max(BACKOFF_MIN_MS, error.retryAfterMs));
      await this.#wait(asked * (1 + this.#random() / 5));
      return;
    }
    this.#failures++;
    const step = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(this.#failures - 1, 10));
    const waitMs = step * (0.5 + this.#random() / 2);
    // One line when it starts to fail, then one each time that the wait has doubled: never the same line in a loop.
    if ((this.#failures & (this.#failures - 1)) === 0) {
      this.#logger.warn('Failed to list or watch, waiting', {
        error,
        failures: this.#failures,
        waitMs: Math.round(waitMs),
      });
    }
    await this.#wait(waitMs);
  }

  async #wait(ms: number): Promise<void> {
    const ended = new AbortController();
    this.#endWait = () => {
      ended.abort();
    };
    const signal = AbortSignal.any([this.#stopped.signal, ended.signal]);
    await delay(ms, undefined, { signal }).catch(() => undefined);
    this.#endWait = undefined;
  }
}

/** The head of an event of a namespaced object, with fields in the order of Kubernetes' Go types. */
const EVENT_HEAD =
  /^\{"type":"(?:ADDED|MODIFIED)","object":\{"kind":"\w+","apiVersion":"[^"]+","metadata":\{"name":"([^"]+)","namespace":"([^"]+)","uid":"([^"]+)","resourceVersion":"(\d+)"/;

const EVENT_TYPES: ReadonlySet<unknown> = new Set(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK']);

function parseEvent(line: string): WatchEvent {
  let event: { type?: unknown; object?: { metadata?: { resourceVersion?: unknown } | null } | null } | null;
  try {
    event = JSON.parse(line) as typeof event;
  } catch (error) {
    throw new GarbledEventError(line, error);
  }
  const complete =
    event?.type === 'ERROR'
      ? typeof event.object === 'object' && event.object !== null
      : EVENT_TYPES.has(event?.type) && typeof event?.object?.metadata?.resourceVersion === 'string';
  if (!complete) throw new GarbledEventError(line, undefined);
  return event as WatchEvent;
}

/** Calls back once when it was not reset for so long; resetting is cheap: one timer, re-armed when it fires early. */
class SilenceTimer {
  readonly #limitMs: number;
  readonly #onSilence: () => void;
  #lastReset = performance.now();
  #timer: NodeJS.Timeout;

  constructor(limitMs: number, onSilence: () => void) {
    this.#limitMs = limitMs;
    this.#onSilence = onSilence;
    this.#timer = this.#arm(limitMs);
  }

  reset(): void {
    this.#lastReset = performance.now();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #arm(ms: number): NodeJS.Timeout {
    return setTimeout(() => {
      const left = this.#lastReset + this.#limitMs - performance.now();
      if (left > 0) this.#timer = this.#arm(left);
      else this.#onSilence();
    }, ms);
  }
}
