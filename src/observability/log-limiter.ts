import type { Fields, LogLevel, Logger } from './log.ts';

/** Clock and size of a `LogLimiter`. */
export interface LogLimiterOptions {
  /** Monotonic clock, in milliseconds. */
  readonly now?: () => number;
  /** How many keys are remembered; beyond it the one whose line is oldest is forgotten. */
  readonly capacity?: number;
}

/** Keeps the same line from being written in a loop. */
export class LogLimiter {
  readonly #logger: Logger;
  readonly #now: () => number;
  readonly #capacity: number;
  /** In the order of the lines written, oldest first. */
  readonly #keys = new Map<string, { writtenAt: number; suppressed: number }>();

  constructor(logger: Logger, { now = () => performance.now(), capacity = 1000 }: LogLimiterOptions = {}) {
    this.#logger = logger;
    this.#now = now;
    this.#capacity = capacity;
  }

  /**
   * Writes the line, unless one with the same key was written less than `milliseconds` ago. The next line that is
   * written says in the field `suppressed` how many were not.
   */
  every(key: string, milliseconds: number, level: LogLevel, msg: string, fields: Fields = {}): void {
    const now = this.#now();
    const last = this.#keys.get(key);
    if (last !== undefined && now - last.writtenAt < milliseconds) {
      last.suppressed++;
      return;
    }
    this.#keys.delete(key);
    if (this.#keys.size >= this.#capacity) {
      const [oldest] = this.#keys.keys();
      if (oldest !== undefined) this.#keys.delete(oldest);
    }
    this.#keys.set(key, { writtenAt: now, suppressed: 0 });
    const suppressed = last?.suppressed ?? 0;
    this.#logger[level](msg, suppressed > 0 ? { ...fields, suppressed } : fields);
  }
}
