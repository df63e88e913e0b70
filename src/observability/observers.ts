import type { Metrics, ReconcileResult } from './metrics.ts';

/*
 * What the queue, the transport and the reflectors tell of themselves, as metrics. They name the interfaces that these
 * objects fit (ControllerObserver, RequestObserver, WatchObserver); nothing here depends on them.
 */

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

/** Measures requests to the API server. */
export function requestObserver(metrics: Metrics) {
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
  };
}
