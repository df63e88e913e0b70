import type { ControllerObserver } from '../controller/controller.ts';
import type { WatchObserver } from '../kube/reflector.ts';
import type { RequestObserver } from '../kube/transport.ts';
import type { Metrics } from './metrics.ts';

/** Measures a controller and its work queue. */
export function controllerObserver(metrics: Metrics, name: string): ControllerObserver {
  const queue = metrics.queue(name);
  const observeReconcile = metrics.reconcileObserver(name);
  return {
    observeDepth: (depth) => {
      queue.depth.set(depth);
    },
    observeAdd: () => {
      queue.adds.inc();
    },
    observeRetry: () => {
      queue.retries.inc();
    },
    observeQueueDuration: (seconds) => {
      queue.queueDuration.observe(seconds);
    },
    observeReconcile: (result, seconds) => {
      observeReconcile(result, seconds);
      queue.workDuration.observe(seconds);
    },
  };
}

/** Measures requests to the API server. */
export function requestObserver(metrics: Metrics): RequestObserver {
  const observers = new Map<string, ReturnType<Metrics['requestObserver']>>();
  return {
    observeRequest: (method, resource, code, seconds) => {
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
export function watchObserver(metrics: Metrics): WatchObserver {
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
    observeWatchRestart: (resource) => {
      of(resource).restarts.inc();
    },
    observeWatchEvent: (resource) => {
      of(resource).lastEvent.set(Date.now() / 1000);
    },
  };
}
