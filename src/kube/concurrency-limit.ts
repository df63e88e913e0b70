/**
 * What the answer to a request says of the server: it took the request on, it had no room for it, or neither is known.
 */
export type Verdict = 'accepted' | 'throttled' | 'unknown';

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
  /** Those who wait, in the order of their coming; nobody does while a slot is free. */
  readonly #line = new Set<(slot: number) => void>();
  #limit: number;
  #inFlight = 0;
  #decreases = 0;
  /** Requests accepted since the last change of the limit. */
  #accepted = 0;

  /**
   * @param max at least 1; the limit begins there and never passes it
   * @param onChange called with the new limit whenever it changes
   */
  constructor(max: number, onChange: (limit: number) => void = () => undefined) {
    this.#max = max;
    this.#limit = max;
    this.#onChange = onChange;
  }

  /** How many slots there are now, from 1 to the maximum; more may still be in use just after a decrease. */
  get limit(): number {
    return this.#limit;
  }

  /** Takes a slot if one is free; it is given back by `release`. A slot is the number of decreases before it was taken. */
  tryAcquire(): number | undefined {
    if (this.#inFlight >= this.#limit) return undefined;
    this.#inFlight++;
    return this.#decreases;
  }

  /**
   * Takes a slot when it is this caller's turn; it is given back by `release`.
   * @throws the signal's reason, as soon as it is aborted; no slot is taken then
   */
  async acquire(signal?: AbortSignal): Promise<number> {
    signal?.throwIfAborted();
    const free = this.tryAcquire();
    if (free !== undefined) return free;
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const abort = (): void => {
      // Who has been given a slot already is told of the abort by whatever the slot is for, and gives it back.
      if (this.#line.delete(resolve)) reject(signal?.reason as Error);
    };
    this.#line.add(resolve);
    signal?.addEventListener('abort', abort);
    try {
      return await promise;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /** Gives a slot back, and says what came of the request that it was taken for. */
  release(slot: number, verdict: Verdict): void {
    this.#inFlight--;
    if (slot === this.#decreases) {
      if (verdict === 'throttled') this.#decrease();
      else if (verdict === 'accepted' && this.#limit < this.#max) this.#increase();
    }
    if (this.#line.size > 0) this.#admit();
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
    for (const give of this.#line) {
      const slot = this.tryAcquire();
      if (slot === undefined) return;
      this.#line.delete(give);
      give(slot);
    }
  }
}
