/** How soon a key is taken: `fresh` keys (something just happened) before `backlog` (initial list, resync, roll-out). */
export type Lane = 'fresh' | 'backlog';

/** Sees what the queue does, for metrics; the names are those of client-go's workqueue metrics. */
export interface WorkQueueObserver {
  observeDepth(depth: number): void;
  observeAdd(): void;
  observeRetry(): void;
  /** @param seconds from the add until the key was taken */
  observeQueueDuration(seconds: number): void;
}

/** A key to work on. */
export interface WorkItem {
  readonly key: string;
  /** When the key was first added since it was last taken; milliseconds of the queue's clock. */
  readonly addedAt: number;
}

/** Options of a {@link WorkQueue}. */
export interface WorkQueueOptions {
  /** Called when a key can be taken that could not before, other than by the end of work on a demoted one. */
  readonly onReady: () => void;
  /** Most demoted keys that are worked on at a time. Default: no bound. */
  readonly maxDemoted?: number;
  readonly observer?: WorkQueueObserver;
  /** Monotonic clock in milliseconds. */
  readonly monotonic?: () => number;
}

/** How often a key failed in a row, or lost races, and when its last wait ends; by the queue's clock. */
interface Streak {
  readonly times: number;
  readonly due: number;
}

/** First and longest wait of a failing key, as in client-go's ItemExponentialFailureRateLimiter. */
const BASE_DELAY_MS = 5;
const MAX_DELAY_MS = 1_000_000;

/**
 * A queue of keys with the promises of client-go's workqueue: a key waits in it once however often it is added; a key
 * that is added while it is worked on is taken again afterwards, never by two workers at a time; a failing key waits
 * longer each time, alone.
 */
export class WorkQueue {
  readonly #onReady: () => void;
  readonly #observer: WorkQueueObserver | undefined;
  readonly #now: () => number;
  /** Keys to be taken, with the time of their first add; a key being worked on may be among them. */
  readonly #dirty = new Map<string, number>();
  /** Keys of `dirty` that nobody works on, in the order in which they are taken. */
  readonly #lanes: Record<Lane | 'demoted', Set<string>> = { fresh: new Set(), backlog: new Set(), demoted: new Set() };
  readonly #processing = new Set<string>();
  /** Keys that wait behind all others, a few at a time. */
  readonly #demoted = new Set<string>();
  /** Keys of `processing` that were demoted when they were taken. */
  readonly #demotedProcessing = new Set<string>();
  readonly #maxDemoted: number;
  /** Lane of keys that were added while they were worked on. */
  readonly #again = new Map<string, Lane>();
  readonly #delayed = new Map<string, { readonly due: number; readonly timer: NodeJS.Timeout }>();
  /** Failures of keys, and races that they lost, since they were forgotten. */
  readonly #failures = new Map<string, Streak>();
  readonly #races = new Map<string, Streak>();
  #closed = false;

  constructor(options: WorkQueueOptions) {
    this.#onReady = options.onReady;
    this.#observer = options.observer;
    this.#maxDemoted = options.maxDemoted ?? Number.POSITIVE_INFINITY;
    this.#now = options.monotonic ?? (() => performance.now());
  }

  /** Number of keys that wait to be taken. */
  get depth(): number {
    return this.#lanes.fresh.size + this.#lanes.backlog.size + this.#lanes.demoted.size;
  }

  /** Number of keys that somebody works on. */
  get processing(): number {
    return this.#processing.size;
  }

  /** Number of counts and timers that are kept of keys: what must go back to nothing when all is well. */
  get tracked(): number {
    return this.#failures.size + this.#races.size + this.#delayed.size;
  }

