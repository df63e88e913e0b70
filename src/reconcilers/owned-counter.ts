import type { Store } from '../kube/store.ts';
import type { LiveNetworkPolicy } from '../policy/live.ts';

/** How many children each BaselinePolicy has, by rule; kept up at every change of the cache. */
export class OwnedCounter {
  readonly #counts = new Map<string, Map<string, number>>();

  constructor(networkPolicies: Store<LiveNetworkPolicy>) {
    networkPolicies.subscribe((before, after) => {
      if (before !== undefined) this.#add(before, -1);
      if (after !== undefined) this.#add(after, 1);
    });
  }

  /** Number of children of a BaselinePolicy, by name; the name stands for the rule. */
  byName(ownerUid: string): ReadonlyMap<string, number> {
    return this.#counts.get(ownerUid) ?? new Map<string, number>();
  }

  /** Number of all children of a BaselinePolicy. */
  total(ownerUid: string): number {
    let total = 0;
    for (const count of this.byName(ownerUid).values()) total += count;
    return total;
  }

  #add({ ownerUid, name }: LiveNetworkPolicy, step: 1 | -1): void {
    if (ownerUid === '') return;
    let counts = this.#counts.get(ownerUid);
    if (counts === undefined) {
      counts = new Map();
      this.#counts.set(ownerUid, counts);
    }
    const count = (counts.get(name) ?? 0) + step;
    if (count > 0) counts.set(name, count);
    else counts.delete(name);
    if (counts.size === 0) this.#counts.delete(ownerUid);
  }
}
