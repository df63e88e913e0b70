import type { LatencyLimit } from './latency-limit.ts';

/**
 * What the answer to a request says of the server: it took the request on, it had no room for it, or neither is known.
 */
export type Verdict = 'accepted' | 'throttled' | 'unknown';

/** The right to have one request in flight. */
export interface Slot {
  /** How often the limit had fallen when it was taken. */
  readonly decreases: number;
  /** When it was taken; monotonic milliseconds. */
  readonly takenAt: number;
  /** Whether it is for work whose latency tells of the server's load: such are limited by latency, too. */
  readonly isMeasure: boolean;
  /** How many of these were in flight then, with this one and without those that are overdue. */
  readonly inFlight: number;
}

/** What a {@link ConcurrencyLimit} may be told beside its maximum. */
export interface ConcurrencyLimitOptions {
  /** Called with the new limit whenever it changes. */
  readonly onChange?: (limit: number) => void;
  /** Keeps fewer in flight as long as more are no faster. */
  readonly latency?: LatencyLimit;
  /** Clock in milliseconds. */
  readonly monotonic?: () => number;
}

/**
 * A request that takes longer waits for something else than a place in the server, such as a webhook: it holds up nobody
 * for the sake of latency. Milliseconds.
 */
const OVERDUE_AFTER_MS = 1_000;

/**
 * How many requests may be in flight, by additive increase and multiplicative decrease, as TCP does it (RFC 5681): half
 * as many after the server had no room for a request, one more after it accepted as many as the limit is.
 *
 * Requests that were sent before the last decrease change nothing any more: a burst that is refused as a whole is one
 * signal, not one for each of its requests (RFC 3168, 6.1.2, has the same rule). There is no clock in it: without
 * requests the limit stays as it is. Whoever finds no free slot waits in line; slots are given in the order of coming.
 */
export class ConcurrencyLimit {
  readonly #max: number;
  readonly #onChange: (limit: number) => void;
  readonly #latency: LatencyLimit | undefined;
  readonly #now: () => number;
  /** Those who wait, in the order of their coming, and whether for a measure; nobody does while a slot is free for it. */
  readonly #line = new Map<(slot: Slot) => void, boolean>();
  /** Slots of measures in use, in the order of their taking, that are not overdue; and how many others are in use. */
  readonly #timely = new Set<Slot>();
  #others = 0;
  #patience: NodeJS.Timeout | undefined;
  #limit: number;
  #decreases = 0;
  /** Requests accepted since the last change of the limit. */
  #accepted = 0;

  /** @param max at least 1; the limit begins there and never passes it */
  constructor(max: number, { onChange, latency, monotonic }: ConcurrencyLimitOptions = {}) {
    this.#max = max;
    this.#limit = max;
    this.#onChange = onChange ?? (() => undefined);
    this.#latency = latency;
    this.#now = monotonic ?? (() => performance.now());
  }

  /** How many slots there are now, from 1 to the maximum; more may still be in use just after a decrease. */
  get limit(): number {
    return this.#limit;
  }

  /** Takes a slot if one is free for such a request; it is given back by `release`. See {@link Slot.isMeasure}. */
  tryAcquire(isMeasure = false): Slot | undefined {
    if (this.#isFull()) return undefined;
    const bounds = isMeasure ? this.#latency : undefined;
    if (bounds !== undefined && this.#timely.size >= bounds.limit && !this.#findOverdue()) return undefined;
    const inFlight = this.#timely.size + 1;
    const slot = { decreases: this.#decreases, takenAt: this.#now(), isMeasure, inFlight };
    if (isMeasure) this.#timely.add(slot);
    else this.#others++;
    return slot;
  }

  /**
   * Takes a slot when it is this caller's turn; it is given back by `release`. See {@link Slot.isMeasure}.
   * @throws the signal's reason, as soon as it is aborted; no slot is taken then
   */
  async acquire(signal?: AbortSignal, isMeasure = false): Promise<Slot> {
    signal?.throwIfAborted();
    const free = this.tryAcquire(isMeasure);
    if (free !== undefined) return free;
    const { promise, resolve, reject } = Promise.withResolvers<Slot>();
    const abort = (): void => {
      // Who has been given a slot already is told of the abort by whatever the slot is for, and gives it back.
      if (this.#line.delete(resolve)) reject(signal?.reason as Error);
    };
    this.#line.set(resolve, isMeasure);
    this.#awaitOverdue();
    signal?.addEventListener('abort', abort);
    try {
      return await promise;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /** Gives a slot back, and says what came of the request that it was taken for. */
  release(slot: Slot, verdict: Verdict): void {
    if (!this.#timely.delete(slot)) this.#others--;
    else if (verdict === 'accepted') this.#latency?.observe(this.#now() - slot.takenAt, slot.inFlight);
    if (slot.decreases === this.#decreases) {
      if (verdict === 'throttled') this.#decrease();
      else if (verdict === 'accepted' && this.#limit < this.#max) this.#increase();
    }
    if (this.#line.size > 0) this.#admit();
  }

  #isFull(): boolean {
    return this.#timely.size + this.#others >= this.#limit;
  }

  #decrease(): void {
    this.#decreases++;
    this.#accepted = 0;
    const limit = Math.max(1, Math.floor(this.#limit / 2));
    if (limit === this.#limit) return;
    this.#limit = limit;
    this.#onChange(limit);
  }

  #increase(): void {
    this.#accepted++;
    if (this.#accepted < this.#limit) return;
    this.#accepted = 0;
    this.#limit++;
    this.#onChange(this.#limit);
  }

  #admit(): void {
    for (const [give, isMeasure] of this.#line) {
      if (this.#isFull()) break;
      const slot = this.tryAcquire(isMeasure);
      // Latency holds up measures only.
      if (slot === undefined) continue;
      this.#line.delete(give);
      give(slot);
    }
    if (this.#line.size > 0) this.#awaitOverdue();
  }

  /** Whether any slot has become overdue, which leaves room for another request. */
  #findOverdue(): boolean {
    const takenBefore = this.#now() - OVERDUE_AFTER_MS;
    let found = false;
    for (const slot of this.#timely) {
      if (slot.takenAt > takenBefore) break;
      this.#timely.delete(slot);
      this.#others++;
      found = true;
    }
    return found;
  }

  /** Looks again at those who wait when the oldest slot has become overdue; nothing else might happen before. */
  #awaitOverdue(): void {
    if (this.#latency === undefined || this.#patience !== undefined) return;
    const [oldest] = this.#timely;
    if (oldest === undefined) return;
    const inMs = Math.max(1, Math.ceil(oldest.takenAt + OVERDUE_AFTER_MS - this.#now()));
    this.#patience = setTimeout(() => {
      this.#patience = undefined;
      this.#admit();
    }, inMs);
    this.#patience.unref();
  }
}