  /** Adds a key; a waiting key moves to the fresh lane when it is added as fresh. */
  add(key: string, lane: Lane = 'fresh'): void {
    if (this.#closed) return;
    const since = this.#dirty.get(key);
    if (since !== undefined) {
      if (lane === 'fresh') this.#promote(key);
      return;
    }
    this.#dirty.set(key, this.#now());
    this.#observer?.observeAdd();
    if (this.#processing.has(key)) {
      this.#again.set(key, lane);
      return;
    }
    this.#queue(key, lane);
    this.#observer?.observeDepth(this.depth);
    this.#onReady();
  }

  /** Adds a key after a time, unless it is taken before; of several waits the earliest counts. */
  addAfter(key: string, ms: number): void {
    if (this.#closed) return;
    if (ms <= 0) {
      this.add(key);
      return;
    }
    const due = this.#now() + ms;
    const waiting = this.#delayed.get(key);
    if (waiting !== undefined) {
      if (waiting.due <= due) return;
      clearTimeout(waiting.timer);
    }
    const timer = setTimeout(() => {
      this.#delayed.delete(key);
      this.add(key);
    }, ms);
    this.#delayed.set(key, { due, timer });
  }

  /**
   * Adds a key that failed, after 5 ms, 10 ms, 20 ms, … up to 1000 s. A key that was taken before such a wait was over,
   * because something happened, waits for the rest of it, and the failure is not counted: however much happens to a key,
   * it waits about as long as it has failed, at the most.
   * @returns the wait in milliseconds; 0 when closed
   */
  addRateLimited(key: string): number {
    return this.#addCounted(key, this.#failures);
  }

  /**
   * Adds a key that lost a race, after waits of the same length. They are counted apart: what the key failed of before,
   * maybe for minutes, is no reason to wait for long after a race.
   */
  addRaced(key: string): number {
    return this.#addCounted(key, this.#races);
  }

  /**
   * Lets a key wait behind all others from now on, however it is added, and be one of a few that are worked on at a
   * time, until it is forgotten: what fails may take long to fail, and must not hold up the rest.
   */
  demote(key: string): void {
    this.#demoted.add(key);
    if (this.#lanes.fresh.delete(key) || this.#lanes.backlog.delete(key)) this.#lanes.demoted.add(key);
  }

  /** Forgets the failures and races of a key: its next one waits shortly again, and it is demoted no more. */
  forget(key: string): void {
    this.#failures.delete(key);
    this.#races.delete(key);
    this.#demoted.delete(key);
    if (!this.#lanes.demoted.delete(key)) return;
    this.#lanes.fresh.add(key);
    this.#onReady();
  }

  /** Adds all keys that wait because they failed: what they failed of may be over. If not, they wait for the rest. */
  hasten(): void {
    for (const key of this.#failures.keys()) if (this.#endWait(key)) this.add(key, 'backlog');
  }

  /** How often a key has failed in a row, without failures that are not counted; see {@link addRateLimited}. */
  failures(key: string): number {
    return this.#failures.get(key)?.times ?? 0;
  }

  /** Takes the next key, if there is one. The caller must call {@link done} with it. */
  take(): WorkItem | undefined {
    if (this.#closed) return undefined;
    const { fresh, backlog, demoted } = this.#lanes;
    for (const lane of [fresh, backlog, demoted]) {
      if (lane === demoted && this.#demotedProcessing.size >= this.#maxDemoted) return undefined;
      for (const key of lane) {
        lane.delete(key);
        if (lane === demoted) this.#demotedProcessing.add(key);
        const addedAt = this.#dirty.get(key) ?? this.#now();
        this.#dirty.delete(key);
        // Whatever it was to be looked at for later is seen now.
        this.#endWait(key);
        this.#processing.add(key);
        this.#observer?.observeDepth(this.depth);
        this.#observer?.observeQueueDuration((this.#now() - addedAt) / 1000);
        return { key, addedAt };
      }
    }
    return undefined;
  }

  /** Ends the work on a key; it is queued again if it was added meanwhile. */
  done(key: string): void {
    this.#processing.delete(key);
    this.#demotedProcessing.delete(key);
    const lane = this.#again.get(key);
    if (lane === undefined) return;
    this.#again.delete(key);
    this.#queue(key, lane);
    this.#observer?.observeDepth(this.depth);
    this.#onReady();
  }

  /** Drops all keys, waits and failure counts; keys being worked on finish. */
  clear(): void {
    for (const { timer } of this.#delayed.values()) clearTimeout(timer);
    this.#delayed.clear();
    this.#failures.clear();
    this.#races.clear();
    this.#dirty.clear();
    this.#again.clear();
    this.#demoted.clear();
    for (const lane of Object.values(this.#lanes)) lane.clear();
    this.#observer?.observeDepth(0);
  }

  /** Takes and hands out nothing more. */
  close(): void {
    this.#closed = true;
    this.clear();
  }

  /** Ends the wait of a key; says whether it had one. */
  #endWait(key: string): boolean {
    clearTimeout(this.#delayed.get(key)?.timer);
    return this.#delayed.delete(key);
  }

  #addCounted(key: string, streaks: Map<string, Streak>): number {
    if (this.#closed) return 0;
    this.#observer?.observeRetry();
    const now = this.#now();
    let { times, due } = streaks.get(key) ?? { times: 0, due: now };
    if (due <= now) {
      due = now + Math.min(MAX_DELAY_MS, BASE_DELAY_MS * 2 ** Math.min(times, 30));
      times++;
      streaks.set(key, { times, due });
    }
    this.addAfter(key, due - now);
    return due - now;
  }

  #queue(key: string, lane: Lane): void {
    this.#lanes[this.#demoted.has(key) ? 'demoted' : lane].add(key);
  }

  #promote(key: string): void {
    if (this.#again.has(key)) this.#again.set(key, 'fresh');
    else if (this.#lanes.backlog.delete(key)) this.#lanes.fresh.add(key);
  }
}
