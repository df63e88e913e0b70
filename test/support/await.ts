/** How long `eventually` tries, and how often; milliseconds. */
export interface EventuallyOptions {
  /** Default: 10,000. */
  timeout?: number;
  /** Pause between two tries. Default: 20. */
  interval?: number;
}

/** How long `consistently` asserts, and how often; milliseconds. */
export interface ConsistentlyOptions {
  for: number;
  /** Pause between two tries. Default: 20. */
  interval?: number;
}

/**
 * Calls `fn` until it neither throws nor rejects, and returns its value. On timeout it rethrows the last error of `fn`,
 * with the time added to its message; an `fn` that never settles is an error of its own.
 */
export async function eventually<T>(fn: () => T | Promise<T>, options: EventuallyOptions = {}): Promise<T> {
  const { timeout = 10_000, interval = 20 } = options;
  const deadline = performance.now() + timeout;
  let last = new Error('Expected the condition to settle; it never did');
  for (;;) {
    try {
      return await within(fn, deadline - performance.now(), () => last);
    } catch (error) {
      last = asError(error);
    }
    if (performance.now() + interval >= deadline) throw explained(last, `still so after ${timeout} ms`);
    await pause(interval);
  }
}

/** Calls `fn` again and again for a period, and rethrows its first error, with the time added to its message. */
export async function consistently(fn: () => unknown, options: ConsistentlyOptions): Promise<void> {
  const { for: period, interval = 20 } = options;
  const start = performance.now();
  do {
    try {
      await fn();
    } catch (error) {
      throw explained(asError(error), `after ${Math.round(performance.now() - start)} of ${period} ms`);
    }
    await pause(interval);
  } while (performance.now() - start < period);
}

/** What `fn` gives, or `late()` as an error when that takes longer than the time left. */
async function within<T>(fn: () => T | Promise<T>, milliseconds: number, late: () => Error): Promise<T> {
  const { promise: timeout, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => {
      reject(late());
    },
    Math.max(0, milliseconds),
  );
  try {
    return await Promise.race([(async () => fn())(), timeout]);
  } finally {
    clearTimeout(timer);
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function explained(error: Error, when: string): Error {
  error.message += `\n(${when})`;
  return error;
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
