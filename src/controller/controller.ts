import PQueue from 'p-queue';
import type { Logger } from '../observability/log.ts';
import { WorkQueue, type Lane, type WorkItem, type WorkQueueObserver } from './workqueue.ts';

/**
 * What came out of a reconcile. A thrown error is a failure of the reconciler itself and is retried like `retry`.
 *
 * - `done`: the world is as wanted, as far as can be seen;
 * - `after`: look again after `ms`, without counting a failure;
 * - `retry`: something failed that may pass; look again after the back-off of this key. Without an error it was a race
 *   that was lost, which is nothing to tell anybody, and has a back-off of its own.
 */
export type Outcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'after'; readonly ms: number }
  | { readonly kind: 'retry'; readonly error?: unknown };

/** Nothing more to do. */
export const DONE: Outcome = { kind: 'done' };

/**
 * Brings the world to what the current state of a key asks for. Told a key only, never what happened to it; `addedAt`
 * is when the key became dirty (monotonic milliseconds), for measuring, not for deciding.
 */
export type Reconcile = (key: string, addedAt: number) => Promise<Outcome>;

/** Sees reconciles, for metrics. */
export interface ControllerObserver extends WorkQueueObserver {
  /** @param result `success`, `requeue_after` or `error` */
  observeReconcile(result: 'success' | 'requeue_after' | 'error', seconds: number): void;
}

/** Of the workers, one in so many at most works on keys that failed the last time: a failure may take long. */
const WORKERS_PER_FAILING_KEY = 4;

/** Options of a {@link Controller}. */
export interface ControllerOptions {
  readonly name: string;
  readonly reconcile: Reconcile;
  readonly concurrency: number;
  readonly logger: Logger;
  readonly observer?: ControllerObserver;
  readonly monotonic?: () => number;
}

/**
 * Runs a reconciler over a queue of keys with a number of workers. The one place that turns an outcome into a queue
 * action and a metric. Keys that failed wait behind all others and never take more than a quarter of the workers, until
 * they succeed. Does nothing until it is resumed: followers keep it paused.
 */
export class Controller {
  readonly name: string;
  readonly #reconcile: Reconcile;
  readonly #logger: Logger;
  readonly #observer: ControllerObserver | undefined;
  readonly #now: () => number;
  readonly #workers: PQueue;
  readonly #queue: WorkQueue;
  #active = false;

  constructor(options: ControllerOptions) {
    this.name = options.name;
    this.#reconcile = options.reconcile;
    this.#logger = options.logger.with({ controller: options.name });
    this.#observer = options.observer;
    this.#now = options.monotonic ?? (() => performance.now());
    this.#workers = new PQueue({ concurrency: options.concurrency });
    this.#workers.addEventListener('next', () => {
      this.#pump();
    });
    this.#queue = new WorkQueue({
      onReady: () => {
        this.#pump();
      },
      maxDemoted: Math.max(1, Math.floor(options.concurrency / WORKERS_PER_FAILING_KEY)),
      monotonic: this.#now,
      ...(options.observer !== undefined && { observer: options.observer }),
    });
  }

  /** Adds a key to be reconciled; ignored while paused, as everything is added anew when the controller resumes. */
  enqueue(key: string, lane: Lane = 'fresh'): void {
    if (this.#active) this.#queue.add(key, lane);
  }

  /** Adds a key to be reconciled after a time. */
  enqueueAfter(key: string, ms: number): void {
    if (this.#active) this.#queue.addAfter(key, ms);
  }

  /** Tries now what failed and waits to be tried again. */
  hasten(): void {
    this.#queue.hasten();
  }

  /** Keys that wait, are worked on, or wait for a retry. */
  get load(): { readonly waiting: number; readonly processing: number; readonly tracked: number } {
    return { waiting: this.#queue.depth, processing: this.#queue.processing, tracked: this.#queue.tracked };
  }

  /** Starts to work; the caller adds the keys to begin with. */
  resume(): void {
    this.#active = true;
    this.#pump();
  }

  /** Drops what waits and takes nothing more; resolves when the work in hand is finished. */
  async pause(): Promise<void> {
    this.#active = false;
    this.#queue.clear();
    await this.#workers.onIdle();
  }

  #pump(): void {
    // Keys stay in our queue until a worker is free: only there can a fresh key overtake the backlog.
    while (this.#active && this.#workers.pending < this.#workers.concurrency) {
      const item = this.#queue.take();
      if (item === undefined) return;
      void this.#workers.add(() => this.#work(item));
    }
  }

  async #work({ key, addedAt }: WorkItem): Promise<void> {
    const started = this.#now();
    let outcome: Outcome;
    try {
      outcome = await this.#reconcile(key, addedAt);
    } catch (error) {
      outcome = { kind: 'retry', error };
    }
    const seconds = (this.#now() - started) / 1000;
    this.#queue.done(key);
    switch (outcome.kind) {
      case 'done':
        this.#queue.forget(key);
        this.#observer?.observeReconcile('success', seconds);
        break;
      case 'after':
        this.#queue.forget(key);
        if (this.#active) this.#queue.addAfter(key, outcome.ms);
        this.#observer?.observeReconcile('requeue_after', seconds);
        break;
      case 'retry':
        this.#observer?.observeReconcile('error', seconds);
        if (this.#active) this.#retry(key, outcome.error);
        break;
    }
  }

  #retry(key: string, error: unknown): void {
    if (error === undefined) {
      // A race that was lost says nothing about the next try.
      this.#queue.addRaced(key);
      return;
    }
    this.#queue.demote(key);
    const before = this.#queue.failures(key);
    this.#queue.addRateLimited(key);
    const failures = this.#queue.failures(key);
    // One line for the first failure and one each time the count has doubled: never the same line in a loop.
    if (failures > before && (failures & (failures - 1)) === 0) {
      this.#logger.warn('Failed to reconcile, retrying', { key, error, failures });
    }
  }
}
