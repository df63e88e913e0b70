import assert from 'node:assert/strict';
import type { BaselinePolicySpec } from '../../src/api/baselinepolicy.ts';
import { childName } from '../../src/api/names.ts';
import { consistently, eventually } from './await.ts';
import { type Demo, LABEL_SCENARIO } from './demo.ts';
import type { FaultProxy } from './fault-proxy.ts';
import { resourceOf } from './faults.ts';
import type { Oracle, Outcome } from './oracle.ts';

/** How long faults may hold up one step of a workload; milliseconds. */
const STEP_TIMEOUT_MS = 60_000;
/** How long nothing may be written when all is done; milliseconds. */
const QUIET_MS = 10_000;
/** How long nothing is written when nothing is left to do: a status is written at most every two seconds. */
const SETTLED_MS = 3_000;

/** Rules of the policy of a {@link Workload} at first: four children. */
export const FIRST_RULES = ['allow-dns', 'allow-monitoring', 'allow-same-namespace', 'default-deny'];

/** The spec at first, without its selector: four children a namespace. */
export const FIRST_SPEC: BaselinePolicySpec = { rules: { allowSameNamespace: { enabled: true } } };

/** A change of the spec: one child more, one less, one that is written anew. */
export const CHANGED_SPEC = {
  rules: { allowSameNamespace: { enabled: false }, allowMonitoring: { ports: [{ port: 9090 }] } },
  additionalPolicies: [
    {
      name: 'allow-web',
      spec: { podSelector: { matchLabels: { app: 'web' } }, policyTypes: ['Ingress'], ingress: [{}] },
    },
  ],
};

/** Rules after {@link CHANGED_SPEC}. */
export const CHANGED_RULES = ['allow-dns', 'allow-monitoring', 'allow-web', 'default-deny'];

/**
 * What people do to one BaselinePolicy and its namespaces, step by step, each awaited: the same for each run. Names of
 * all objects begin with that of the run.
 */
export class Workload {
  readonly run: string;
  readonly #demo: Demo;
  readonly #oracle: Oracle;

  constructor(demo: Demo, oracle: Oracle, run: string) {
    this.#demo = demo;
    this.#oracle = oracle;
    this.run = run;
  }

  /** Name of the n-th namespace. */
  namespace(n: number): string {
    return `${this.run}-${n}`;
  }

  /** All steps; `before` is called before each. */
  async perform(before = (): void => undefined): Promise<void> {
    const steps = [() => this.fill(), () => this.changeSpec(), () => this.tamper(), () => this.moveNamespaces()];
    for (const step of steps) {
      before();
      await step();
    }
  }

  /** Ten namespaces and the policy. */
  async fill(count = 10): Promise<void> {
    const { kube } = this.#demo;
    for (let n = 1; n <= count; n++) {
      await kube.namespaces.create({ metadata: { name: this.namespace(n), labels: { [LABEL_SCENARIO]: this.run } } });
    }
    await this.#demo.policy(this.run, FIRST_SPEC);
    await this.compliant(count);
  }

  /** The spec changes: children are created, updated and deleted in each namespace. */
  async changeSpec(count = 10): Promise<void> {
    await this.#demo.change(this.run, CHANGED_SPEC);
    await this.compliant(count);
  }

  /** Tenants delete, open, strip and release children; needs the changed spec. */
  async tamper(): Promise<void> {
    const child = (rule: string): string => childName(this.run, rule);
    const [one, two, three, four] = [1, 2, 3, 4].map((n) => this.#demo.kube.networkPolicies(this.namespace(n)));
    await this.#oracle.tamper(this.namespace(1), child('allow-dns'), async () => one?.delete(child('allow-dns')));
    await this.#oracle.tamper(this.namespace(2), child('default-deny'), async () =>
      two?.merge(child('default-deny'), { spec: { ingress: [{}] } }),
    );
    await three?.merge(child('allow-monitoring'), { metadata: { labels: null } });
    await four?.merge(child('allow-web'), { metadata: { ownerReferences: null } });
    await this.healed([1, 2, 3, 4]);
  }

  /** One namespace leaves the selection, another one comes. */
  async moveNamespaces(): Promise<void> {
    await this.#demo.optOut(this.namespace(5));
    const labels = { [LABEL_SCENARIO]: this.run };
    await this.#demo.kube.namespaces.create({ metadata: { name: this.namespace(11), labels } });
    await this.#demo.holds(this.namespace(5), this.run, [], { timeout: STEP_TIMEOUT_MS });
    await this.#demo.holds(this.namespace(11), this.run, CHANGED_RULES, { timeout: STEP_TIMEOUT_MS });
    await this.compliant(10);
  }

