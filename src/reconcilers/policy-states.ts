import type { Metrics } from '../observability/metrics.ts';
import type { CachedPolicy } from './caches.ts';
import { PolicyState } from './policy-state.ts';

/** The states of all BaselinePolicies, by name; a policy that was created again begins anew. */
export class PolicyStates {
  readonly #states = new Map<string, PolicyState>();
  readonly #metrics: Metrics;

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  /** The state of a policy. */
  of(policy: CachedPolicy): PolicyState {
    const known = this.#states.get(policy.name);
    if (known?.uid === policy.uid) return known;
    this.forget(policy.name);
    const state = new PolicyState(policy.object);
    this.#states.set(policy.name, state);
    return state;
  }

  /** Forgets a policy that is gone, with its metrics. */
  forget(name: string): void {
    if (this.#states.delete(name)) this.#metrics.forgetPolicy(name);
  }

  /** Forgets everything, when another process leads. */
  clear(): void {
    for (const name of this.#states.keys()) this.forget(name);
  }
}
