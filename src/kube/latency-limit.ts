/** So few requests at a time are no load: their latency is the measure. The limit never falls below. */
export const FEW = 4;
/** Samples that a mean is taken of, at least. */
const WINDOW = 16;
/** More in flight pay as long as each takes at most so many times as long as among few. */
const TOLERANCE = 2;
/**
 * The measure is taken anew after so many samples without one, as the server may have changed; sooner at first, as new
 * connections and cold code are slow.
 */
const MEASURE_AGAIN_AFTER = { first: 125, last: 2_000 };

/**
 * How many requests in flight make the server faster, and not only each of them slower: what it does not work on waits in
 * it, in the way of everybody else. Follows latency: by Little's law the throughput of n in flight is n divided by it.
 *
 * Begins with few. Grows while the mean latency of a full window stays near that among few, and falls in proportion when
 * it does not. Where latency has nothing to do with load, as with a slow admission webhook, it is the same among few, and
 * the limit grows to its maximum. There is no clock in it: without requests the limit stays as it is.
 */
export class LatencyLimit {
  readonly #max: number;
  readonly #onChange: (limit: number) => void;
  readonly #amongFew = new Mean();
  readonly #whenFull = new Mean();
  #limit: number;
  /** Mean latency among few, in milliseconds; undefined until it has been measured. */
  #measure: number | undefined;
  #samplesSinceMeasure = 0;
  #measureAgainAfter = MEASURE_AGAIN_AFTER.first;
  /** The limit to go back to, while the measure is taken anew. */
  #interrupted: number | undefined;

  /**
   * @param max at least 1; the limit never passes it
   * @param onChange called with the new limit whenever it changes
   */
  constructor(max: number, onChange: (limit: number) => void = () => undefined) {
    this.#max = max;
    this.#limit = Math.min(FEW, max);
    this.#onChange = onChange;
  }

  /** How many requests there should be in flight at most. */
  get limit(): number {
    return this.#limit;
  }

  /**
   * Learns from a request that was answered.
   * @param latencyMs from sending to the answer
   * @param inFlight how many were in flight when it was sent, with itself
   */
  observe(latencyMs: number, inFlight: number): void {
    this.#samplesSinceMeasure++;
    if (inFlight <= FEW) {
      this.#amongFew.add(latencyMs);
      if (this.#amongFew.count >= WINDOW) this.#takeMeasure();
    }
    if (inFlight >= this.#limit && this.#interrupted === undefined) {
      this.#whenFull.add(latencyMs);
      if (this.#whenFull.count >= Math.max(WINDOW, this.#limit)) this.#adapt();
    }
    if (this.#samplesSinceMeasure >= this.#measureAgainAfter && this.#limit > FEW) {
      this.#measureAgainAfter = Math.min(MEASURE_AGAIN_AFTER.last, 2 * this.#measureAgainAfter);
      this.#interrupted = this.#limit;
      this.#set(FEW);
      this.#samplesSinceMeasure = 0;
      this.#amongFew.take();
    }
  }

  #takeMeasure(): void {
    this.#measure = this.#amongFew.take();
    this.#samplesSinceMeasure = 0;
    if (this.#interrupted === undefined) return;
    this.#set(this.#interrupted);
    this.#interrupted = undefined;
    this.#whenFull.take();
  }

  #adapt(): void {
    const mean = this.#whenFull.take();
    if (this.#measure === undefined) return;
    const ratio = mean / (this.#measure * TOLERANCE);
    const limit = this.#limit;
    const next = ratio <= 1 ? limit + Math.max(1, Math.floor(limit / 4)) : Math.floor(limit / Math.min(2, ratio));
    this.#set(Math.min(this.#max, Math.max(FEW, next)));
  }

  #set(limit: number): void {
    if (limit === this.#limit) return;
    this.#limit = limit;
    this.#onChange(limit);
  }
}

/** A mean that is taken once. */
class Mean {
  #sum = 0;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(value: number): void {
    this.#sum += value;
    this.#count++;
  }

  /** The mean, from which it begins anew; NaN of nothing. */
  take(): number {
    const mean = this.#sum / this.#count;
    this.#sum = 0;
    this.#count = 0;
    return mean;
  }
}
