import type { Logger } from './log.ts';
import type { Metrics, ReconcileResult } from './metrics.ts';

/*
 * What the queue, the transport and the reflectors tell of themselves, as metrics, and in the log where people should know.
 * They name the interfaces that these objects fit (ControllerObserver, RequestObserver, WatchObserver); nothing here
 * depends on them.
 */

/** Throttling that begins again so soon after it ended goes on, for the log; milliseconds. */
const SAME_THROTTLING_MS = 600_000;

/** Measures a controller and its work queue. */
export function controllerObserver(metrics: Metrics, name: string) {
  const queue = metrics.queue(name);
  const observeReconcile = metrics.reconcileObserver(name);
  return {
    observeDepth: (depth: number) => {
      queue.depth.set(depth);
    },
    observeAdd: () => {
      queue.adds.inc();
    },
    observeRetry: () => {
      queue.retries.inc();
    },
    observeQueueDuration: (seconds: number) => {
      queue.queueDuration.observe(seconds);
    },
    observeReconcile: (result: ReconcileResult, seconds: number) => {
      observeReconcile(result, seconds);
      queue.workDuration.observe(seconds);
    },
  };
}

/**
 * Measures requests to the API server, and logs when it starts to throttle and when that is over.
 * @param monotonic clock in milliseconds
 */
export function requestObserver(metrics: Metrics, logger: Logger, monotonic = () => performance.now()) {
  const logThrottling = throttlingLog(logger, monotonic);
  const observers = new Map<string, ReturnType<Metrics['requestObserver']>>();
  return {
    observeRequest: (method: string, resource: string, code: number | '<error>', seconds: number) => {
      const key = `${method} ${resource}`;
      let observe = observers.get(key);
      if (observe === undefined) {
        observe = metrics.requestObserver(method, resource);
        observers.set(key, observe);
      }
      observe(code, seconds);
    },
    observeConcurrencyLimit: (limit: number, max: number) => {
      metrics.concurrencyLimit.set(limit);
      logThrottling(limit, max);
    },
    observeLatencyLimit: (limit: number) => {
      metrics.latencyLimit.set(limit);
    },
  };
}

/**
 * Logs the fall of the limit from its maximum, and its return. Where the server bears a little less than the maximum, that
 * goes on and on: then only the first, second, fourth, eighth … time, as for all that happens again and again.
 */
function throttlingLog(logger: Logger, monotonic: () => number): (limit: number, max: number) => void {
  let isThrottled = false;
  let endedAt = Number.NEGATIVE_INFINITY;
  let times = 0;
  return (limit, max) => {
    const wasThrottled = isThrottled;
    isThrottled = limit < max;
    if (isThrottled === wasThrottled) return;
    if (!isThrottled) endedAt = monotonic();
    else times = monotonic() - endedAt > SAME_THROTTLING_MS ? 1 : times + 1;
    if ((times & (times - 1)) !== 0) return;
    if (isThrottled) logger.warn('The API server throttles, sending fewer requests at a time', { limit, max, times });
    else logger.info('The API server throttles no more', { limit, times });
  };
}

/** Measures watches. */
export function watchObserver(metrics: Metrics) {
  const watches = new Map<string, ReturnType<Metrics['watch']>>();
  const of = (resource: string): ReturnType<Metrics['watch']> => {
    let watch = watches.get(resource);
    if (watch === undefined) {
      watch = metrics.watch(resource);
      watches.set(resource, watch);
    }
    return watch;
  };
  return {
    observeWatchRestart: (resource: string) => {
      of(resource).restarts.inc();
    },
    observeWatchEvent: (resource: string) => {
      of(resource).lastEvent.set(Date.now() / 1000);
    },
    // Else it would look like a watch that has fallen silent.
    observeWatchEnd: (resource: string) => {
      metrics.watchLastEvent.remove({ resource });
    },
  };
}