  /** The policy is deleted, and with it all children. */
  async remove(): Promise<void> {
    await this.#demo.kube.baselinePolicies.delete(this.run);
    await eventually(
      async () => {
        assert.equal(await this.#demo.kube.baselinePolicies.find(this.run), undefined);
      },
      { timeout: STEP_TIMEOUT_MS },
    );
  }

  /** Resolves when so many namespaces are told to be compliant, in the status of the present generation. */
  async compliant(count: number): Promise<void> {
    await this.#demo.compliant(this.run, count, { timeout: STEP_TIMEOUT_MS });
  }

  /** Resolves when the children of these namespaces are like those of the tenth, which nobody touches. */
  async healed(namespaces: readonly number[]): Promise<void> {
    await eventually(
      async () => {
        const wanted = await this.#children(10);
        for (const n of namespaces) assert.deepEqual(await this.#children(n), wanted, this.namespace(n));
      },
      { timeout: STEP_TIMEOUT_MS },
    );
  }

  async #children(n: number): Promise<unknown[]> {
    const children = await this.#demo.kube.networkPolicies(this.namespace(n)).list();
    return children.map(({ metadata: { name, labels, ownerReferences }, spec }) => {
      return { name, labels, ownerReferences, spec };
    });
  }
}

/** The outcome of a run without faults, once nothing is written any more, to measure others by. */
export async function cleanOutcome(demo: Demo, oracle: Oracle, run: string): Promise<Outcome> {
  await settled(demo.proxy);
  const clean = await oracle.outcome(run);
  await assertSameOutcome(demo, oracle, run, clean);
  return clean;
}

/** Which differences of a run from a clean one are not the fault's doing. */
export interface Allowance {
  /** The totals of drift may differ: an operator that starts anew cannot know whether it was there when a child went. */
  readonly driftTotals?: boolean;
  /** Children may have been created and deleted more often. */
  readonly counts?: boolean;
  /** How long the end state may take to become that of the clean run; milliseconds. */
  readonly timeout?: number;
}

/**
 * Fails unless a run comes to the end state of a clean one, created and deleted each child as often, was never open or
 * broken on the way, and then writes nothing for ten seconds.
 */
export async function assertSameOutcome(
  demo: Demo,
  oracle: Oracle,
  run: string,
  clean: Outcome,
  allowance: Allowance = {},
): Promise<void> {
  const compare = async (): Promise<void> => {
    const actual = reduced(await oracle.outcome(run), allowance);
    assert.deepEqual(actual, reduced(clean, allowance));
  };
  await eventually(compare, { timeout: allowance.timeout ?? STEP_TIMEOUT_MS, interval: 200 });
  // What is not compared may be written yet: totals follow the rest of a status up to 2 s later.
  if (allowance.driftTotals === true) await settled(demo.proxy);
  await quiet(demo.proxy, QUIET_MS);
  await compare();
  await oracle.assertNothingOpenedOrBroken();
}

/** Resolves when nothing is left to be written: what lost its answer is written once more, a status up to 2 s later. */
export async function settled(proxy: FaultProxy): Promise<void> {
  await eventually(() => quiet(proxy, SETTLED_MS), { timeout: STEP_TIMEOUT_MS });
}

/** Fails unless the operator writes nothing for a time, but its Lease and Events that are told late; milliseconds. */
export async function quiet(proxy: FaultProxy, period: number): Promise<void> {
  const before = proxy.requests.length;
  await consistently(
    () => {
      const writes = proxy.requests
        .slice(before)
        .filter((request) => request.method !== 'GET' && !['leases', 'events'].includes(resourceOf(request)));
      assert.deepEqual(
        writes.map(({ method, url, body }) => `${method} ${url.pathname} ${body}`),
        [],
      );
    },
    { for: period, interval: 100 },
  );
}

function reduced(outcome: Outcome, { driftTotals = false, counts = false }: Allowance): object {
  const statuses = Object.entries(outcome.statuses).map(([name, status]) => {
    const { drift, ...rest } = status as { drift?: unknown };
    return [name, driftTotals ? rest : { ...rest, drift }];
  });
  return {
    networkPolicies: outcome.networkPolicies,
    statuses: Object.fromEntries(statuses) as object,
    ...(!counts && { counts: outcome.counts }),
  };
}
